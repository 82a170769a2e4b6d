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
class EndEffectorColumns:
    """Column names, and the indices of the values in each column.

    On a command line they are written "observation.state:0,1,2", "observation.state:6,7" and "action:6".

    position: of the end effector; with `kinematics` the position indices are those of the joints, and the position is
        computed from them. width: measured opening, or finger joints. command: what the gripper was commanded.
    """

    position_column: str
    position_indices: tuple[int, ...]
    width_column: str | None = None
    width_indices: tuple[int, ...] = ()
    command_column: str | None = None
    command_indices: tuple[int, ...] = ()
    kinematics: ForwardKinematics | None = None

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read."""
        named = (self.position_column, self.width_column, self.command_column)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def position(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """(T, 3) in the dataset's unit; metres if computed from joints. NaN where a value is not finite."""
        values = _select(columns, self.position_column, self.position_indices)
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

    def check_unit(self, columns: Mapping[str, NDArray[Any]], metres_per_unit: float) -> None:
        """Check that the position can be in the given unit.

        Raises:
            InspireError: no position is finite, or the end effector or a joint moves further than it can.
        """
        positions = self.position(columns) * metres_per_unit
        if self.kinematics is not None:
            self.kinematics.check_unit(_select(columns, self.position_column, self.position_indices))
        if not np.isfinite(positions).any():
            raise InspireError(f"column {self.position_column!r} holds no finite position.")
        extent = np.nanmax(positions, axis=0) - np.nanmin(positions, axis=0)
        if extent.max() > _LARGEST_EXTENT_M:
            raise InspireError(
                f"the end effector moves over {np.round(extent, 2).tolist()} units, which cannot be metres. "
                "Say --metres-per-unit (0.001 for millimetres)."
            )

    def width(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """(T, n) measured values, or None."""
        return None if self.width_column is None else _select(columns, self.width_column, self.width_indices)

    def command(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """(T, n) commanded values, or None."""
        return (
            None
            if self.command_column is None
            else _select(columns, self.command_column, self.command_indices)
        )

    def to_json(self) -> dict[str, str | None]:
        """The columns as they are written on a command line."""
        written = {
            "position": _format(self.position_column, self.position_indices),
            "width": _format(self.width_column, self.width_indices),
            "command": _format(self.command_column, self.command_indices),
        }
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
        """Read texts such as "column:0,1,2".

        Raises:
            InspireError: a text of another form, or no gripper where one is needed.
        """
        column, indices = _parse(position)
        if len(indices) != 3 and kinematics is None:
            raise InspireError(
                f"the end effector's position needs three numbers, as in column:0,1,2; found {position!r}."
            )
        if needs_gripper and width is None and command is None:
            raise InspireError("a gripper needs a width or a command, such as action:6.")
        width_column, width_indices = _parse(width) if width else (None, ())
        command_column, command_indices = _parse(command) if command else (None, ())
        return cls(column, indices, width_column, width_indices, command_column, command_indices, kinematics)


def find_end_effector_columns(
    columns: Mapping[str, NDArray[Any]], names: Mapping[str, Sequence[str]], *, needs_gripper: bool = True
) -> EndEffectorColumns:
    """Find the position and the gripper by the names that the dataset gives to its values.

    Without names, only LIBERO's and OpenVLA's shapes are recognised.

    Raises:
        InspireError: no position is found, or no gripper where one is needed; it lists the columns.
    """
    position: tuple[str, tuple[int, ...]] | None = None
    width: tuple[str, tuple[int, ...]] | None = None
    command: tuple[str, tuple[int, ...]] | None = None
    for column in sorted(columns, key=lambda name: (name == "action", name)):
        own_names = [str(name).lower() for name in names.get(column, ())]
        if column != "action" and position is None:
            firsts = [next((i for i, n in enumerate(own_names) if _is_axis(n, axis)), -1) for axis in "xyz"]
            if min(firsts) >= 0:
                position = (column, tuple(firsts))
        fingers = tuple(i for i, name in enumerate(own_names) if any(word in name for word in _GRIPPER_WORDS))
        if fingers and column == "action":
            command = (column, fingers)
        elif fingers and width is None:
            width = (column, fingers)
    size = {name: value.shape[1] if value.ndim == 2 else 1 for name, value in columns.items()}
    if position is None and size.get("observation.state") == 8 and size.get("action") == 7:
        position = ("observation.state", (0, 1, 2))  # LIBERO: position, axis-angle, two fingers
        width = width or ("observation.state", (6, 7))
    if command is None and size.get("action") == 7:
        command = ("action", (6,))
    if position is None or (needs_gripper and width is None and command is None):
        missing = "end-effector position" if position is None else "gripper"
        present = {name: list(names.get(name, ())) or size[name] for name in columns}
        raise InspireError(
            f"no {missing} is found by name among {present}. Say where it is "
            f"({'--position, --width, --command' if needs_gripper else '--position'}); a dataset of joint angles needs "
            "--urdf and --tip."
        )
    return EndEffectorColumns(*position, *(width or (None, ())), *(command or (None, ())))


def _is_axis(name: str, axis: str) -> bool:
    parts = name.replace(".", "_").replace("/", "_").split("_")
    return parts[-1] == axis and not any(part in _NOT_POSITION for part in parts[:-1])


def _select(columns: Mapping[str, NDArray[Any]], name: str, indices: Sequence[int]) -> NDArray[np.float64]:
    if name not in columns:
        raise InspireError(f"there is no column {name!r}. Possible: {sorted(columns)}.")
    values = np.asarray(columns[name], dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if max(indices) >= values.shape[1]:
        raise InspireError(
            f"column {name!r} holds {values.shape[1]} numbers; number {max(indices)} is asked for."
        )
    return values[:, list(indices)]


def _parse(text: str) -> tuple[str, tuple[int, ...]]:
    column, colon, numbers = text.rpartition(":")
    try:
        indices = tuple(int(number) for number in numbers.split(","))
    except ValueError:
        indices = ()
    if not colon or not indices or min(indices) < 0:
        raise InspireError(f"a column is written name:0,1,2; found {text!r}.")
    return column, indices


def _format(column: str | None, indices: Sequence[int]) -> str | None:
    return None if column is None else f"{column}:{','.join(map(str, indices))}"
