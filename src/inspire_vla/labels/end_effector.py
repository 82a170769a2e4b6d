"""Where the end effector's position and the gripper's values stand in the columns of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.forward_kinematics import ForwardKinematics

_GRIPPER_WORDS = ("gripper", "finger", "claw", "jaw")
_NOT_POSITION = ("axis", "angle", "rot", "quat", "d")
_LARGEST_EXTENT_M = 10


@dataclass(frozen=True)
class ColumnValues:
    """Some of the values in one column, written "name:0,1,2" on a command line."""

    column: str
    indices: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "ColumnValues":
        """Read "name:0,1,2". Raises InspireError for another form."""
        column, colon, numbers = text.rpartition(":")
        try:
            indices = tuple(int(number) for number in numbers.split(","))
        except ValueError:
            indices = ()
        if not colon or not indices or min(indices) < 0:
            raise InspireError(f"a column is written name:0,1,2; found {text!r}.")
        return cls(column, indices)

    def __str__(self) -> str:
        return f"{self.column}:{','.join(map(str, self.indices))}"

    def of(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Select the values, (T, n). Raises InspireError if there is no such column, or too few values in it."""
        if self.column not in columns:
            raise InspireError(f"there is no column {self.column!r}. Possible: {sorted(columns)}.")
        values = np.asarray(columns[self.column], dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if max(self.indices) >= values.shape[1]:
            raise InspireError(
                f"column {self.column!r} holds {values.shape[1]} numbers; number {max(self.indices)} is asked for."
            )
        return values[:, list(self.indices)]


@dataclass(frozen=True)
class EndEffectorColumns:
    """Where a dataset records the end effector and the gripper.

    position_values: the end effector's position; with `kinematics`, the joint values from which it is computed.
    width_values: the measured opening, or finger joints. command_values: what the gripper was commanded.
    """

    position_values: ColumnValues
    width_values: ColumnValues | None = None
    command_values: ColumnValues | None = None
    kinematics: ForwardKinematics | None = None

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read."""
        parts = (self.position_values, self.width_values, self.command_values)
        return tuple(dict.fromkeys(values.column for values in parts if values is not None))

    def position(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """(T, 3) in the dataset's unit; metres if computed from joints. NaN where a value is not finite."""
        values = self.position_values.of(columns)
        if self.kinematics is None:
            return values
        positions = np.full((len(values), 3), np.nan)
        finite = np.isfinite(values).all(axis=1)
        positions[finite] = self.kinematics.positions(values[finite])
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

    def check_unit(self, columns: Mapping[str, NDArray[Any]], metres_per_unit: float) -> None:
        """Check that the position can be in the given unit.

        Raises:
            InspireError: no position is finite, or the end effector or a joint moves further than it can.
        """
        positions = self.position(columns) * metres_per_unit
        if self.kinematics is not None:
            self.kinematics.check_unit(self.position_values.of(columns))
        if not np.isfinite(positions).any():
            raise InspireError(f"column {self.position_values.column!r} holds no finite position.")
        extent = np.nanmax(positions, axis=0) - np.nanmin(positions, axis=0)
        if extent.max() > _LARGEST_EXTENT_M:
            raise InspireError(
                f"the end effector moves over {np.round(extent, 2).tolist()} units, which cannot be metres. "
                "Say --metres-per-unit (0.001 for millimetres)."
            )

    def to_json(self) -> dict[str, str | None]:
        """The values as they are written on a command line."""
        parts = {
            "position": self.position_values,
            "width": self.width_values,
            "command": self.command_values,
        }
        written = {name: None if values is None else str(values) for name, values in parts.items()}
        return written if self.kinematics is None else written | {"urdf_sha256": self.kinematics.digest}

    @classmethod
    def parse(
        cls,
        position: str,
        width: str | None = None,
        command: str | None = None,
        *,
        kinematics: ForwardKinematics | None = None,
        needs_gripper: bool = True,
    ) -> "EndEffectorColumns":
        """Read texts such as "observation.state:0,1,2", "observation.state:6,7" and "action:6".

        Raises:
            InspireError: a text of another form, or no gripper where one is needed.
        """
        position_values = ColumnValues.parse(position)
        if len(position_values.indices) != 3 and kinematics is None:
            raise InspireError(
                f"the end effector's position needs three numbers, as in column:0,1,2; found {position!r}."
            )
        if needs_gripper and width is None and command is None:
            raise InspireError("a gripper needs a width or a command, such as action:6.")
        width_values, command_values = (
            ColumnValues.parse(text) if text else None for text in (width, command)
        )
        return cls(position_values, width_values, command_values, kinematics)


def find_end_effector_columns(
    columns: Mapping[str, NDArray[Any]], names: Mapping[str, Sequence[str]], *, needs_gripper: bool = True
) -> EndEffectorColumns:
    """Find the position and the gripper by the names that the dataset gives to its values.

    Without names, only LIBERO's and OpenVLA's shapes are recognised.

    Raises:
        InspireError: no position is found, or no gripper where one is needed; it lists the columns.
    """
    position = width = command = None
    for column in sorted(columns, key=lambda name: (name == "action", name)):
        own_names = [str(name).lower() for name in names.get(column, ())]
        axes = [next((i for i, n in enumerate(own_names) if _is_axis(n, axis)), -1) for axis in "xyz"]
        if column != "action" and position is None and min(axes) >= 0:
            position = ColumnValues(column, tuple(axes))
        fingers = tuple(i for i, name in enumerate(own_names) if any(word in name for word in _GRIPPER_WORDS))
        if fingers and column == "action":
            command = ColumnValues(column, fingers)
        elif fingers and width is None:
            width = ColumnValues(column, fingers)
    size = {name: value.shape[1] if value.ndim == 2 else 1 for name, value in columns.items()}
    if position is None and size.get("observation.state") == 8 and size.get("action") == 7:
        position = ColumnValues("observation.state", (0, 1, 2))  # LIBERO: position, axis-angle, two fingers
        width = width or ColumnValues("observation.state", (6, 7))
    if command is None and size.get("action") == 7:
        command = ColumnValues("action", (6,))
    if position is None or (needs_gripper and width is None and command is None):
        missing = "end-effector position" if position is None else "gripper"
        present = {name: list(names.get(name, ())) or size[name] for name in columns}
        raise InspireError(
            f"no {missing} is found by name among {present}. Say where it is "
            f"({'--position, --width, --command' if needs_gripper else '--position'}); a dataset of joint angles needs "
            "--urdf and --tip."
        )
    return EndEffectorColumns(position, width, command)


def _is_axis(name: str, axis: str) -> bool:
    parts = name.replace(".", "_").replace("/", "_").split("_")
    return parts[-1] == axis and not any(part in _NOT_POSITION for part in parts[:-1])
