"""What is in a dataset's labels, in numbers: words per task, changes per episode, and one episode's timeline."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import LabelInfo, answer_column, read_labels
from inspire_vla.labels.lerobot_files import LeRobotFiles, read_rows
from inspire_vla.labels.storage import CONFIDENCE_COLUMN
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


def least_sure(dataset_root: str | Path, count: int) -> list[int]:
    """The episodes a person should look at first: lowest mean confidence, then unlabelled frames."""
    doubts = []
    for timeline in timelines(dataset_root):
        missing = float((timeline.answers == "").mean())
        sure = 1.0 if timeline.confidence is None else float(timeline.confidence.mean())
        doubts.append((sure - missing, timeline.episode))
    return list(dict.fromkeys(episode for _, episode in sorted(doubts)))[:count]
