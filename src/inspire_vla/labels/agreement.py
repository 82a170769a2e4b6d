"""How often a labeller says what a dataset's own truth says."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inspire_vla.labels.columns import LabelInfo, ModeRule, read_labels
from inspire_vla.labels.labeller import Episode, Labeller, encode_tracks
from inspire_vla.labels.lerobot_files import LeRobotFiles, read_rows
from inspire_vla.labels.privileged import PrivilegedColumns
from inspire_vla.labels.storage import opened, prepared
from inspire_vla.spatial import decode_answers


@dataclass
class Agreement:
    """Counts where there is a truth. confusion: (truth, said) → labels, said "" is no label.
    by_confidence: tenth of confidence → (labels, agreeing).
    """

    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_confidence: dict[int, tuple[int, int]] = field(default_factory=dict)
    by_role: dict[int, tuple[int, int]] = field(default_factory=dict)
    episodes: list[tuple[int, int]] = field(default_factory=list)
    """(asked, correct) of each episode: the labels of one episode are not independent, episodes are."""

    @property
    def asked(self) -> int:
        return sum(self.confusion.values())

    @property
    def correct(self) -> int:
        return sum(count for (truth, said), count in self.confusion.items() if truth == said)

    def of_word(self, word: str) -> tuple[int, int]:
        """(said rightly, how often it was true)."""
        true = sum(count for (truth, _), count in self.confusion.items() if truth == word)
        return self.confusion[(word, word)], true

    def interval(self, *, seed: int = 0, draws: int = 2000) -> tuple[float, float]:
        """95 % interval of the agreement, by drawing episodes with replacement."""
        counts = np.array(self.episodes, dtype=np.float64)
        picks = np.random.default_rng(seed).integers(0, len(counts), (draws, len(counts)))
        sums = counts[picks].sum(axis=1)
        low, high = np.quantile(sums[:, 1] / sums[:, 0], [0.025, 0.975])
        return float(low), float(high)


def agreement(dataset_root: str | Path, labeller: Labeller, *, mode: str = "direction") -> Agreement:
    """Label every episode of a dataset with privileged columns and compare with their truth.

    Raises InspireError as `label_dataset`.
    """
    files = LeRobotFiles.open(dataset_root)
    labels = read_labels(dataset_root)
    rule = LabelInfo(labels.frame, {mode: ModeRule()}, labels.tasks, labels.max_objects, labeller.name)
    names, truth = files.names(), PrivilegedColumns().opened(files.root)
    numbers = files.number_columns()
    labeller = prepared(opened(labeller, files.root), files, labeller.columns(numbers))
    wanted = tuple(dict.fromkeys((*labeller.columns(numbers), *truth.columns(numbers))))
    found = Agreement()
    for path in files.data_files():
        rows = read_rows(path, wanted)
        for span in rows.episodes():
            instruction = files.tasks[int(rows.task_index[span.start])]
            episode = Episode(
                int(rows.episode_index[span.start]),
                instruction,
                labels.tasks[instruction],
                {name: values[span] for name, values in rows.columns.items()},
                names,
            )
            objects = len(episode.mentions)
            tracks = labeller.label(episode)
            said = decode_answers(encode_tracks(tracks, rule)[mode][:, :objects], mode)
            true = decode_answers(encode_tracks(truth.label(episode), rule)[mode][:, :objects], mode)
            known = true != ""  # where the truth has no place, nothing agrees or disagrees
            found.confusion.update(zip(true[known].tolist(), said[known].tolist(), strict=True))
            agrees = true == said
            if known.any():
                found.episodes.append((int(known.sum()), int(agrees[known].sum())))
            for i in range(objects):
                _count(found.by_role, i, agrees[known[:, i], i])
            if tracks.confidence is not None:
                tenth = np.minimum(np.asarray(tracks.confidence) * 10, 9).astype(int)
                for value in np.unique(tenth[known]).tolist():
                    _count(found.by_confidence, value, agrees[known & (tenth == value)])
    return found


def _count(table: dict[int, tuple[int, int]], key: int, agrees: np.ndarray) -> None:
    asked, correct = table.get(key, (0, 0))
    table[key] = (asked + agrees.size, correct + int(agrees.sum()))
