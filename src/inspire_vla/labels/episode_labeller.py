"""Labels from a demonstration alone: from the end effector's path, the gripper and the instruction, as in the paper.

Where the gripper closes is where the object was. Where it opens is where the object was brought to:

                    position of the carried object      position of the goal
    before grasp    fingertips at the grasp             fingertips at the release
    held            in the gripper: `grasped`           fingertips at the release
    after           fingertips at the release           fingertips at the release

An object that is pushed without a grasp is in front of the fingertips (`find_push`). One that is pressed or turned is
where the fingertips stay longest. A position that the demonstration does not tell has no label; an uncertain one has
a low confidence.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import Act, MentionRole, acts_of, find_mentions, mentions_of, override_for
from inspire_vla.labels.calibration import NEVER_EMPTY, Arm, Finding, calibrate_arms, grasps_of
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.find_end_effector import add_gripper, find_end_effector_columns
from inspire_vla.labels.gripper import EMPTY, Grasp, OpeningScale
from inspire_vla.labels.labeller import Episode, Note, Recording, Tracks, encode_tracks
from inspire_vla.labels.value_names import state_and_action_columns
from inspire_vla.spatial import Frame, decode_answers

# --- the labeller of a dataset

_FEWEST_FRAMES = 3


@dataclass(frozen=True)
class DemonstrationLabeller:
    """Labels any dataset that records the end effector's position (or joint angles) and the gripper.

    Args:
        end_effector: the columns to read; None finds them by name. Without a gripper in it, that is found.
        width_values, command_values: in place of those that are found; only without `end_effector`.
        open_is_high: whether larger gripper values mean a wider opening; None finds it out from the dataset.
        arm: "left" or "right": label with this arm only; None takes the arm that grasps.
        metres_per_unit: of the position; 0.001 for millimetres.
        fingertips_below_m: how far the fingertips are below the recorded position (a flange, a wrist).
        target_drop_m: how far the middle of an object is below the fingertips that grasp it from above.
        goal_drop_m: how far the middle of a goal is below the fingertips that release over it.
        empty: see `find_grasps`. arms, certainty, findings: set by `calibrate`. certainty: of the gripper's sign, 0..1.
    """

    one_task_at_a_time: ClassVar[bool] = True  # a grasp belongs to the task during which it is made
    end_effector: EndEffectorColumns | None = None
    width_values: ColumnValues | None = None
    command_values: ColumnValues | None = None
    open_is_high: bool | None = None
    arm: str | None = None
    metres_per_unit: float = 1.0
    fingertips_below_m: float = 0.0
    target_drop_m: float = 0.015
    goal_drop_m: float = 0.03
    empty: float = EMPTY
    arms: tuple[Arm, ...] = ()
    certainty: float = 1.0
    findings: tuple[Finding, ...] = field(default=(), compare=False)
    name: str = field(default="from_demonstration", init=False)

    def settings(self) -> dict[str, Any]:
        """The values that decide the labels, as JSON values."""
        return {
            "given": {
                "end_effector": self.end_effector and self.end_effector.to_json(),
                "width": self.width_values and str(self.width_values),
                "command": self.command_values and str(self.command_values),
                "open_is_high": self.open_is_high,
                "arm": self.arm,
            },
            "arms": [
                {
                    "arm": arm.end_effector.arm,
                    "end_effector": arm.end_effector.to_json(),
                    "gripper_closed_and_open": {
                        key: scale and [scale.closed, scale.open]
                        for key, scale in (("command", arm.command_scale), ("width", arm.width_scale))
                    },
                }
                for arm in self.arms
            ],
            **{
                name: getattr(self, name)
                for name in ("metres_per_unit", "fingertips_below_m", "target_drop_m", "goal_drop_m", "empty")
            },
        }

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns in which the end effector and the gripper are, or may be."""
        given = [arm.end_effector for arm in self.arms]
        if not given and self.end_effector is not None:
            given = [self.end_effector]
        read = dict.fromkeys(name for one in given for name in one.columns())
        return tuple(read) or state_and_action_columns(names)

    def calibrate(self, recording: Recording) -> Self:
        """Find out what was not given: the columns, and the gripper's range and sign. `findings` says what and why.

        Raises:
            InspireError: no position or gripper is found, or two that differ; the sign is in doubt; or the positions
                are in an impossible unit.
        """
        if self.arms:
            return self
        by_arm = tuple(
            columns.in_known_unit(recording, self.metres_per_unit)
            for columns in self._find_columns(recording)
        )
        calibrated = calibrate_arms(
            recording, by_arm, path=self._path, open_is_high=self.open_is_high, empty=self.empty
        )
        return replace(self, **vars(calibrated))

    def _find_columns(self, recording: Recording) -> tuple[EndEffectorColumns, ...]:
        """The columns of each arm: given, or found."""
        if self.end_effector is not None:
            resolved = self.end_effector.resolve(recording.names)
            return (resolved if len(resolved.parts) > 1 else add_gripper(resolved, recording),)
        gripper = {"width": self.width_values, "command": self.command_values}
        given: dict[str, Any] = {
            f"{what}_values": v.resolve(recording.names) for what, v in gripper.items() if v is not None
        }
        by_arm = find_end_effector_columns(recording, needs_gripper=not given, arm=self.arm)
        if not given:
            return by_arm
        if len(by_arm) > 1:
            arms = " and ".join(one.arm for one in by_arm)
            raise InspireError(f"--width and --command are of one arm, and {arms} are found: give --arm.")
        reasons = dict.fromkeys((name.removesuffix("_values") for name in given), "given")
        return (replace(by_arm[0], reasons={**by_arm[0].reasons, **reasons}, **given),)

    def label(self, episode: Episode) -> Tracks:
        """Label one episode. An episode with positions that are no numbers gets no labels and a note.

        Raises:
            InspireError: the columns are not known, because `calibrate` was not called.
        """
        if not self.arms:
            raise InspireError(
                "the labeller does not know the end effector's columns: call calibrate() first."
            )
        frames, objects, columns = len(episode), len(episode.mentions), episode.columns
        used = [values.of(columns) for arm in self.arms for values in arm.end_effector.parts.values()]
        paths = np.stack([self._path(arm.end_effector, columns) for arm in self.arms])
        if any(not np.isfinite(values).all() for values in (paths, *used)):
            return Tracks.unknown(frames, objects, "positions that are no numbers")
        if frames < _FEWEST_FRAMES:
            return Tracks.unknown(frames, objects, f"only {counted(frames, 'frame')}")
        acts = acts_of(episode.instruction, episode.mentions, episode.roles)
        only_pushes = bool(acts) and all(act.push for act in acts)
        empty = EMPTY if only_pushes and self.empty == NEVER_EMPTY else self.empty
        grasps = grasps_of(self.arms, columns, list(paths), len(acts), episode.fps, empty)
        drops = {"target_drop_m": self.target_drop_m, "goal_drop_m": self.goal_drop_m}
        tracks = EpisodeLabeller(paths, grasps, acts, episode.mentions, **drops).label()
        assert tracks.confidence is not None
        return replace(tracks, confidence=tracks.confidence * np.float32(self.certainty))

    def _path(
        self, end_effector: EndEffectorColumns, columns: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float64]:
        """(T, 3) metres: the path of an arm's fingertips."""
        return end_effector.fingertips(columns, self.metres_per_unit, self.fingertips_below_m)


