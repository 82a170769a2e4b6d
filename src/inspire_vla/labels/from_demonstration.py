"""Labels from the demonstration alone: the hand's path and the gripper, as the paper does on real robots.

Where the gripper closes is where the object was; where it opens is where the object went. So the object's place is
known before, during and after. What cannot be known is guessed with less confidence, and what cannot even be guessed
has no label.

                  place of what is carried      place of what it is brought to
    before grasp  hand at the grasp             hand at the release
    held          in the hand: `grasped`        hand at the release
    after         hand at the release           hand at the release

Things that are pushed without a grasp are ahead of the hand (`pushing`); those pressed or turned, where it lingers.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.gripper import EMPTY, Grip, OpeningScale, find_grips, scale_of, sign_by_width
from inspire_vla.labels.hand import HandColumns, find_hand_columns
from inspire_vla.labels.labeller import Episode, Tracks
from inspire_vla.labels.roles import acts_of
from inspire_vla.labels.story import Story

_NEVER = -1.0
"""`empty` of a dataset in which most grips look empty: so thin are its things, unless something is pushed shut."""


@dataclass(frozen=True)
class FromDemonstration:
    """A labeller for any dataset that has the hand's position and the gripper.

    Args:
        hand: where position and gripper stand in the dataset; None finds them by their names.
        open_is_high: sign of the gripper's width and command; None reads it off the dataset.
        metres_per_unit: of the hand's position; 0.001 for millimetres.
        below_hand_m: how far the finger tips are below the recorded point (a flange, a wrist).
        target_drop_m: how far the middle of a thing lies below the hand that grips it: hands grip from above.
        goal_drop_m: how far the middle of a goal lies below the hand that lets go over it.
    """

    one_task_at_a_time: ClassVar[bool] = True  # a grip belongs to the task it is made in
    hand: HandColumns | None = None
    open_is_high: bool | None = None
    metres_per_unit: float = 1.0
    below_hand_m: float = 0.0
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
            "below_hand_m": self.below_hand_m,
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
        hand = self.hand or find_hand_columns(columns, names)
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
        hand = self.hand.tips(episode.columns, self.metres_per_unit, self.below_hand_m)
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
        return [] if told is None and seen is None else find_grips(told, seen, empty=empty)
