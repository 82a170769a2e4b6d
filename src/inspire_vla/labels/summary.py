"""Statistics of a dataset's labels: words per task, changes per episode, timelines, agreement with another labeller."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import LABELS_FILE, LabelInfo, ModeRule, answer_column, read_labelled
from inspire_vla.labels.labeller import Episode, Labeller, encode_tracks
from inspire_vla.labels.simulator_state import PrivilegedLabeller
from inspire_vla.labels.storage import CONFIDENCE_COLUMN, calibrated, with_dataset
from inspire_vla.spatial import GRASPED, decode_answers


@dataclass
class TaskSummary:
    """One instruction.

    words: for each mention, word → frames ("" is no label). held: for each mention, episode → frames in which it is
    grasped. changes: per episode.
    """

    instruction: str
    mentions: tuple[str, ...]
    words: list[Counter[str]]
    held: list[Counter[int]]
    episodes: int = 0
    frames: int = 0
    changes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Timeline:
    """One episode of one task: T frames from frame `start` of the episode.

    answers: (T, k) words. confidence: (T, k), 0..1, or None.
    """

    episode: int
    instruction: str
    mentions: tuple[str, ...]
    answers: NDArray[np.str_]
    confidence: NDArray[np.float64] | None
    fps: float
    start: int = 0


def summarize(dataset_root: str | Path, *, mode: str | None = None) -> tuple[LabelInfo, list[TaskSummary]]:
    """Count the labels of a dataset, task by task, in the order of its tasks.

    Raises:
        InspireError: no labels, no such mode, or labels of other instructions.
    """
    labels, _ = read_labelled(dataset_root)
    tasks: dict[str, TaskSummary] = {}
    for timeline in timelines(dataset_root, mode=mode):
        task = tasks.setdefault(
            timeline.instruction,
            TaskSummary(
                timeline.instruction,
                timeline.mentions,
                words=[Counter() for _ in timeline.mentions],
                held=[Counter() for _ in timeline.mentions],
            ),
        )
        for counter, words in zip(task.words, timeline.answers.T, strict=True):
            counter.update(sorted(words.tolist()))
        for held, frames in zip(task.held, (timeline.answers == GRASPED).sum(axis=0).tolist(), strict=True):
            held[timeline.episode] += frames
        task.episodes += 1
        task.frames += len(timeline.answers)
        task.changes.append(int((timeline.answers[1:] != timeline.answers[:-1]).sum()))
    return labels, [tasks[instruction] for instruction in labels.tasks if instruction in tasks]


def timelines(
    dataset_root: str | Path, *, mode: str | None = None, only: int | None = None
) -> Iterator[Timeline]:
    """Yield a `Timeline` for each task of each labelled episode, or of episode `only`.

    Raises:
        InspireError: no labels, no such mode, no such episode, or labels of other instructions.
    """
    labels, files = read_labelled(dataset_root)
    mode = mode or next(iter(labels.modes))
    if mode not in labels.modes:
        raise InspireError(f"the dataset is labelled in modes {sorted(labels.modes)}, not in {mode!r}.")
    column = answer_column(mode)
    has_confidence = CONFIDENCE_COLUMN in files.info["features"]
    found = False
    for path in files.data_files():
        rows = files.read(path, (column, CONFIDENCE_COLUMN) if has_confidence else (column,))
        codes = rows.columns[column].reshape(len(rows.task_index), -1)
        if codes.shape[1] != labels.max_objects:
            raise InspireError(
                f"{path}: {column} holds {codes.shape[1]} answers a frame, {LABELS_FILE} says {labels.max_objects}."
            )
        confidence = rows.columns[CONFIDENCE_COLUMN].reshape(codes.shape) / 100 if has_confidence else None
        runs = [(run, whole.start) for whole in rows.episodes() for run in rows.of_one_task(whole)]
        for span, first in runs:
            episode = int(rows.episode_index[span.start])
            instruction = files.instruction(int(rows.task_index[span.start]))
            if instruction not in labels.tasks or (only is not None and episode != only):
                continue
            found = True
            mentions = labels.tasks[instruction]
            yield Timeline(
                episode,
                instruction,
                mentions,
                decode_answers(codes[span, : len(mentions)], mode),
                None if confidence is None else confidence[span, : len(mentions)],
                float(files.info.get("fps", 10)),
                span.start - first,
            )
    if only is not None and not found:
        raise InspireError(
            f"there is no labelled episode {only}; the dataset has 0 to {files.info['total_episodes'] - 1}, of "
            "which some may have no labels."
        )


def least_confident(dataset_root: str | Path, count: int) -> list[int]:
    """Return the `count` episodes to check first: low mean confidence, many frames without a label."""
    scores = []
    for timeline in timelines(dataset_root):
        unlabelled = float((timeline.answers == "").mean())
        confidence = 1.0 if timeline.confidence is None else float(timeline.confidence.mean())
        scores.append((confidence - unlabelled, timeline.episode))
    return list(dict.fromkeys(episode for _, episode in sorted(scores)))[:count]


# --- agreement with a simulator's state


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
    labeller = calibrated(with_dataset(labeller, files.root), files, labels.tasks, labels.overrides)
    columns = tuple(dict.fromkeys((*labeller.columns(numbers), *truth.columns(numbers))))
    found = Agreement()
    for path in files.data_files():
        rows = files.read(path, columns)
        for span in rows.episodes():
            instruction = files.instruction(int(rows.task_index[span.start]))
            if instruction not in labels.tasks:  # it names no object, or is empty
                continue
            episode = Episode(
                int(rows.episode_index[span.start]),
                instruction,
                labels.tasks[instruction],
                {name: values[span] for name, values in rows.columns.items()},
                names,
                roles=labels.overrides.get(instruction, ()),
            )
            tracks = labeller.label(episode)
            objects = len(episode.mentions)
            labelled, true = (
                decode_answers(encode_tracks(source, info)[mode][:, :objects], mode)
                for source in (tracks, truth.label(episode))
            )
            known, agrees = true != "", true == labelled
            found.confusion.update(zip(true[known].tolist(), labelled[known].tolist(), strict=True))
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
