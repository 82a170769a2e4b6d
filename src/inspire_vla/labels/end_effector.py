"""The columns of a dataset in which the end effector's position and the gripper's values are, and how they are read."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.joint_units import RecordedJoints
from inspire_vla.labels.labeller import Recording
from inspire_vla.labels.value_names import is_action, words_of

_LARGEST_EXTENT_M = 4
"""No arm reaches further; a larger extent is in another unit."""
_NORMALISED_EXTENT_M = 1.4
"""No arm on a table moves so far on all three axes: the positions are normalised."""
_DRIVES = {"x": 0.02, "y": 0.02, "theta": 2.0}
"""Metres or degrees in a second above which a base drives; LeKiwi's `x.vel`, `y.vel` and `theta.vel`."""
_DRIVEN_SHARE = 0.02
"""Share of the frames above which a warning is given."""


def check_units(metres_per_unit: float, fingertips_below_m: float) -> None:
    """Raise InspireError for a unit of positions, or a place of the fingertips, that is none."""
    if not 0 < metres_per_unit < math.inf:
        raise InspireError(
            f"metres per unit of the position must be above 0, such as 0.001 for millimetres; found "
            f"{metres_per_unit:g}."
        )
    if not math.isfinite(fingertips_below_m):
        raise InspireError(
            f"the fingertips must be a number of metres below the position; found {fingertips_below_m:g}."
        )


@dataclass(frozen=True)
class EndEffectorColumns:
    """Where a dataset records the end effector and the gripper of one arm.

    position_values: the end effector's position; with `joints`, the joint values from which it is computed.
    width_values: the measured opening, or finger joints. command_values: what the gripper was commanded.
    arm: "left" or "right" where there are two. reasons: of the three values, why they were chosen.
    """

    position_values: ColumnValues
    width_values: ColumnValues | None = None
    command_values: ColumnValues | None = None
    joints: RecordedJoints | None = None
    arm: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def parts(self) -> dict[str, ColumnValues]:
        """The values that are recorded: "position", and "width" and "command" where there are such."""
        parts = {"position": self.position_values, "width": self.width_values, "command": self.command_values}
        return {what: values for what, values in parts.items() if values is not None}

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read."""
        return tuple(dict.fromkeys(values.column for values in self.parts.values()))

    def resolve(self, names: Mapping[str, Sequence[str]]) -> "EndEffectorColumns":
        """Replace names of values by indices. Raises InspireError for unknown names."""
        found: dict[str, Any] = {f"{what}_values": v.resolve(names) for what, v in self.parts.items()}
        return replace(self, **found)

    def position(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """(T, 3) in the dataset's unit; metres if computed from joints. NaN where a value is not finite."""
        values = self.position_values.of(columns)
        if self.joints is None:
            return values
        positions = np.full((len(values), 3), np.nan)
        finite = np.isfinite(values).all(axis=1)
        positions[finite] = self.joints.positions(values[finite])
        return positions

    def fingertips(
        self, columns: Mapping[str, NDArray[Any]], metres_per_unit: float, fingertips_below_m: float
    ) -> NDArray[np.float64]:
        """(T, 3) metres, robot base frame: the fingertips, `fingertips_below_m` under the recorded position."""
        return self.position(columns) * metres_per_unit - np.array([0.0, 0.0, fingertips_below_m])

    def width(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """(T, n) measured values, or None."""
        return None if self.width_values is None else self.width_values.of(columns)

    def command(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """(T, n) commanded values, or None."""
        return None if self.command_values is None else self.command_values.of(columns)

    def in_known_unit(self, recording: Recording, metres_per_unit: float) -> "EndEffectorColumns":
        """These columns with the unit of the joints, found where it was not given, and checked.

        Raises:
            InspireError: no position is finite, or the end effector or a joint moves further than it can, or never; or
                the joints can be in two units.
        """
        _warn_of_a_driving_base(recording)
        if self.joints is None:
            self._check_unit(recording.columns, metres_per_unit)
            return self
        values, names = self.position_values, self.position_values.names_in(recording.names)
        joints = self.joints.calibrate(values.of(recording.columns), names, recording.robot_type)
        known = replace(self, joints=joints)
        known._check_unit(recording.columns, metres_per_unit)
        return known

    def _check_unit(self, columns: Mapping[str, NDArray[Any]], metres_per_unit: float) -> None:
        """Raise InspireError where the positions in metres cannot be those of an arm."""
        positions = self.position(columns) * metres_per_unit
        if not np.isfinite(positions).all(axis=1).any():
            raise InspireError(f"column {self.position_values.column!r} holds no finite position.")
        low, high = np.nanquantile(positions, [0.002, 0.998], axis=0)  # ignores single corrupt frames
        extent, moves = high - low, f"the end effector moves over {np.round(high - low, 2).tolist()} units"
        if extent.max() > _LARGEST_EXTENT_M:
            raise InspireError(
                f"{moves}, which cannot be metres. Say --metres-per-unit (0.001 for millimetres)."
            )
        if extent.min() > _NORMALISED_EXTENT_M:
            raise InspireError(
                f"{moves} on its three axes, further than an arm does in metres: the values look normalised. Name "
                "other columns (--position), or say --metres-per-unit."
            )

    def to_json(self) -> dict[str, Any]:
        """The values as they are written on a command line, and how joints become positions."""
        parts = self.parts
        written = {
            what: str(parts[what]) if what in parts else None for what in ("position", "width", "command")
        }
        return written if self.joints is None else {**written, "joints": self.joints.to_json()}

    @classmethod
    def parse(
        cls,
        position: str,
        width: str | None = None,
        command: str | None = None,
        *,
        joints: RecordedJoints | None = None,
        needs_gripper: bool = True,
    ) -> "EndEffectorColumns":
        """Read texts such as "observation.state:0,1,2", "observation.state:6,7" and "action:gripper".

        Raises:
            InspireError: a text of another form, or no gripper where one is needed.
        """
        position_values = ColumnValues.parse(position)
        if len(position_values) != 3 and joints is None:
            raise InspireError(
                f"the end effector's position needs three numbers, as in column:0,1,2; found {position!r}."
            )
        if needs_gripper and width is None and command is None:
            raise InspireError("a gripper needs a width or a command (--width, --command), such as action:6.")
        width_values, command_values = (
            ColumnValues.parse(text) if text else None for text in (width, command)
        )
        reasons = dict.fromkeys(("position", "width", "command"), "given")
        return cls(position_values, width_values, command_values, joints, reasons=reasons)


def _warn_of_a_driving_base(recording: Recording) -> None:
    """An object that stands still moves in the frame of a base that drives."""
    drives = np.zeros(1, dtype=bool)
    for column, array in recording.columns.items():
        names = recording.names.get(column, ())
        if is_action(column) or array.ndim != 2 or array.shape[1] != len(names):
            continue
        for values, words in zip(array.T, map(words_of, names), strict=True):
            if len(words) == 2 and words[0] in _DRIVES and words[1] == "vel":
                drives = drives | (np.abs(values) > _DRIVES[words[0]])
    if drives.mean() > _DRIVEN_SHARE:
        warnings.warn(
            f"the robot's base drives in {drives.mean():.0%} of the frames. Positions are relative to the base, so "
            "labels are right only where it stands still.",
            stacklevel=4,
        )
