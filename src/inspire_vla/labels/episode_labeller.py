"""Where is a thing that is pushed and never held? In front of the furthest the hand has got so far.

    thing      ▢  ▢      ▢    ▢   ▢     moved on by every stroke, left where a stroke ends
    hand    ──▶│◀─ ──────▶│◀─ ────▶│

The hand comes into the lane of the push a little before it touches, and whatever stands in the lane is ahead of it.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from inspire_vla.errors import InspireError
from inspire_vla.labels.end_effector import EndEffectorColumns, find_end_effector_columns
from inspire_vla.labels.gripper import EMPTY, Grip, OpeningScale, find_grasps, scale_of, sign_by_width
from inspire_vla.labels.labeller import Episode, Tracks
from inspire_vla.labels.roles import Act, acts_of

_AROUND_M = 0.12
"""Within so far of where the hand lingers lie the strokes."""
_LANE_M = 0.04
_CLEARANCE_M = 0.035
"""How far before the thing the hand comes into the lane."""
_AHEAD_M = 0.02
"""From the finger tips to the middle of what they push: half a handle."""
_LEVEL = 0.7
"""A push whose direction has more than this of up or down is a press: what is pressed stays."""
_LOW = 0.1
_LEAST_M = 0.04


@dataclass(frozen=True)
class Push:
    """begin, end: frames between which the thing may move; place: (T, 3), the unit and frame of the hand."""

    begin: int
    end: int
    place: NDArray[np.float64]


def find_push(hand: NDArray[np.float64], first: int, end: int, linger: int) -> Push | None:
    """Read a push off the hand's path.

    Args:
        hand: (T, 3) metres, of the whole episode.
        first, end: frames within which it was done.
        linger: a frame of it at which the hand was near the thing.

    Returns:
        The push; None where the path has none: too short, or up and down.
    """
    near = first + np.flatnonzero(np.linalg.norm(hand[first:end] - hand[linger], axis=1) < _AROUND_M)
    if len(near) < 3:
        return None
    direction = np.linalg.svd(hand[near] - hand[near].mean(axis=0), full_matrices=False)[2][0]
    if abs(direction[2]) > _LEVEL:
        return None
    direction = np.array([*direction[:2], 0.0]) / np.linalg.norm(direction[:2])
    along = hand @ direction
    if along[near].max() - along[near[0]] < along[near[0]] - along[near].min():
        direction, along = -direction, -along
    last = int(near[np.argmax(along[near])])
    aside = hand - hand[last]
    aside = np.linalg.norm(aside - (aside @ direction)[:, None] * direction, axis=1)
    lane = near[(aside[near] < _LANE_M) & (near <= last)]
    if along[last] - along[lane[0]] < _LEAST_M:
        return None
    reached = np.full(len(hand), -np.inf)
    reached[lane] = along[lane]
    reached[: lane[0] + 1] = min(along[lane[0]] + _CLEARANCE_M, along[last])
    front = np.maximum.accumulate(reached) + _AHEAD_M
    middle = np.median(hand[lane] - along[lane][:, None] * direction, axis=0)
    middle[2] = np.quantile(hand[lane, 2], _LOW)  # between strokes the hand is above it
    return Push(int(lane[0]), last + 1, middle + front[:, None] * direction)


_SPREAD_M = 0.03
"""How far a place read off the hand may be from the object's middle: what the confidence of a direction rests on."""
_SURE = {
    "held": 0.95,
    "target": 0.95,
    "carried": 0.85,
    "goal": 0.9,
    "aside": 0.5,
    "drawer": 0.5,  # its middle is a hand's length from where things are let go in it
    "pushed": 0.7,
    "touched": 0.5,  # nothing was held: that the hand lingered there is all there is
    "contact": 0.35,
}
_SETTLED = {True: 1.0, None: 0.8, False: 0.6}
"""How sure a grip is that is seen to hold, that only the command tells of, that is shut but carried far."""
_CARRIED_M = 0.08
"""A hand that closed on nothing does not go so far sideways before it opens again."""
_LINGER_M = 0.05
_PUSH_M = 0.01


