"""Recorded episodes as a benchmark: the policy answers and acts on the frames, which do not follow its actions.

A policy is measured on data of a robot for which no simulator is here: its answers against the dataset's labels, its
actions against the demonstrated ones (offline.py). How often it would succeed cannot be told from that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from inspire_vla.dialogue import AnswerRule
from inspire_vla.episode_conventions import FIRST_SEED
from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.evaluation.offline import ActionScale, OfflineScores, score_actions
from inspire_vla.labels.columns import (
    ModeRule,
    answer_column,
    check_compatible,
    has_labels,
    read_labelled,
    read_labels,
)
from inspire_vla.labels.demonstration_labeller import opens_high_of
from inspire_vla.labels.gripper_sign import known_convention
from inspire_vla.labels.recorded import ACTION, EpisodeReader, Segment
from inspire_vla.labels.value_names import open_is_high
from inspire_vla.lerobot_plugin.observation_forms import camera_of, check_aspect_ratio, scaled
from inspire_vla.spatial import decode_answers

STATE = "observation.state"
GRIPPER_TOLERANCE_S = 0.5
"""A gripper event counts as hit if the policy's is at most so much earlier or later."""
_PART = 1_000_000
"""Added to the seed for each change of the task within an episode."""


@dataclass(frozen=True)
class PolicyInputs:
    """What a policy takes.

    Attributes:
        cameras: {camera of the policy: (height, width)}.
        columns: {camera: the dataset's camera, or its column}, where its name is another one.
        state_dim: 0 for a policy without a state.
        rule: how its answers are made; None for a policy that is asked nothing.
    """

    cameras: Mapping[str, tuple[int, int]]
    state_dim: int
    action_dim: int
    rule: AnswerRule | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