# --- one episode

_POSITION_STD_M = 0.03
"""Standard deviation of an object's position that is read from the fingertips, per axis."""
_CONFIDENCE = {
    "held": 0.95,
    "target": 0.95,
    "carried": 0.85,
    "goal": 0.9,
    "aside": 0.5,
    "drawer": 0.5,  # its middle is far from where the gripper releases into it
    "pushed": 0.7,
    "touched": 0.5,  # the only evidence is that the fingertips stayed there
    "contact": 0.35,
}
_GRASP_CONFIDENCE = {True: 1.0, None: 0.8, False: 0.6}
"""By `Grasp.holds_object`: seen in the width, known from the command only, empty but carried far."""
_CARRIED_M = 0.08
"""A gripper that closed on nothing does not move so far sideways before it opens."""
_SAME_PLACE_M = 0.08
_STAY_M = 0.05
_TOUCH_AHEAD_M = 0.01


class EpisodeLabeller:
    """Assigns the grasps of one episode to the acts, and derives every object's position from them.

    Args:
        paths: (A, T, 3) metres, base frame: the fingertips of each arm.
        grasps: of all arms, in order of time.
        acts: what the instruction asks for, in order; objects are indices into `mentions`.
        target_drop_m, goal_drop_m: see `DemonstrationLabeller`.
    """

    def __init__(
        self,
        paths: NDArray[np.float64],
        grasps: list[Grasp],
        acts: tuple[Act, ...],
        mentions: Sequence[str],
        *,
        target_drop_m: float,
        goal_drop_m: float,
    ) -> None:
        frames, objects = paths.shape[1], len(mentions)
        self.drawers = {i for i, mention in enumerate(mentions) if "drawer" in mention}
        self.paths, self.acts = paths, acts
        moved = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(axis=1)
        used = np.bincount([grasp.arm for grasp in grasps], minlength=len(paths))
        self.main = int(np.lexsort((moved, used))[-1])
        """The arm that grasps most often, else the one that moves most: it does what needs no grasp."""
        self.fingertips = paths[self.main]
        self.hand = np.full((frames, objects), self.main)
        """The arm from which each object is asked about: the one that grasps it."""
        self.target_drop, self.goal_drop = (np.array([0, 0, drop]) for drop in (target_drop_m, goal_drop_m))
        carries = sum(act.needs_grasp for act in acts)
        full = [grasp for grasp in grasps if grasp.holds_object is not False]
        thin = [g for g in grasps if g.holds_object is False and self._carried_m(g) > _CARRIED_M]
        thin.sort(key=self._carried_m)
        if full or not carries:  # else nothing was held for certain, and all of them count
            thin = thin[max(0, len(thin) - max(0, carries - len(full))) :]
        self.grasps = [grasp for grasp in grasps if grasp in full or grasp in thin]
        self.notes = [f"{counted(len(thin), 'closing')} on something thin, or on nothing"] if thin else []
        self.empty_grasps = len(grasps) - len(self.grasps)
        self.position = np.full((frames, objects, 3), np.nan)
        self.grasped = np.zeros((frames, objects), dtype=bool)
        self.confidence = np.zeros((frames, objects))
        self.known_until = np.zeros(objects, dtype=np.int64)
        """Frame up to which an earlier act has set an object's position."""

    def label(self) -> Tracks:
        """Return where every object is in every frame.

        A held object's offset is NaN: a demonstration does not tell where in the gripper the object's middle is.
        """
        assigned, trust = self._assign_grasps()
        if self.empty_grasps:
            self.notes.append(f"{counted(self.empty_grasps, 'closing')} on nothing")
        spans = self._spans(assigned)
        for act, grasps, span in zip(self.acts, assigned, spans, strict=True):
            if grasps and act.tool is not None:
                self._carry(Act(act.tool), grasps, trust)
                self._touch(act, (grasps[0].hold, grasps[-1].release), trust)
            elif grasps:
                self._carry(act, grasps, trust)
            else:
                self._touch(act, span, trust)
        unknown = int((~np.isfinite(self.position).any(axis=(0, 2))).sum())
        if unknown:
            objects = counted(self.position.shape[1], "object")
            self.notes.append(f"the demonstration does not tell the place of {unknown} of {objects}")
        offsets = self.position - self.paths[self.hand, np.arange(len(self.hand))[:, None]]
        offsets[self.grasped] = np.nan
        direction_confidence = np.where(self.grasped, 1.0, _direction_confidence(np.nan_to_num(offsets)))
        known = np.isfinite(offsets).all(axis=-1) | self.grasped
        confidence = np.where(known, self.confidence * direction_confidence, 0.0)
        return Tracks(
            offsets.astype(np.float32), self.grasped, confidence.astype(np.float32), tuple(self.notes)
        )

    # which grasp belongs to which act

    def _assign_grasps(self) -> tuple[list[list[Grasp]], float]:
        """Give each act its grasps, in order; also return how far this can be trusted, 0..1."""
        acts, grasps = self.acts, self.grasps
        assigned: list[list[Grasp]] = [[] for _ in acts]
        if not acts:
            self.notes.append("no act was read from the instruction")
            return assigned, 0.0
        if len(grasps) == len(acts):
            return [[grasp] for grasp in grasps], 1.0
        if len(grasps) < len(acts):
            carries = [i for i, act in enumerate(acts) if act.needs_grasp]
            touches = [i for i, act in enumerate(acts) if not act.needs_grasp]
            trust = 1.0 if len(grasps) == len(carries) else 0.5 if grasps else 0.4
            if trust == 0.5:
                self._note_grasps()
            for i, grasp in zip(sorted((carries + touches)[: len(grasps)]), grasps, strict=True):
                assigned[i] = [grasp]
            return assigned, trust
        moves = [
            float(np.linalg.norm(self._at(after.hold, after.arm) - self._at(before.release, before.arm)))
            for before, after in itertools.pairwise(grasps)
        ]
        if len(acts) > 1 or max(moves) >= _SAME_PLACE_M:
            self._note_grasps()
        # more grasps than acts: the longest moves of the open gripper separate the objects
        cuts = sorted(np.argsort(moves, kind="stable")[::-1][: len(acts) - 1].tolist())
        bounds = [0, *(cut + 1 for cut in cuts), len(grasps)]
        for i, (first, end) in enumerate(itertools.pairwise(bounds)):
            assigned[i] = grasps[first:end]
        return assigned, 0.9 if len(acts) == 1 else 0.7

    def _note_grasps(self) -> None:
        spans = [(grasp.close, min(grasp.release, len(self.fingertips) - 1)) for grasp in self.grasps]
        self.notes.append(
            Note(f"{counted(len(self.grasps), 'grasp')} for {counted(len(self.acts), 'act')}", spans)
        )

    def _spans(self, assigned: list[list[Grasp]]) -> list[tuple[int, int]]:
        """Frames (first, end) in which each act may be done: between the grasps of the acts around it."""
        frames = len(self.fingertips)
        spans = []
        for i in range(len(assigned)):
            before = [grasp.release for grasps in assigned[:i] for grasp in grasps]
            after = [grasp.close for grasps in assigned[i + 1 :] for grasp in grasps]
            spans.append((min(max(before, default=0), frames - 1), min(after, default=frames)))
        return spans

    # where the objects are

    def _at(self, frame: int, arm: int | None = None) -> NDArray[np.float64]:
        """An arm's fingertips in `frame`, or in the last frame; by default the main arm's."""
        path = self.paths[self.main if arm is None else arm]
        return path[min(max(frame, 0), len(path) - 1)]

    def _carried_m(self, grasp: Grasp) -> float:
        """How far the gripper moved sideways while it was closed; if it never opened, upwards too."""
        moved = self._at(grasp.release, grasp.arm) - self._at(grasp.hold, grasp.arm)
        return float(np.linalg.norm(moved if grasp.release >= len(self.fingertips) else moved[:2]))

    def _set(
        self,
        mention: int,
        first: int,
        end: int,
        position: NDArray[np.float64],
        confidence: float,
        arm: int | None = None,
    ) -> None:
        """Set the object's position in frames first..end, except where an earlier act has set it."""
        frames = slice(max(first, int(self.known_until[mention])), end)
        self.position[frames, mention] = position
        self.confidence[frames, mention] = confidence
        self.hand[frames, mention] = self.main if arm is None else arm

    def _set_goal(
        self,
        act: Act,
        position: NDArray[np.float64],
        confidence: float,
        trust: float,
        beside: float = _CONFIDENCE["aside"],
        arm: int | None = None,
    ) -> None:
        """Set the position of the act's goal, or of what the target is brought next to, in all frames.

        An object whose position an earlier act has set keeps it.
        """
        places = act.beside if act.goal is None else (act.goal,)
        for place in places:
            if not np.isfinite(self.position[-1, place]).all():
                goal_confidence = beside if act.goal is None else confidence
                self._set(place, 0, len(self.fingertips), position, goal_confidence * trust, arm)

    def _carry(self, act: Act, grasps: list[Grasp], trust: float) -> None:
        frames, target, first, last = len(self.fingertips), act.target, grasps[0], grasps[-1]
        released = self._at(last.release, last.arm)
        if target is not None:
            grasp_confidence = trust * _GRASP_CONFIDENCE[first.holds_object]
            start = 0
            for grasp in grasps:
                position, held = self._at(grasp.hold, grasp.arm), slice(grasp.hold, grasp.end)
                before = _CONFIDENCE["target"] * grasp_confidence
                self._set(target, start, grasp.hold, position - self.target_drop, before, grasp.arm)
                self.position[held, target] = self.paths[grasp.arm, held]
                self.hand[held, target] = grasp.arm
                self.grasped[held, target] = True
                self.confidence[held, target] = _CONFIDENCE["held"] * grasp_confidence
                start = grasp.end
                self.known_until[target] = max(self.known_until[target], start)
            after = _CONFIDENCE["carried"] * trust
            self._set(target, start, frames, released - self.target_drop, after, last.arm)
        if act.source is not None:
            source = self._at(first.hold, first.arm)
            self._set(act.source, 0, frames, source, _CONFIDENCE["goal"] * trust, first.arm)
        was_released = 1.0 if last.release < frames else 0.9
        kind = "drawer" if act.goal in self.drawers else "goal"
        self._set_goal(act, released - self.goal_drop, _CONFIDENCE[kind], trust * was_released, arm=last.arm)

    def _touch(self, act: Act, span: tuple[int, int], trust: float) -> None:
        """Without a grasp, the object is where the fingertips stay longest within `span`, and moves with them there."""
        stay = self._longest_stay(*span)
        target = act.target
        if stay is None or target is None:
            return
        first, middle, end = stay
        push = find_push(self.fingertips, *span, middle) if act.push else None
        if push is not None:
            self._push(act, push, trust)
            return
        frames = len(self.fingertips)
        if self.known_until[target] == 0 and not np.isfinite(self.position[:first, target]).any():
            self._set(target, 0, first, self._at(middle), _CONFIDENCE["touched"] * trust)
        path = self._at(end - 1) - self._at(first)
        length = float(np.linalg.norm(path))
        ahead = path / length * _TOUCH_AHEAD_M if length > 1e-6 else np.array([0.0, 0.0, -_TOUCH_AHEAD_M])
        self.position[first:end, target] = self.fingertips[first:end] + ahead
        self.confidence[first:end, target] = _CONFIDENCE["contact"] * trust
        self.position[end:frames, target] = self._at(end - 1) + ahead
        self.confidence[end:frames, target] = _CONFIDENCE["touched"] * trust
        self.known_until[target] = end
        self._set_goal(act, self._at(end - 1), _CONFIDENCE["touched"], trust)

    def _push(self, act: Act, push: "Push", trust: float) -> None:
        assert act.target is not None
        frames = slice(int(self.known_until[act.target]), len(self.fingertips))
        self.position[frames, act.target] = push.position[frames]
        self.confidence[frames, act.target] = _CONFIDENCE["pushed"] * trust
        self.known_until[act.target] = push.end
        self._set_goal(act, push.position[-1], _CONFIDENCE["touched"], trust, _CONFIDENCE["touched"])

    def _longest_stay(self, first: int, end: int) -> tuple[int, int, int] | None:
        """First, middle and end of the longest stay within `_STAY_M`, away from where the span begins."""
        if end - first < _FEWEST_FRAMES:
            return None
        path = self.fingertips[first:end]
        distance = np.linalg.norm(path - path[0], axis=1)
        candidates = np.flatnonzero(distance > 0.4 * distance.max())
        if not len(candidates):
            return None
        candidates = candidates[:: max(1, len(candidates) // 256)]
        near = np.linalg.norm(path[candidates][:, None] - path[None], axis=2) < _STAY_M
        middle = int(candidates[np.argmax(near.sum(axis=1))])
        inside = np.flatnonzero(np.linalg.norm(path - path[middle], axis=1) < _STAY_M)
        return first + int(inside[0]), first + middle, first + int(inside[-1]) + 1


def _direction_confidence(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that the largest axis of each offset is the largest, with normal errors on each axis: 0.25 … 1."""
    from scipy.special import ndtr  # here, as in gripper.py

    _, second, largest = np.moveaxis(np.sort(np.abs(offsets), axis=-1), -1, 0)
    return ndtr((largest - second) / (np.sqrt(2) * _POSITION_STD_M)) * ndtr(largest / _POSITION_STD_M)


# --- one's own arrays


@dataclass(frozen=True)
class EpisodeLabels:
    """Labels of k mentions in T frames.

    answers: (T, k) words, "" is no label. codes: (T, k) int16, indices into `spatial.canonical_answers(mode)`, −1 is
    no label. confidence: (T, k), 0..1. notes: what a person should know about the episode.
    """

    mentions: tuple[str, ...]
    answers: NDArray[np.str_]
    codes: NDArray[np.int16]
    confidence: NDArray[np.float32]
    notes: tuple[str, ...]


def label_arrays(
    positions: NDArray[np.floating],
    gripper: NDArray[np.floating],
    instruction: str,
    *,
    gripper_range: tuple[float, float] | None = None,
    is_command: bool = False,
    mentions: Sequence[str | MentionRole] | None = None,
    mode: str = "direction",
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    min_confidence: float = 0.0,
) -> EpisodeLabels:
    """Label one episode that is given as arrays, without a dataset.

    Args:
        positions: (T, 3) metres, robot base frame: the point between the fingertips.
        gripper: (T,) opening of the gripper, in any unit.
        gripper_range: the values of `gripper` when closed and when open, such as (1, -1) for LIBERO's commands; None:
            the smallest and the largest value of the episode, where larger is wider.
        is_command: `gripper` was commanded, not measured, so it does not tell whether an object is held.
        mentions: the objects to ask about, with or without roles; None finds them in the instruction.
        mode, frame, rule: of the answers, see `LabelInfo`.
        min_confidence: labels below this confidence are left out.

    >>> import numpy as np
    >>> path = np.array([[0.4, 0.0, 0.3], [0.5, 0.2, 0.0], [0.5, 0.2, 0.2], [0.6, -0.2, 0.1], [0.6, -0.2, 0.3]])
    >>> opening = np.repeat([0.08, 0.04, 0.04, 0.08, 0.08], 5)
    >>> labels = label_arrays(np.repeat(path, 5, axis=0), opening, "put the red cube on the plate")
    >>> labels.mentions
    ('the red cube', 'the plate')
    >>> labels.answers[::5].tolist()
    [['down', 'down'], ['grasped', 'right'], ['grasped', 'right'], ['down', 'down'], ['down', 'down']]

    Raises:
        InspireError: arrays of other shapes, an instruction without an object, or an unknown mode or frame.
    """
    positions, gripper = np.asarray(positions, dtype=np.float64), np.asarray(gripper, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or gripper.shape != positions.shape[:1]:
        raise InspireError(
            f"positions must be (T, 3) and gripper (T,), found {positions.shape} and {gripper.shape}."
        )
    values = ColumnValues("gripper", (0,))
    end_effector = EndEffectorColumns(
        ColumnValues("position", (0, 1, 2)), *((None, values) if is_command else (values, None))
    )
    columns = {"position": positions, "gripper": gripper}
    labeller = DemonstrationLabeller(end_effector, open_is_high=True).calibrate(
        Recording(columns, np.array([0]))
    )
    if gripper_range is not None:
        scale = OpeningScale(*gripper_range)
        arm = Arm(end_effector, scale if is_command else None, None if is_command else scale)
        labeller = replace(labeller, arms=(arm,))
    roles = override_for(mentions or ())
    names = mentions_of(roles) or find_mentions(instruction)
    tracks = labeller.label(Episode(0, instruction, names, columns, roles=roles))
    info = LabelInfo(frame, {mode: rule}, {instruction: names}, len(names), labeller.name)  # type: ignore[arg-type]
    codes = encode_tracks(tracks, info, min_confidence=min_confidence)[mode]
    assert tracks.confidence is not None
    return EpisodeLabels(names, decode_answers(codes, mode), codes, tracks.confidence, tracks.notes)  # type: ignore[arg-type]


# --- pushes

_STROKES_M = 0.12
"""All strokes of a push are this close to where the fingertips stay longest."""
_LANE_M = 0.04
"""Half the width of the lane in which the object is pushed."""
_CLEARANCE_M = 0.035
"""How far before the object the fingertips enter the lane."""
_AHEAD_M = 0.02
"""From the fingertips to the middle of what they push: half a handle."""
_VERTICAL = 0.7
"""A push whose unit direction has a larger z component is a press: the object does not move."""
_LOW = 0.1
"""Quantile of the fingertips' height: between strokes they are above the object."""
_SHORTEST_PUSH_M = 0.04


@dataclass(frozen=True)
class Push:
    """first, end: frames between which the object may move. position: (T, 3) of the object, metres, base frame."""

    first: int
    end: int
    position: NDArray[np.float64]


def find_push(fingertips: NDArray[np.float64], first: int, end: int, stay: int) -> Push | None:
    """Find where a pushed object is: in front of the furthest point that the fingertips have reached so far.

        object         ▢  ▢      ▢    ▢   ▢     moves with every stroke, stays where a stroke ends
        fingertips ──▶│◀─ ──────▶│◀─ ────▶│

    Args:
        fingertips: (T, 3) metres, of the whole episode.
        first, end: frames within which the push was done.
        stay: a frame of them in which the fingertips were near the object.

    Returns:
        The push; None if the path has none, because it is too short or vertical.
    """
    near = first + np.flatnonzero(
        np.linalg.norm(fingertips[first:end] - fingertips[stay], axis=1) < _STROKES_M
    )
    if len(near) < _FEWEST_FRAMES:
        return None
    centred = fingertips[near] - fingertips[near].mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]  # first principal axis
    if abs(direction[2]) > _VERTICAL:
        return None
    direction = np.array([*direction[:2], 0.0]) / np.linalg.norm(direction[:2])
    along = fingertips @ direction
    if along[near].max() - along[near[0]] < along[near[0]] - along[near].min():
        direction, along = -direction, -along
    last = int(near[np.argmax(along[near])])
    aside = fingertips - fingertips[last]
    aside_m = np.linalg.norm(aside - (aside @ direction)[:, None] * direction, axis=1)
    lane = near[(aside_m[near] < _LANE_M) & (near <= last)]
    if along[last] - along[lane[0]] < _SHORTEST_PUSH_M:
        return None
    reached = np.full(len(fingertips), -np.inf)
    reached[lane] = along[lane]
    reached[: lane[0] + 1] = min(along[lane[0]] + _CLEARANCE_M, along[last])
    front = np.maximum.accumulate(reached) + _AHEAD_M
    middle = np.median(fingertips[lane] - along[lane][:, None] * direction, axis=0)
    middle[2] = np.quantile(fingertips[lane, 2], _LOW)
    return Push(int(lane[0]), last + 1, middle + front[:, None] * direction)
