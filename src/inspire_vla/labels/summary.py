"""Statistics of a dataset's labels: words per task, changes per episode, timelines."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.columns import CONFIDENCE_COLUMN, LABELS_FILE, LabelInfo, answer_column, read_labelled
from inspire_vla.labels.lerobot_files import LeRobotFiles, Segment
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
    """The T frames of one episode that have one task.

    answers: (T, k) words, "" is no label. confidence: (T, k), 0..1, or None.
    """

    segment: Segment
    mentions: tuple[str, ...]
    answers: NDArray[np.str_]
    confidence: NDArray[np.float64] | None
    fps: float


def summarize(dataset_root: str | Path, *, mode: str | None = None) -> tuple[LabelInfo, list[TaskSummary]]:
    """Count the labels of a dataset, task by task, in the order of its tasks.

    Raises:
        InspireError: no labels, no such mode, or labels of other instructions.
    """
    labels, files = read_labelled(dataset_root)
    tasks: dict[str, TaskSummary] = {}
    for timeline in timelines_of(labels, files, mode):
        instruction, mentions = timeline.segment.instruction, timeline.mentions
        fresh = TaskSummary(
            instruction, mentions, [Counter() for _ in mentions], [Counter() for _ in mentions]
        )
        task = tasks.setdefault(instruction, fresh)
        for answers, words, held in zip(timeline.answers.T, task.words, task.held, strict=True):
            words.update(sorted(answers.tolist()))
            held[timeline.segment.episode] += int((answers == GRASPED).sum())
        task.episodes += 1
        task.frames += len(timeline.answers)
        task.changes.append(int((timeline.answers[1:] != timeline.answers[:-1]).sum()))
    return labels, [tasks[instruction] for instruction in labels.tasks if instruction in tasks]


def timelines(
    dataset_root: str | Path, *, mode: str | None = None, only: Collection[int] | None = None
) -> Iterator[Timeline]:
    """Yield the timelines of a dataset, see `timelines_of`.

    Raises:
        InspireError: no labels, no such mode, no such episode, or labels of other instructions.
    """
    yield from timelines_of(*read_labelled(dataset_root), mode, only)


def timelines_of(
    labels: LabelInfo, files: LeRobotFiles, mode: str | None = None, only: Collection[int] | None = None
) -> Iterator[Timeline]:
    """Yield a `Timeline` for each task of each labelled episode, or of the episodes `only`.

    Raises:
        InspireError: no such mode, or one of `only` has no labels.
    """
    mode = mode or next(iter(labels.modes))
    if mode not in labels.modes:
        raise InspireError(f"the dataset is labelled in modes {sorted(labels.modes)}, not in {mode!r}.")
    column, missing = answer_column(mode), set(only or ())
    has_confidence = CONFIDENCE_COLUMN in files.info["features"]
    for segment, columns in files.segments((column, CONFIDENCE_COLUMN) if has_confidence else (column,)):
        codes = columns[column].reshape(len(segment), -1)
        if codes.shape[1] != labels.max_objects:
            raise InspireError(
                f"{segment.file}: {column} holds {counted(codes.shape[1], 'answer')} a frame, {LABELS_FILE} says "
                f"{labels.max_objects}."
            )
        if segment.instruction not in labels.tasks or (only is not None and segment.episode not in only):
            continue
        missing.discard(segment.episode)
        mentions = labels.tasks[segment.instruction]
        confidence = columns[CONFIDENCE_COLUMN].reshape(codes.shape) / 100 if has_confidence else None
        yield Timeline(
            segment,
            mentions,
            decode_answers(codes[:, : len(mentions)], mode),
            None if confidence is None else confidence[:, : len(mentions)],
            float(files.info["fps"]),
        )
    if missing:
        raise InspireError(
            f"there is no labelled episode {min(missing)}; the dataset has 0 to "
            f"{files.info['total_episodes'] - 1}, of which some may have no labels."
        )


def least_confident(timelines: Iterable[Timeline], count: int) -> list[int]:
    """Return the `count` episodes to check first: low mean confidence, many frames without a label."""
    scores = []
    for timeline in timelines:
        unlabelled = float((timeline.answers == "").mean())
        confidence = 1.0 if timeline.confidence is None else float(timeline.confidence.mean())
        scores.append((confidence - unlabelled, timeline.segment.episode))
    return list(dict.fromkeys(episode for _, episode in sorted(scores)))[:count]
