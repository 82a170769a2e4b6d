"""Where the objects of one demonstration are: from the end effector's path, the gripper and the instruction.

This is how the paper labels demonstrations.

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
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import counted
from inspire_vla.instruction import Act
from inspire_vla.labels.find_push import Push, find_push
from inspire_vla.labels.gripper import Grasp
from inspire_vla.labels.labeller import Note, Tracks

FEWEST_FRAMES = 3
"""A path of fewer frames tells nothing."""
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
"""An open gripper that moves less between two grasps grasps the same object again."""
_STAY_M = 0.05
"""Fingertips that stay this close to a place are at that place."""
_TOUCH_AHEAD_M = 0.01
"""From the fingertips to the middle of what they move by touch."""


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
        self.main = _most_used_arm(paths, grasps)
        """The arm that does what needs no grasp."""
        self.fingertips = paths[self.main]
        self.asked_arm = np.full((frames, objects), self.main)
        """The arm from which each object is asked about: the one that grasps it."""
        self.target_drop, self.goal_drop = (np.array([0, 0, drop]) for drop in (target_drop_m, goal_drop_m))
        self.notes: list[str] = []
        self.grasps = self._of_objects(grasps)
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
        offsets = self.position - self.paths[self.asked_arm, np.arange(len(self.asked_arm))[:, None]]
        offsets[self.grasped] = np.nan
        direction_confidence = np.where(self.grasped, 1.0, _direction_confidence(np.nan_to_num(offsets)))
        known = np.isfinite(offsets).all(axis=-1) | self.grasped
        confidence = np.where(known, self.confidence * direction_confidence, 0.0)
        return Tracks(
            offsets.astype(np.float32), self.grasped, confidence.astype(np.float32), tuple(self.notes)
        )

    # which grasp belongs to which act

    def _of_objects(self, grasps: list[Grasp]) -> list[Grasp]:
        """The grasps without those of nothing. Empty ones count where a grasp is missing and the gripper moved far."""
        missing = sum(act.needs_grasp for act in self.acts)
        full = [grasp for grasp in grasps if grasp.holds_object is not False]
        thin = [g for g in grasps if g.holds_object is False and self._carried_m(g) > _CARRIED_M]
        thin.sort(key=self._carried_m)
        if full or not missing:  # else nothing was held for certain, and all of them count
            thin = thin[max(0, len(thin) - max(0, missing - len(full))) :]
        if thin:
            self.notes.append(f"{counted(len(thin), 'closing')} on something thin, or on nothing")
        return [grasp for grasp in grasps if grasp in full or grasp in thin]

    def _assign_grasps(self) -> tuple[list[list[Grasp]], float]:
        """Give each act its grasps, in order; also return how far this can be trusted, 0..1."""
        if not self.acts:
            self.notes.append("no act was read from the instruction")
            return [], 0.0
        if len(self.grasps) == len(self.acts):
            return [[grasp] for grasp in self.grasps], 1.0
        return self._assign_few() if len(self.grasps) < len(self.acts) else self._assign_many()

    def _assign_few(self) -> tuple[list[list[Grasp]], float]:
        """Of fewer grasps than acts, each belongs to one act, first of all to those that need a grasp."""
        acts, grasps = self.acts, self.grasps
        carries = [i for i, act in enumerate(acts) if act.needs_grasp]
        touches = [i for i, act in enumerate(acts) if not act.needs_grasp]
        assigned: list[list[Grasp]] = [[] for _ in acts]
        for i, grasp in zip(sorted((carries + touches)[: len(grasps)]), grasps, strict=True):
            assigned[i] = [grasp]
        if len(grasps) == len(carries):
            return assigned, 1.0
        if not grasps:
            return assigned, 0.4
        self._note_grasps()
        return assigned, 0.5

    def _assign_many(self) -> tuple[list[list[Grasp]], float]:
        """Of more grasps than acts, the longest moves of the open gripper separate those of different objects."""
        acts, grasps = self.acts, self.grasps
        moves = [
            float(np.linalg.norm(self._at(after.hold, after.arm) - self._at(before.release, before.arm)))
            for before, after in itertools.pairwise(grasps)
        ]
        if len(acts) > 1 or max(moves) >= _SAME_PLACE_M:
            self._note_grasps()
        cuts = sorted(np.argsort(moves, kind="stable")[::-1][: len(acts) - 1].tolist())
        bounds = [0, *(cut + 1 for cut in cuts), len(grasps)]
        assigned = [grasps[first:end] for first, end in itertools.pairwise(bounds)]
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
        self.asked_arm[frames, mention] = self.main if arm is None else arm

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
        """With a grasp, the target is where it is grasped, then in the gripper, then where it is released."""
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
                self.asked_arm[held, target] = grasp.arm
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

    def _push(self, act: Act, push: Push, trust: float) -> None:
        """The target is where the push says, after what an earlier act has set; the goal is where it ends."""
        assert act.target is not None
        frames = slice(int(self.known_until[act.target]), len(self.fingertips))
        self.position[frames, act.target] = push.position[frames]
        self.confidence[frames, act.target] = _CONFIDENCE["pushed"] * trust
        self.known_until[act.target] = push.end
        self._set_goal(act, push.position[-1], _CONFIDENCE["touched"], trust, _CONFIDENCE["touched"])

    def _longest_stay(self, first: int, end: int) -> tuple[int, int, int] | None:
        """First, middle and end of the longest stay within `_STAY_M`, away from where the span begins."""
        if end - first < FEWEST_FRAMES:
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


def _most_used_arm(paths: NDArray[np.float64], grasps: Sequence[Grasp]) -> int:
    """The arm that grasps most often; of those that grasp equally often the one that moves most. paths: (A, T, 3)."""
    moved = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(axis=1)
    used = np.bincount([grasp.arm for grasp in grasps], minlength=len(paths))
    return int(np.lexsort((moved, used))[-1])


def _direction_confidence(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that the largest axis of each offset is the largest, with normal errors on each axis: 0.25 … 1."""
    from scipy.special import ndtr  # here, as in gripper.py

    _, second, largest = np.moveaxis(np.sort(np.abs(offsets), axis=-1), -1, 0)
    return ndtr((largest - second) / (np.sqrt(2) * _POSITION_STD_M)) * ndtr(largest / _POSITION_STD_M)