class Story:
    """One episode: which grip belongs to which act, and what follows for every object.

    Args:
        hand: (T, 3) of the finger tips, metres, base frame.
        grips: in order of time.
        acts: what the instruction asks for, in order; they name objects by their place in `mentions`.
        target_drop_m, goal_drop_m: see DemonstrationLabeller.
    """

    def __init__(
        self,
        hand: NDArray[np.float64],
        grips: list[Grip],
        acts: tuple[Act, ...],
        mentions: Sequence[str],
        *,
        target_drop_m: float,
        goal_drop_m: float,
    ) -> None:
        objects = len(mentions)
        self.drawers = {i for i, mention in enumerate(mentions) if "drawer" in mention}
        self.hand, self.acts = hand, acts
        self.target_drop_m, self.goal_drop_m = target_drop_m, goal_drop_m
        carries = sum(not act.touch for act in acts)
        held = [grip for grip in grips if grip.full is not False]
        thin = sorted(
            (grip for grip in grips if grip.full is False and self._way(grip) > _CARRIED_M), key=self._way
        )
        thin = thin[max(0, len(thin) - max(0, carries - len(held))) :]
        self.grips = [grip for grip in grips if grip in held or grip in thin]
        self.empty_grips = len(grips) - len(self.grips)
        frames = len(hand)
        self.place = np.full((frames, objects, 3), np.nan)
        self.grasped = np.zeros((frames, objects), dtype=bool)
        self.sure = np.zeros((frames, objects))
        self.notes = [f"{len(thin)} closings on something thin, or on nothing"] if thin else []
        self.from_frame = np.zeros(objects, dtype=np.int64)
        """Up to here an object's place is already told by an earlier act."""

    def tell(self) -> Tracks:
        """Where every object was in every frame, and how sure that is.

        Where a held thing's middle lies from the fingers, a demonstration does not tell: `grasped`, and no offset.
        """
        shares, trust = self._share()
        if self.empty_grips:
            self.notes.append(f"{self.empty_grips} closings on nothing")
        spans = self._spans(shares)
        for act, grips, span in zip(self.acts, shares, spans, strict=True):
            if grips:
                self._carried(act, grips, trust)
            else:
                self._touched(act, span, trust)
        unknown = [i for i in range(self.place.shape[1]) if not np.isfinite(self.place[:, i]).any()]
        if unknown:
            self.notes.append(f"{len(unknown)} objects whose place the demonstration does not tell")
        offsets = self.place - self.hand[:, None]
        offsets[self.grasped] = np.nan
        margin = _direction_confidence(np.nan_to_num(offsets), self.grasped)
        known = np.isfinite(offsets).all(-1) | self.grasped
        confidence = np.where(known, self.sure * margin, 0.0)
        return Tracks(
            offsets.astype(np.float32), self.grasped, confidence.astype(np.float32), tuple(self.notes)
        )

    # --- which grip belongs to which act

    def _share(self) -> tuple[list[list[Grip]], float]:
        """Deal the grips to the acts in order; return them and how far that is to be trusted (0..1)."""
        acts, grips = self.acts, self.grips
        if not acts:
            self.notes.append("no act was read from the instruction")
            return [], 0.0
        if len(grips) == len(acts):
            return [[grip] for grip in grips], 1.0
        if len(grips) < len(acts):
            carries = [i for i, act in enumerate(acts) if not act.touch]
            shares: list[list[Grip]] = [[] for _ in acts]
            if len(grips) == len(carries):
                for i, grip in zip(carries, grips, strict=True):
                    shares[i] = [grip]
                return shares, 1.0
            if not grips:
                return shares, 0.8 if not carries else 0.4
            self.notes.append(f"{len(grips)} grasps for {len(acts)} acts")
            chosen = (carries + [i for i in range(len(acts)) if i not in carries])[: len(grips)]
            for i, grip in zip(sorted(chosen), grips, strict=True):
                shares[i] = [grip]
            return shares, 0.5
        if len(acts) > 1 or not self._same_thing(grips):
            self.notes.append(f"{len(grips)} grasps for {len(acts)} acts")
        takers = [i for i, act in enumerate(acts) if not act.touch] or list(range(len(acts)))
        if len(takers) < len(acts) and len(grips) >= len(acts):
            takers = list(range(len(acts)))
        # where the hand went furthest between letting go and closing again, another thing began
        jumps = [
            float(np.linalg.norm(self._at(b.held) - self._at(a.opening)))
            for a, b in itertools.pairwise(grips)
        ]
        cuts = sorted(np.argsort(jumps, kind="stable")[::-1][: len(takers) - 1].tolist())
        bounds = [0, *(cut + 1 for cut in cuts), len(grips)]
        shares = [[] for _ in acts]
        for i, start, end in zip(takers, bounds, bounds[1:], strict=False):
            shares[i] = grips[start:end]
        return shares, 0.9 if len(acts) == 1 else 0.7

    def _same_thing(self, grips: list[Grip]) -> bool:
        return all(
            np.linalg.norm(self._at(b.held) - self._at(a.opening)) < 0.08
            for a, b in itertools.pairwise(grips)
        )

    def _spans(self, shares: list[list[Grip]]) -> list[tuple[int, int]]:
        """Frames within which an act without a grasp was done: between its neighbours' grasps."""
        frames = len(self.hand)
        spans = []
        for i in range(len(shares)):
            before = [grip.opening for share in shares[:i] for grip in share]
            after = [grip.closing for share in shares[i + 1 :] for grip in share]
            spans.append((min(max(before, default=0), frames - 1), min(after, default=frames)))
        return spans

    # --- where things are

    def _way(self, grip: Grip) -> float:
        """How far sideways the hand went with it, metres."""
        return float(np.linalg.norm((self._at(grip.opening) - self._at(grip.held))[:2]))

    def _at(self, frame: int) -> NDArray[np.float64]:
        return self.hand[min(max(frame, 0), len(self.hand) - 1)]

    def _put(self, mention: int, first: int, end: int, place: NDArray[np.float64], sure: float) -> None:
        """The object stays at `place` from `first` on; what an earlier act has told is kept."""
        first = max(first, int(self.from_frame[mention]))
        if first < end:
            self.place[first:end, mention] = place
            self.sure[first:end, mention] = sure

    def _carried(self, act: Act, grips: list[Grip], trust: float) -> None:
        frames, target = len(self.hand), act.target
        settled = _SETTLED[grips[0].full]
        drop = np.array([0.0, 0.0, self.target_drop_m])
        at = 0
        for i, grip in enumerate(grips):
            self._put(target, at, grip.held, self._at(grip.held) - drop, _SURE["target"] * trust * settled)
            held = slice(grip.held, min(grip.opening + 1, frames))
            self.place[held, target] = self.hand[held]
            self.grasped[held, target] = True
            self.sure[held, target] = _SURE["held"] * trust * settled
            at = held.stop
            self.from_frame[target] = max(self.from_frame[target], at)
            if i == len(grips) - 1:
                self._put(target, at, frames, self._at(grip.opening) - drop, _SURE["carried"] * trust)
        self.from_frame[target] = max(self.from_frame[target], at)
        if act.source is not None:
            self._put(act.source, 0, frames, self._at(grips[0].held), _SURE["goal"] * trust)
        if act.goal is not None and not np.isfinite(self.place[-1, act.goal]).all():
            last = grips[-1]
            let_go = self._at(last.opening) - np.array([0.0, 0.0, self.goal_drop_m])
            kind = "aside" if act.aside else "drawer" if act.goal in self.drawers else "goal"
            done = 1.0 if last.opening < frames else 0.9
            self._put(act.goal, 0, frames, let_go, _SURE[kind] * trust * done)

    def _touched(self, act: Act, span: tuple[int, int], trust: float) -> None:
        """No grasp: the thing is where the hand lingers longest within `span`, and moves along while touched."""
        frames = len(self.hand)
        contact = self._contact(*span)
        if contact is None:
            return
        begin, middle, end = contact
        push = find_push(self.hand, *span, middle) if act.push else None
        if push is not None:
            self._pushed(act, push, trust)
            return
        known = int(self.from_frame[act.target])
        if known == 0 and not np.isfinite(self.place[:begin, act.target]).any():
            self._put(act.target, 0, begin, self._at(middle), _SURE["touched"] * trust)
        way = self._at(end - 1) - self._at(begin)
        length = float(np.linalg.norm(way))
        ahead = way / length * _PUSH_M if length > 1e-6 else np.array([0.0, 0.0, -_PUSH_M])
        self.place[begin:end, act.target] = self.hand[begin:end] + ahead
        self.sure[begin:end, act.target] = _SURE["contact"] * trust
        self.place[end:frames, act.target] = self._at(end - 1) + ahead
        self.sure[end:frames, act.target] = _SURE["touched"] * trust
        self.from_frame[act.target] = end
        if act.goal is not None and not np.isfinite(self.place[-1, act.goal]).all():
            kind = "aside" if act.aside else "touched"
            self._put(act.goal, 0, frames, self._at(end - 1), _SURE[kind] * trust)

    def _pushed(self, act: Act, push: Push, trust: float) -> None:
        at = slice(int(self.from_frame[act.target]), len(self.hand))
        self.place[at, act.target] = push.place[at]
        self.sure[at, act.target] = _SURE["pushed"] * trust
        self.from_frame[act.target] = push.end
        if act.goal is not None and not np.isfinite(self.place[-1, act.goal]).all():
            self._put(act.goal, 0, len(self.hand), push.place[-1], _SURE["touched"] * trust)

    def _contact(self, first: int, end: int) -> tuple[int, int, int] | None:
        """First, middle and end of the longest linger within `_LINGER_M`, away from where the span begins."""
        if end - first < 3:
            return None
        hand = self.hand[first:end]
        away = np.linalg.norm(hand - hand[0], axis=1) > 0.4 * np.linalg.norm(hand - hand[0], axis=1).max()
        candidates = np.flatnonzero(away)
        if not len(candidates):
            return None
        step = max(1, len(candidates) // 256)
        candidates = candidates[::step]
        near = np.linalg.norm(hand[candidates][:, None] - hand[None], axis=2) < _LINGER_M
        middle = int(candidates[np.argmax(near.sum(axis=1))])
        inside = np.flatnonzero(np.linalg.norm(hand - hand[middle], axis=1) < _LINGER_M)
        return first + int(inside[0]), first + middle, first + int(inside[-1]) + 1


def _direction_confidence(offsets: NDArray[np.float64], grasped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How sure the largest axis is the largest, if each axis is off by `_SPREAD_M` (normal): 0.25 … 1."""
    sizes = np.sort(np.abs(offsets), axis=-1)
    lead = (sizes[..., 2] - sizes[..., 1]) / (np.sqrt(2) * _SPREAD_M)
    sign = sizes[..., 2] / _SPREAD_M
    either = 0.5 * (1 + erf(lead / np.sqrt(2))) * 0.5 * (1 + erf(sign / np.sqrt(2)))
    return np.where(grasped, 1.0, either)


_NEVER = -1.0
"""`empty` of a dataset in which most grips look empty: so thin are its things, unless something is pushed shut."""


@dataclass(frozen=True)
class DemonstrationLabeller:
    """A labeller for any dataset that has the hand's position and the gripper.

    Args:
        hand: where position and gripper stand in the dataset; None finds them by their names.
        open_is_high: sign of the gripper's width and command; None reads it off the dataset.
        metres_per_unit: of the hand's position; 0.001 for millimetres.
        fingertips_below_m: how far the finger tips are below the recorded point (a flange, a wrist).
        target_drop_m: how far the middle of a thing lies below the hand that grips it: hands grip from above.
        goal_drop_m: how far the middle of a goal lies below the hand that lets go over it.
    """

    one_task_at_a_time: ClassVar[bool] = True  # a grip belongs to the task it is made in
    hand: EndEffectorColumns | None = None
    open_is_high: bool | None = None
    metres_per_unit: float = 1.0
    fingertips_below_m: float = 0.0
    target_drop_m: float = 0.015
    goal_drop_m: float = 0.03
    empty: float = EMPTY
    command_scale: OpeningScale | None = None
    width_scale: OpeningScale | None = None
    name: str = field(default="from_demonstration", init=False)

    def settings(self) -> dict[str, Any]:
        """What fixes the labels, as JSON values."""
        scales = {
            key: None if scale is None else [scale.shut, scale.wide]
            for key, scale in (("command", self.command_scale), ("width", self.width_scale))
        }
        return {
            "hand": None if self.hand is None else self.hand.to_json(),
            "metres_per_unit": self.metres_per_unit,
            "fingertips_below_m": self.fingertips_below_m,
            "target_drop_m": self.target_drop_m,
            "goal_drop_m": self.goal_drop_m,
            "empty": self.empty,
            "gripper_shut_and_wide": scales,
        }

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The low-dimensional columns that hand and gripper stand in."""
        if self.hand is not None:
            return self.hand.columns()
        return tuple(name for name in names if name == "action" or name.startswith("observation.state"))

    def prepared(
        self,
        columns: Mapping[str, NDArray[Any]],
        names: Mapping[str, tuple[str, ...]],
        starts: NDArray[np.intp],
    ) -> Self:
        """Read off a dataset what was not given: where the hand is, the gripper's range and sign.

        Args:
            columns: name → (N, n) values of (a good part of) the dataset; names: what the n numbers are called.
            starts: rows at which episodes begin.

        Raises:
            InspireError: no hand or gripper is found, or the positions are in no unit a hand can have.
        """
        hand = self.hand or find_end_effector_columns(columns, names)
        hand.check_unit(columns, self.metres_per_unit)
        finite = {name: np.nan_to_num(np.asarray(value, dtype=np.float64)) for name, value in columns.items()}
        command, width = hand.command(finite), hand.width(finite)
        sign = self.open_is_high
        seen = None if width is None else scale_of(width, starts, open_is_high=sign)
        if sign is None and command is not None and width is not None and seen is not None:
            sign = sign_by_width(
                command, seen(width)
            )  # who pushes with shut fingers says "shut" from the start
        told = None if command is None else scale_of(command, starts, open_is_high=sign)
        found = replace(self, hand=hand, command_scale=told, width_scale=seen)
        edges = [*starts.tolist(), len(finite[hand.position_column])]
        grips = [
            grip
            for first, end in itertools.pairwise(edges)
            if end > first
            for grip in found._grips({name: value[first:end] for name, value in finite.items()}, self.empty)
        ]
        missed = [grip.full is False for grip in grips]
        if len(missed) >= 5 and np.mean(missed) > 0.6:
            # demonstrations mostly succeed: what looks like nothing held is how wide things are here
            return replace(found, empty=_NEVER)
        return found

    def label(self, episode: Episode) -> Tracks:
        """See the table above. An episode with positions that are no numbers has no labels and a note."""
        if self.hand is None:
            raise InspireError("the labeller does not know where the hand is: call prepared() first.")
        frames, objects = len(episode), len(episode.mentions)
        hand = self.hand.tips(episode.columns, self.metres_per_unit, self.fingertips_below_m)
        command, width = self.hand.command(episode.columns), self.hand.width(episode.columns)
        numbers = [hand, *(value for value in (command, width) if value is not None)]
        if any(not np.isfinite(value).all() for value in numbers):
            return Tracks.unknown(frames, objects, "positions that are no numbers")
        if frames < 3:
            return Tracks.unknown(frames, objects, f"only {frames} frames")
        acts = acts_of(episode.instruction, episode.mentions)
        pushes = bool(acts) and all(act.push for act in acts)
        grips = self._grips(episode.columns, EMPTY if pushes and self.empty == _NEVER else self.empty)
        drops = {"target_drop_m": self.target_drop_m, "goal_drop_m": self.goal_drop_m}
        return Story(hand, grips, acts, episode.mentions, **drops).tell()

    def _grips(self, columns: Mapping[str, NDArray[Any]], empty: float = EMPTY) -> list[Grip]:
        assert self.hand is not None
        command, width = self.hand.command(columns), self.hand.width(columns)
        told = None if command is None or self.command_scale is None else self.command_scale(command)
        seen = None if width is None or self.width_scale is None else self.width_scale(width)
        return [] if told is None and seen is None else find_grasps(told, seen, empty=empty)
