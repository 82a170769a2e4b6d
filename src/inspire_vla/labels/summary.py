"""What is in a dataset's labels, in numbers: words per task, changes per episode, and one episode's timeline."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import LabelInfo, ModeRule, answer_column, read_labels
from inspire_vla.labels.labeller import Episode, Labeller, encode_tracks
from inspire_vla.labels.lerobot_files import LeRobotFiles, read_rows
from inspire_vla.labels.simulator_state import PrivilegedLabeller
from inspire_vla.labels.storage import CONFIDENCE_COLUMN, opened, prepared
from inspire_vla.spatial import decode_answers


@dataclass
class TaskSummary:
    """One instruction. words: for each mention, word → frames ("" is no label). changes: of each episode."""

    instruction: str
    mentions: tuple[str, ...]
    words: list[Counter[str]]
    episodes: int = 0
    frames: int = 0
    changes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Timeline:
    """One episode: answers (T, k) of words, confidence (T, k) in 0..1 or None."""

    episode: int
    instruction: str
    mentions: tuple[str, ...]
    answers: NDArray[np.str_]
    confidence: NDArray[np.float64] | None
    fps: float


def summarize(dataset_root: str | Path, *, mode: str | None = None) -> tuple[LabelInfo, list[TaskSummary]]:
    """Count the labels of a dataset, task by task, in the order of its tasks.

    Raises InspireError: no labels, no such mode.
    """
    labels = read_labels(dataset_root)
    tasks: dict[str, TaskSummary] = {}
    for timeline in timelines(dataset_root, mode=mode):
        task = tasks.setdefault(
            timeline.instruction,
            TaskSummary(timeline.instruction, timeline.mentions, [Counter() for _ in timeline.mentions]),
        )
        for counter, words in zip(task.words, timeline.answers.T, strict=True):
            values, counts = np.unique(words, return_counts=True)
            counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        task.episodes += 1
        task.frames += len(timeline.answers)
        task.changes.append(int((timeline.answers[1:] != timeline.answers[:-1]).sum()))
    return labels, [tasks[instruction] for instruction in labels.tasks if instruction in tasks]


def timelines(
    dataset_root: str | Path, *, mode: str | None = None, only: int | None = None
) -> Iterator[Timeline]:
    """Yield the `Timeline` of each labelled episode, or of episode `only`: of each of its tasks, in turn.

    Raises InspireError: no labels, no such mode, no such episode.
    """
    labels = read_labels(dataset_root)
    mode = mode or next(iter(labels.modes))
    if mode not in labels.modes:
        raise InspireError(f"the dataset is labelled in modes {sorted(labels.modes)}, not in {mode!r}.")
    files = LeRobotFiles.open(dataset_root)
    column = answer_column(mode)
    sure = CONFIDENCE_COLUMN if CONFIDENCE_COLUMN in files.info["features"] else None
    seen = False
    for path in files.data_files():
        rows = read_rows(path, (column, sure) if sure else (column,))
        width = labels.max_objects
        codes = rows.columns[column].reshape(-1, width)
        confidence = rows.columns[sure].reshape(-1, width) / 100 if sure else None
        for span in (run for whole in rows.episodes() for run in rows.of_one_task(whole)):
            episode, instruction = (
                int(rows.episode_index[span.start]),
                files.tasks[int(rows.task_index[span.start])],
            )
            if instruction not in labels.tasks or (only is not None and episode != only):
                continue
            seen = True
            mentions = labels.tasks[instruction]
            yield Timeline(
                episode,
                instruction,
                mentions,
                decode_answers(codes[span, : len(mentions)], mode),
                None if confidence is None else confidence[span, : len(mentions)],
                float(files.info.get("fps", 10)),
            )
    if only is not None and not seen:
        raise InspireError(
            f"there is no labelled episode {only}; the dataset has 0 to {files.info['total_episodes'] - 1}, of "
            "which some may have no labels."
        )


def least_confident(dataset_root: str | Path, count: int) -> list[int]:
    """The episodes a person should look at first: lowest mean confidence, then unlabelled frames."""
    doubts = []
    for timeline in timelines(dataset_root):
        missing = float((timeline.answers == "").mean())
        sure = 1.0 if timeline.confidence is None else float(timeline.confidence.mean())
        doubts.append((sure - missing, timeline.episode))
    return list(dict.fromkeys(episode for _, episode in sorted(doubts)))[:count]


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
    names, truth = files.names(), PrivilegedLabeller().opened(files.root)
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
