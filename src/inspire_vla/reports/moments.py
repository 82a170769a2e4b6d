"""The moments of an episode, to be shown one after another: of a run's record, or of a LeRobot dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import answer_column, has_labels, read_labelled
from inspire_vla.labels.lerobot_files import Segment
from inspire_vla.labels.recorded import EpisodeReader
from inspire_vla.labels.video_defects import check_videos
from inspire_vla.spatial import decode_answers

ACTION_NAMES = tuple("x y z rx ry rz gripper".split())
"""Of a seven-dimensional action."""


@dataclass(frozen=True)
class Moment:
    """One step of an episode. Answers, truths and confidences run parallel to `mentions`; None: unknown.

    Attributes:
        images: {camera: (H, W, 3) uint8}.
        state, action: {name: number}.
        gripper: "open", "closed" or "holding".
    """

    step: int
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    answers: Sequence[str | None] = ()
    truths: Sequence[str | None] = ()
    confidences: Sequence[float] = ()
    state: Mapping[str, float] = field(default_factory=dict)
    action: Mapping[str, float] = field(default_factory=dict)
    gripper: str | None = None


def moments_of(
    record: Mapping[str, Any],
    frames: Sequence[np.ndarray] = (),
    actions: Sequence[np.ndarray] = (),
    states: Sequence[np.ndarray] = (),
    *,
    action_names: Sequence[str] = ACTION_NAMES,
) -> list[Moment]:
    """Return the moments of an episode's record, with the frames, actions and states of each step, if any.

    Args:
        frames: (H, W, 3) uint8 of each step.
        actions: (action_dim,) of each step.
        states: (state_dim,) of each step.
        action_names: of the numbers of an action. Where there are not so many numbers, they are counted from 0.
    """
    timeline = list(record.get("timeline") or ())
    gripper = list(record.get("gripper") or ())
    steps = range(max(len(frames), int(record.get("steps", 0)) + 1))
    moments = []
    for step in steps:
        _, answers, truths, confidences = _latest(timeline, step) or (0, (), (), ())
        moments.append(
            Moment(
                step,
                {"agent view": frames[step]} if step < len(frames) else {},
                tuple(answer or None for answer in answers),
                tuple(truths),
                tuple(confidences),
                state=_named(states, step),
                action=_named(actions, step, action_names),
                gripper=(_latest(gripper, step) or (0, None))[1],
            )
        )
    return moments


def _latest(changes: Sequence[Any], step: int) -> Any:
    """Return the last of `changes` (each begins with its step) up to `step`; None before the first."""
    return next((change for change in reversed(changes) if change[0] <= step), None)


def _named(table: Sequence[np.ndarray], step: int, names: Sequence[str] = ()) -> dict[str, float]:
    if step >= len(table):
        return {}
    return _by_name(names, table[step].tolist())


def _by_name(names: Sequence[str], numbers: Sequence[float]) -> dict[str, float]:
    """Numbers by their names. Those without a name are counted from 0, and names that stand for several have a number.

    LIBERO's datasets name both fingers "gripper".
    """
    if len(names) != len(numbers):
        names = [""] * len(numbers)
    unique = (
        name if name and names.count(name) == 1 else f"{name} {index}".lstrip()
        for index, name in enumerate(names)
    )
    return {name: float(number) for name, number in zip(unique, numbers, strict=True)}


class DatasetEpisode:
    """One episode of a LeRobot dataset, with its labels if it has some.

    Attributes:
        mode: of the labels that are shown; None without labels.

    Raises:
        InspireError: there is no such episode, it has no frames or a truncated video, the frames do not follow
            each other, or the labels are those of other instructions.
    """

    def __init__(self, folder: Path, episode: int) -> None:
        self.reader = EpisodeReader(folder)
        check_episode(episode, self.reader.episodes)
        self.reader.files.check_order()
        check_videos(self.reader.files, [episode])
        self.segments = [segment for segment in self.reader.segments if segment.episode == episode]
        if not self.segments:
            raise self.reader.files.incomplete(f"data/ holds no frame of episode {episode}")
        self.instruction = self.segments[0].instruction
        self.mode: str | None = None
        self.mentions: tuple[str, ...] = ()
        if has_labels(folder):
            labels, _ = read_labelled(folder)
            self.mode = next(iter(labels.modes))
            self.mentions = tuple(labels.tasks.get(self.instruction, ()))

    def moments(self) -> Iterator[Moment]:
        """The frames; their labels stand as truths."""
        files = self.reader.files
        recorded = [name for name in ("observation.state", "action") if name in files.info["features"]]
        for segment in self.segments:
            columns = self.reader.columns(segment, recorded)
            images = {name: self.reader.images(segment, name) for name in files.cameras}
            for row, words in enumerate(self._answers(segment)):
                numbers = {name: self._named(name, columns[name][row].tolist()) for name in recorded}
                yield Moment(
                    segment.start + row,
                    {name.removeprefix("observation.images."): next(image) for name, image in images.items()},
                    truths=[word or None for word in words],
                    state=numbers.get("observation.state", {}),
                    action=numbers.get("action", {}),
                )

    def _answers(self, segment: Segment) -> list[list[str]]:
        """The labels of each frame. None in a task after the first of the episode: they are about other objects."""
        if self.mode is None or segment.instruction != self.instruction:
            return [[] for _ in range(len(segment))]
        column = answer_column(self.mode)
        codes = self.reader.columns(segment, [column])[column]
        words: list[list[str]] = decode_answers(codes[:, : len(self.mentions)], self.mode).tolist()
        return words

    def _named(self, feature: str, numbers: Sequence[float]) -> dict[str, float]:
        return _by_name(self.reader.files.names().get(feature, ()), numbers)


def check_episode(episode: int, count: int) -> None:
    """Raise InspireError for an episode that is none of `count`."""
    if not 0 <= episode < count:
        available = f"there are {count}, from 0" if count else "there is none yet"
        raise InspireError(f"There is no episode {episode}; {available}.")