class PlaybackBenchmark:
    """The episodes of a dataset as a benchmark of one suite; a task is an instruction.

    The suite is named after the recorded actions, so that episodes are the same wherever the dataset lies.

    Args:
        dataset: folder of a LeRobot dataset; with labels, answers are scored.
        inputs: what the policy takes.
        evaluated: the episodes that are evaluated; mean and spread of the actions are taken from the others, if any.
        first_episode: for steering: reset(seed) plays this episode for FIRST_SEED, for the next seed the next episode
            of the same task. None: the seed is the number of the episode.

    Raises:
        InspireError: no dataset, or one that does not fit the policy: cameras, sizes, labels of another meaning.
    """

    def __init__(
        self,
        dataset: str | Path,
        inputs: PolicyInputs,
        *,
        evaluated: Sequence[int] = (),
        first_episode: int | None = None,
    ) -> None:
        self.root, self.inputs, self.first_episode = Path(dataset), inputs, first_episode
        self.reader = EpisodeReader(dataset)
        self.columns = _camera_columns(self.reader, inputs)
        _check_numbers(self.reader, inputs)
        self.labels = _labels(self.root, inputs.rule)
        self._evaluated = frozenset(evaluated)
        self.segments = tuple(segment for segment in self.reader.segments if self._can_be_asked(segment))
        if not self.segments:
            raise InspireError(
                f"No instruction of {self.root} names an object that the policy can be asked about. Name them in "
                "a file: inspire evaluate --mentions."
            )
        from inspire_vla.labels.video_defects import check_videos  # loads PyAV

        shown_first = None if first_episode is None else (first_episode,)
        self.reader.files.check_order()
        check_videos(self.reader.files, self._evaluated or shown_first)

    note = "Recorded frames: they do not follow the actions of the policy."
    camera_faces_robot = False
    """Nothing is known of where the cameras stand."""

    @property
    def has_cartesian_actions(self) -> bool:
        """Whether an action begins with displacements along x, y and z, by the dataset's names."""
        names = self.reader.files.names().get(ACTION, ())[:3]
        return [name.lower().removeprefix("d").removeprefix("elta_") for name in names] == ["x", "y", "z"]

    @property
    def notes(self) -> list[str]:
        """Return what a person should know before an evaluation."""
        notes = []
        if self.inputs.rule is not None and self.labels is None:
            notes.append(
                f"{self.root} has no labels, so only actions are compared; `inspire label` adds them"
            )
        if left_out := len(self.reader.segments) - len(self.segments):
            notes.append(
                f"{counted(left_out, 'episode or a part of it is', 'episodes or parts of them are')} left out: "
                "no instruction, or one without objects"
            )
        return notes

    def _can_be_asked(self, segment: Segment) -> bool:
        if not segment.instruction.strip():
            return False
        if self.inputs.rule is None or (self.labels and segment.instruction in self.labels[1]):
            return True
        return bool(self.inputs.rule.mentions(segment.instruction))

    @cached_property
    def name(self) -> str:
        """The name of the suite: for steering, that of the folder."""
        if self.first_episode is not None:
            return self.root.resolve().name
        return f"dataset_{self.conditions['actions_sha256'][:8]}"

    def suites(self) -> tuple[str, ...]:
        """Return the one suite."""
        return (self.name,)

    def tasks(self, suite: str) -> tuple[str, ...]:
        """Return the instructions, that of `first_episode` first."""
        first = [s.instruction for s in self.segments if s.episode == self.first_episode]
        return tuple(dict.fromkeys([*first, *(segment.instruction for segment in self.segments)]))

    def instructions(self, suite: str) -> dict[str, str]:
        """Return {task: instruction}; a task is its own instruction."""
        return {task: task for task in self.tasks(suite)}

    def make(self, suite: str, task: str) -> "Playback":
        """Return the environment of a task."""
        segments = [segment for segment in self.segments if segment.instruction == task]
        if not segments:
            raise InspireError(f"{self.root} has no task {task!r}.{did_you_mean(task, self.tasks(suite))}")
        return Playback(self, segments)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What identifies the recorded episodes: a hash of their actions."""
        return {"actions_sha256": self.reader.actions_sha256()}

    @cached_property
    def labels_sha256(self) -> str | None:
        """A hash of the labels; None where none are used."""
        return None if self.labels is None else self.reader.column_sha256(answer_column(self.labels[0]))

    @cached_property
    def scale(self) -> ActionScale:
        """Mean and spread of the dataset's actions, from the episodes that are not evaluated, if there are any.

        Episodes with an action that is NaN or infinite do not count.
        """
        actions, episodes = self.reader.files.column(ACTION)
        names = self.reader.files.names().get(ACTION) or tuple(map(str, range(actions.shape[1])))
        whole = ~np.isin(episodes, episodes[~np.isfinite(actions).all(axis=1)])
        actions, episodes = actions[whole].astype(np.float64), episodes[whole]
        others = ~np.isin(episodes, list(self._evaluated))
        return ActionScale.of(
            actions,
            np.flatnonzero(np.diff(episodes, prepend=-1)),
            names,
            tolerance=max(1, round(GRIPPER_TOLERANCE_S * self.reader.fps)),
            reference=others if others.any() else None,
            opens_high=self._opens_high(actions, names),
        )

    def _opens_high(self, actions: np.ndarray, names: Sequence[str]) -> dict[int, bool]:
        """Of the values of an action, whether large ones mean an open gripper: by their name, robot or labels."""
        robot, known = str(self.reader.files.info.get("robot_type") or ""), dict[int, bool]()
        for i, (name, values) in enumerate(zip(names, actions.T, strict=True)):
            convention = known_convention(robot, float(values.min()), float(values.max()))
            sign = open_is_high(name) if convention is None else convention.open_is_high
            known |= {} if sign is None else {i: sign}
        stored = read_labels(self.root).extra if has_labels(self.root) else {}
        return known | opens_high_of(stored.get("settings"))

    def _check_finite(self) -> None:
        """Raise InspireError for a state or an action of the evaluated episodes that is NaN or infinite."""
        for name in [ACTION, *([STATE] if self.inputs.state_dim else [])]:
            values, episodes = self.reader.files.column(name)
            wrong = ~np.isfinite(values).all(axis=1)
            if self._evaluated:
                wrong &= np.isin(episodes, list(self._evaluated))
            if wrong.any():
                row = int(wrong.argmax())
                frame = row - int((episodes == episodes[row]).argmax())
                raise InspireError(
                    f"{self.root}: {name} of episode {episodes[row]}, frame {frame} is {values[row].tolist()}; NaN or "
                    f"infinite in {counted(len(set(episodes[wrong].tolist())), 'episode')} of those that are "
                    "evaluated. Leave these out (--episodes), or mend the numbers."
                )

    def describe(self) -> dict[str, Any]:
        """Return what a run records about the dataset and the scale of its actions, as JSON.

        Raises InspireError for a state or an action of the evaluated episodes that is NaN or infinite.
        """
        self._check_finite()
        scale = self.scale
        return {
            "path": str(self.root),
            "episodes": self.reader.episodes,
            "fps": self.reader.fps,
            "labelled": self.labels is not None,
            "action_names": list(scale.names),
            "action_mean": scale.mean.tolist(),
            "action_spread": scale.spread.tolist(),
            "grippers": [scale.names[i] for i in scale.grippers],
            "gripper_tolerance_s": scale.tolerance / self.reader.fps,
        }


class Playback:
    """One recorded episode as an environment: `step` shows the next frame, whatever the action is.

    After the episode, `scores` compares the policy's actions with the demonstrated ones.
    """

    render_mode = None

    def __init__(self, benchmark: PlaybackBenchmark, segments: Sequence[Segment]) -> None:
        self.benchmark, self.segments = benchmark, segments
        self.metadata = {"render_fps": benchmark.reader.fps}
        self.action_space = SimpleNamespace(shape=(benchmark.inputs.action_dim,))
        self._images: dict[str, Iterator[np.ndarray]] = {}

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Show the first frame of the episode that the seed stands for.

        Returns:
            The observation, as `step` returns it, and `info`.
        """
        self.segment = self._segment(seed)
        reader, state_dim = self.benchmark.reader, self.benchmark.inputs.state_dim
        labels = self.benchmark.labels
        names = [ACTION, *([STATE] if state_dim else []), *([answer_column(labels[0])] if labels else [])]
        self._columns = reader.columns(self.segment, names)
        self._images = {
            camera: reader.images(self.segment, column) for camera, column in self.benchmark.columns.items()
        }
        self.frame = 0
        self.executed: list[np.ndarray] = []
        self.chunks: list[tuple[int, np.ndarray]] = []
        self._observe()
        return self.observation, self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Note the action and show the next frame. At the end the last frame stays.

        Args:
            action: (action_dim,), in the units and the frame of the dataset's actions.

        Returns:
            The observation, reward 0, terminated False, whether the episode is over, and `info`. The observation holds
            the images {"pixels": {camera: uint8 (H, W, 3)}} in the policy's size. If the policy takes a state, it holds
            "agent_pos", float32 (state_dim,), as recorded.

        Raises:
            InspireError: a recorded image is missing or damaged.
        """
        self.executed.append(np.asarray(action, dtype=np.float64))
        over = self.frame + 1 >= len(self.segment)
        if not over:
            self.frame += 1
            self._observe()
        return self.observation, 0.0, False, over, self._info()

    def add_chunk(self, step: int, actions: np.ndarray) -> None:
        """Note the chunk that the policy has decided for at a step, all of it.

        actions: (horizon, action_dim), in the units and the frame of the dataset's actions.
        """
        self.chunks.append((step, np.asarray(actions, dtype=np.float64)))

    def scores(self) -> OfflineScores | None:
        """Compare the actions with the demonstrated ones; None if the episode was not played to its end."""
        if len(self.executed) < len(self.segment):
            return None
        return score_actions(
            self._columns[ACTION].astype(np.float64),
            self.chunks,
            np.stack(self.executed),
            self.benchmark.scale,
        )

    def render(self) -> np.ndarray:
        """Return the image of the first camera as it was recorded, uint8 (H, W, 3)."""
        return self._shown

    def close(self) -> None:
        """Drop the decoders of the recorded images."""
        self._images = {}

    def _segment(self, seed: int) -> Segment:
        first = self.benchmark.first_episode
        if first is None:
            return next(s for s in self.segments if seed_of(s) == seed)
        later = [s for s in self.segments if s.episode >= first]
        ordered = [*later, *(s for s in self.segments if s.episode < first)]
        return ordered[(seed - FIRST_SEED) % len(ordered)]

    def _observe(self) -> None:
        recorded = {camera: next(images) for camera, images in self._images.items()}
        self._shown = next(iter(recorded.values()))
        pixels = {
            camera: scaled(image, self.benchmark.inputs.cameras[camera]) for camera, image in recorded.items()
        }
        self.observation: dict[str, Any] = {"pixels": pixels}
        if self.benchmark.inputs.state_dim:
            self.observation["agent_pos"] = self._columns[STATE][self.frame].astype(np.float32)

    def _info(self) -> dict[str, Any]:
        instruction = self.segment.instruction
        info: dict[str, Any] = {"task": instruction, "episode": self.segment.episode, "frame": self.frame}
        if self.benchmark.labels is not None:
            mode, mentions = self.benchmark.labels
            codes = self._columns[answer_column(mode)][self.frame]
            objects = mentions.get(instruction, ())
            words = decode_answers(codes[: len(objects)], mode)
            info["true_answers"] = {m: str(w) for m, w in zip(objects, words, strict=True) if w}
        return info


def seed_of(segment: Segment) -> int:
    """Return the seed that stands for recorded frames: the number of the episode, plus a million for each part."""
    return segment.episode + _PART * segment.part


def _camera_columns(reader: EpisodeReader, inputs: PolicyInputs) -> dict[str, str]:
    """Return {camera of the policy: column}. Raises InspireError for a camera or a size that the dataset lacks."""
    names = {camera: inputs.columns.get(camera, camera) for camera in inputs.cameras}
    columns = {}
    for camera, name in names.items():
        same = [column for column in reader.files.cameras if camera_of(column) == camera_of(name)]
        if not same:
            raise InspireError(
                f"{reader.files.root} has no camera {camera_of(name)!r}; found "
                f"{list(map(camera_of, reader.files.cameras))}. --camera {camera}=NAME takes another one for the "
                f"policy's {camera!r}."
            )
        columns[camera] = column = name if name in same else same[0]
        shape = reader.files.info["features"][column]["shape"]
        height, width = shape[-2:] if shape[0] in (1, 3) else shape[:2]
        check_aspect_ratio(f"{reader.files.root}: {column!r}", (height, width), inputs.cameras[camera])
    return columns


def _check_numbers(reader: EpisodeReader, inputs: PolicyInputs) -> None:
    for name, dim in ((STATE, inputs.state_dim), (ACTION, inputs.action_dim)):
        feature = reader.files.info["features"].get(name)
        recorded = 0 if feature is None else int(np.prod(feature["shape"]))
        if dim and recorded != dim:
            raise InspireError(
                f"{reader.files.root}: {name!r} has {counted(recorded, 'number')}; the policy has {dim}. It was "
                "trained on another robot or another dataset."
            )


def _labels(root: Path, rule: AnswerRule | None) -> tuple[str, Mapping[str, tuple[str, ...]]] | None:
    """Return the mode and {instruction: mentions} of a dataset's labels; None without labels or without questions.

    Raises InspireError for labels that mean something else than the policy's answers, and for those of a dataset that
    was edited after it was labelled.
    """
    if rule is None or not has_labels(root):
        return None
    labels, _ = read_labelled(root)
    check_compatible(
        labels, frame=rule.frame, mode=rule.mode, rule=ModeRule(rule.close_threshold_m, rule.grasped_word)
    )
    return rule.mode, labels.tasks
