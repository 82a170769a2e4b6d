"""One arm of a dataset: its columns, how its gripper's values are read, and the grasps that they show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.gripper import Grasp, OpeningScale, find_grasps, hold_pulses, total_opening
from inspire_vla.labels.gripper_sign import drop_idle

_ONE_EPISODE = np.zeros(1, dtype=np.intp)

Paths = Sequence[NDArray[np.float64]]
"""Of each arm's fingertips, (T, 3) metres."""


@dataclass(frozen=True)
class Arm:
    """One arm of a dataset: its columns, and how its gripper's values are read.

    command_scale, width_scale: None where there are no such values, or they never change. neutral: of a command that
    says "close" or "open" for a few frames only.
    """

    end_effector: EndEffectorColumns
    command_scale: OpeningScale | None = None
    width_scale: OpeningScale | None = None
    neutral: float | None = None

    def openings(
        self, columns: Mapping[str, NDArray[Any]], starts: NDArray[np.intp] = _ONE_EPISODE
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """The command and the width of the gripper, (T,) 0 closed … 1 open. starts: first row of each episode."""
        command, width = self.end_effector.command(columns), self.end_effector.width(columns)
        commanded = measured = None
        if command is not None and self.command_scale is not None:
            raw = total_opening(command)
            held = raw if self.neutral is None else hold_pulses(raw, self.neutral, starts)
            commanded = self.command_scale(held)
        if width is not None and self.width_scale is not None:
            measured = self.width_scale(width)
        return commanded, measured

    def with_sign(self, width_opens_high: bool, command_opens_high: bool) -> "Arm":
        """The same arm, with the sign of its width and of its command."""
        width, command = self.width_scale, self.command_scale
        return replace(
            self,
            width_scale=None if width is None else width.with_sign(width_opens_high),
            command_scale=None if command is None else command.with_sign(command_opens_high),
        )


def grasps_of(
    arms: Sequence[Arm],
    columns: Mapping[str, NDArray[Any]],
    paths: Paths,
    needed: int,
    fps: float,
    empty: float,
) -> list[Grasp]:
    """Find the grasps of all arms in one episode, in order of time, without closings in the rest pose.

    Args:
        columns: the values that the arms are read from, each (T, …).
        paths: of each arm's fingertips, (T, 3) metres.
        needed: number of acts of the instruction.
        fps: frames a second.
        empty: opening of a gripper that closed on nothing, 0 closed … 1 open.
    """
    of_arms = []
    for index, (arm, path) in enumerate(zip(arms, paths, strict=True)):
        grasps = drop_idle(find_grasps(*arm.openings(columns), empty=empty), path, needed, fps)
        of_arms += [replace(grasp, arm=index) for grasp in grasps]
    return sorted(of_arms, key=lambda grasp: grasp.hold)
