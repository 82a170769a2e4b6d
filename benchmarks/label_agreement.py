"""Agreement of labels made from demonstrations alone with the ground truth of the simulator.

    python benchmarks/label_agreement.py DATASET [DATASET …]

The datasets are those of `inspire collect`, which carry the ground truth. Intervals are 95 %, by bootstrap over
episodes, because labels of one episode are not independent. Words have Wilson intervals over labels, which are too
narrow and only a guide.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inspire_vla.evaluation import wilson
from inspire_vla.labels import LabelInfo, ModeRule, read_labelled
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.labeller import Episode, Labeller, encode_tracks
from inspire_vla.labels.plan import plan_labels
from inspire_vla.labels.simulator_state import PrivilegedLabeller
from inspire_vla.spatial import decode_answers


@dataclass
class Agreement:
    """Counts of labels, where the simulator knows the position.

    confusion: (true word, labelled word) → labels; "" is no label. by_confidence: tenth of confidence → (labels,
    correct). by_role: index of the mention → (labels, correct). episodes: (labels, correct) of each episode.
    """

    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_confidence: dict[int, tuple[int, int]] = field(default_factory=dict)
    by_role: dict[int, tuple[int, int]] = field(default_factory=dict)
    episodes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return sum(self.confusion.values())

    @property
    def correct(self) -> int:
        return sum(count for (truth, word), count in self.confusion.items() if truth == word)

    def of_word(self, word: str) -> tuple[int, int]:
        """(labels that are rightly `word`, frames in which `word` is true)."""
        true = sum(count for (truth, _), count in self.confusion.items() if truth == word)
        return self.confusion[(word, word)], true

    def interval(self, *, seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
        """95 % bootstrap interval of the agreement, over episodes: the labels of one episode are not independent."""
        from scipy.stats import bootstrap

        asked, correct = np.array(self.episodes, dtype=np.float64).T
        found = bootstrap(
            (asked, correct),
            lambda asked, correct, axis: correct.sum(axis) / asked.sum(axis),
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        return float(found.low), float(found.high)


def agreement(dataset_root: str | Path, labeller: Labeller, *, mode: str = "direction") -> Agreement:
    """Label every episode of a dataset with privileged columns, and compare with the labels from these columns.

    Raises:
        InspireError: as `label_dataset`.
    """
    labels, files = read_labelled(dataset_root)
    info = LabelInfo(labels.frame, {mode: ModeRule()}, labels.tasks, labels.max_objects, labeller.name)
    names, truth = files.names(), PrivilegedLabeller().with_dataset(files.root)
    numbers = files.number_columns()
    labeller = plan_labels(files, labeller, labels.overrides).labeller
    found = Agreement()
    for segment, columns in files.segments([*{*labeller.columns(numbers), *truth.columns(numbers)}]):
        if segment.instruction not in labels.tasks:  # it names no object, or is empty
            continue
        mentions, roles = labels.tasks[segment.instruction], labels.overrides.get(segment.instruction, ())
        episode = Episode(segment.episode, segment.instruction, mentions, columns, names, roles=roles)
        tracks = labeller.label(episode)
        labelled, true = (
            decode_answers(encode_tracks(source, info)[mode][:, : len(mentions)], mode)
            for source in (tracks, truth.label(episode))
        )
        known, agrees = true != "", true == labelled
        found.confusion.update(zip(true[known].tolist(), labelled[known].tolist(), strict=True))
        if known.any():
            found.episodes.append((int(known.sum()), int(agrees[known].sum())))
        for i in range(len(mentions)):
            _count(found.by_role, i, agrees[known[:, i], i])
        if tracks.confidence is not None:
            tenth = np.minimum(np.asarray(tracks.confidence) * 10, 9).astype(int)
            for value in np.unique(tenth[known]).tolist():
                _count(found.by_confidence, value, agrees[known & (tenth == value)])
    return found


def _count(table: dict[int, tuple[int, int]], key: int, agrees: np.ndarray) -> None:
    asked, correct = table.get(key, (0, 0))
    table[key] = (asked + agrees.size, correct + int(agrees.sum()))


def main(roots: list[str]) -> None:
    for root in roots:
        started = time.process_time()
        found = agreement(root, DemonstrationLabeller())
        seconds = time.process_time() - started
        low, high = found.interval()
        print(f"\n{root}: {len(found.episodes)} episodes, {found.asked} labels, {seconds:.1f} s of one core")
        print(
            f"all   {100 * found.correct / found.asked:.1f} % [{100 * low:.1f}, {100 * high:.1f}] over episodes\n"
        )
        print("| truth | agree | n | most frequent error |\n|---|---|---|---|")
        words = sorted({truth for truth, _ in found.confusion}, key=lambda word: -found.of_word(word)[1])
        for word in words:
            correct, true = found.of_word(word)
            other = {said: n for (truth, said), n in found.confusion.items() if truth == word != said}
            often = max(other, key=lambda said: other[said], default="")
            estimate = wilson(correct, true)
            note = f"{often or 'no label'} ({100 * other[often] / true:.1f} %)" if other else ""
            print(f"| {word} | {estimate} | {true} | {note} |")
        print("\n| confidence | share of labels | agree |\n|---|---|---|")
        for tenth, (asked, correct) in sorted(found.by_confidence.items()):
            share = 100 * asked / found.asked
            print(
                f"| {tenth / 10:.1f}–{(tenth + 1) / 10:.1f} | {share:.1f} % | {100 * correct / asked:.1f} % |"
            )
        for role, (asked, correct) in sorted(found.by_role.items()):
            print(f"mention {role + 1}: {100 * correct / asked:.1f} % of {asked}")


if __name__ == "__main__":
    main(sys.argv[1:])
