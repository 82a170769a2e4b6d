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
    def total(self) -> int:
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

        total, correct = np.array(self.episodes, dtype=np.float64).T
        interval = bootstrap(
            (total, correct),
            lambda total, correct, axis: correct.sum(axis) / total.sum(axis),
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        return float(interval.low), float(interval.high)


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
    result = Agreement()
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
        result.confusion.update(zip(true[known].tolist(), labelled[known].tolist(), strict=True))
        if known.any():
            result.episodes.append((int(known.sum()), int(agrees[known].sum())))
        for i in range(len(mentions)):
            _count(result.by_role, i, agrees[known[:, i], i])
        if tracks.confidence is not None:
            tenth = np.minimum(np.asarray(tracks.confidence) * 10, 9).astype(int)
            for value in np.unique(tenth[known]).tolist():
                _count(result.by_confidence, value, agrees[known & (tenth == value)])
    return result


def _count(table: dict[int, tuple[int, int]], key: int, agrees: np.ndarray) -> None:
    total, correct = table.get(key, (0, 0))
    table[key] = (total + agrees.size, correct + int(agrees.sum()))


def main(roots: list[str]) -> None:
    for root in roots:
        started = time.process_time()
        result = agreement(root, DemonstrationLabeller())
        seconds = time.process_time() - started
        low, high = result.interval()
        print(
            f"\n{root}: {len(result.episodes)} episodes, {result.total} labels, {seconds:.1f} s of one core"
        )
        print(
            f"all   {100 * result.correct / result.total:.1f} % [{100 * low:.1f}, {100 * high:.1f}] over episodes\n"
        )
        print("| truth | agree | n | most frequent error |\n|---|---|---|---|")
        words = sorted({truth for truth, _ in result.confusion}, key=lambda word: -result.of_word(word)[1])
        for word in words:
            correct, true = result.of_word(word)
            other = {
                labelled: n for (truth, labelled), n in result.confusion.items() if truth == word != labelled
            }
            often = max(other, key=lambda labelled: other[labelled], default="")
            estimate = wilson(correct, true)
            note = f"{often or 'no label'} ({100 * other[often] / true:.1f} %)" if other else ""
            print(f"| {word} | {estimate} | {true} | {note} |")
        print("\n| confidence | share of labels | agree |\n|---|---|---|")
        for tenth, (total, correct) in sorted(result.by_confidence.items()):
            share = 100 * total / result.total
            print(
                f"| {tenth / 10:.1f}–{(tenth + 1) / 10:.1f} | {share:.1f} % | {100 * correct / total:.1f} % |"
            )
        for role, (total, correct) in sorted(result.by_role.items()):
            print(f"mention {role + 1}: {100 * correct / total:.1f} % of {total}")


if __name__ == "__main__":
    main(sys.argv[1:])
