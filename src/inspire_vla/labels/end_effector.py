"""Where in a dataset's columns the hand's position and the gripper stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.forward_kinematics import Kinematics

_GRIPPER_WORDS = ("gripper", "finger", "claw", "jaw")
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class EndEffectorColumns:
    """Columns and the places in them. `width`: measured opening(s); `command`: what the gripper was told.

    Written on a command line as "observation.state:0,1,2", "observation.state:6,7", "action:6". With `kinematics`,
    `position_at` are joints and the position is worked out.
    """

    position_column: str
    position_at: tuple[int, ...]
    width_column: str | None = None
    width_at: tuple[int, ...] = ()
    command_column: str | None = None
    command_at: tuple[int, ...] = ()
    kinematics: Kinematics | None = None

    def columns(self) -> tuple[str, ...]:
        """The columns needed."""
        named = (self.position_column, self.width_column, self.command_column)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def position(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """(T, 3), in the dataset's unit; metres if worked out from joints."""
        values = _pick(columns, self.position_column, self.position_at)
        if self.kinematics is None:
            return values
        found = np.full((len(values), 3), np.nan)
        whole = np.isfinite(values).all(axis=1)
        found[whole] = self.kinematics.positions(values[whole])
        return found

    def tips(
        self, columns: Mapping[str, NDArray[Any]], metres_per_unit: float, fingertips_below_m: float
    ) -> NDArray[np.float64]:
        """(T, 3) metres, robot base frame: the finger tips, `fingertips_below_m` under the recorded point."""
        return self.position(columns) * metres_per_unit - np.array([0.0, 0.0, fingertips_below_m])

    def check_unit(self, columns: Mapping[str, NDArray[Any]], metres_per_unit: float) -> None:
        """Raise InspireError where no position is finite, or hand or joints move further than they can."""
        positions = self.position(columns) * metres_per_unit
        if self.kinematics is not None:
            self.kinematics.check_unit(_pick(columns, self.position_column, self.position_at))
        if not np.isfinite(positions).any():
            raise InspireError(f"column {self.position_column!r} holds no finite position.")
        extent = np.nanmax(positions, axis=0) - np.nanmin(positions, axis=0)
        if extent.max() > 10:
            raise InspireError(
                f"the hand moves over {np.round(extent, 2).tolist()} units, which cannot be metres. "
                "Say --metres-per-unit (0.001 for millimetres)."
            )

    def width(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """(T, n) or None."""
        return None if self.width_column is None else _pick(columns, self.width_column, self.width_at)

    def command(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """(T, n) or None."""
        return None if self.command_column is None else _pick(columns, self.command_column, self.command_at)

    def to_json(self) -> dict[str, str | None]:
        """As written on a command line."""
        said = {
            "position": _spell(self.position_column, self.position_at),
            "width": _spell(self.width_column, self.width_at),
            "command": _spell(self.command_column, self.command_at),
        }
        return said if self.kinematics is None else said | {"urdf_sha256": self.kinematics.digest}

    @classmethod
    def parse(
        cls,
        position: str,
        width: str | None = None,
        command: str | None = None,
        *,
        kinematics: Kinematics | None = None,
        needs_gripper: bool = True,
    ) -> "EndEffectorColumns":
        """Read "column:0,1,2" forms. Raises InspireError for another form, or for no gripper where one is needed."""
        column, at = _read(position)
        if len(at) != 3 and kinematics is None:
            raise InspireError(
                f"the hand's position needs three numbers, as in column:0,1,2; found {position!r}."
            )
        if needs_gripper and width is None and command is None:
            raise InspireError("a gripper needs a width or a command, such as action:6.")
        width_column, width_at = _read(width) if width else (None, ())
        command_column, command_at = _read(command) if command else (None, ())
        return cls(column, at, width_column, width_at, command_column, command_at, kinematics)


def find_end_effector_columns(
    columns: Mapping[str, NDArray[Any]], names: Mapping[str, Sequence[str]], *, needs_gripper: bool = True
) -> EndEffectorColumns:
    """Find hand and gripper by what the dataset calls its numbers; LIBERO's and OpenVLA's shapes without names.

    Raises:
        InspireError: nothing looks like a hand's position, or like a gripper where one is needed; it lists what
            there is.
    """
    position: tuple[str, tuple[int, ...]] | None = None
    width: tuple[str, tuple[int, ...]] | None = None
    command: tuple[str, tuple[int, ...]] | None = None
    for column in sorted(columns, key=lambda name: (name == "action", name)):
        own = [str(name).lower() for name in names.get(column, ())]
        if column != "action" and position is None:
            firsts = [next((i for i, n in enumerate(own) if _is_axis(n, axis)), -1) for axis in _AXES]
            axes = [first for first in firsts if first >= 0]
            if len(axes) == len(_AXES):
                position = (column, tuple(axes))
        fingers = tuple(i for i, name in enumerate(own) if any(word in name for word in _GRIPPER_WORDS))
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
        lacking = "hand position" if position is None else "gripper"
        there = {name: list(names.get(name, ())) or size[name] for name in columns}
        raise InspireError(
            f"no {lacking} is found by name among {there}. Say where it is "
            f"({'--position, --width, --command' if needs_gripper else '--position'}); a dataset of joint angles needs "
            "--urdf and --tip."
        )
    return EndEffectorColumns(
        position[0],
        position[1],
        *(width or (None, ())),
        *(command or (None, ())),
    )


def _is_axis(name: str, axis: str) -> bool:
    parts = name.replace(".", "_").replace("/", "_").split("_")
    return parts[-1] == axis and not any(p in ("axis", "angle", "rot", "quat", "d") for p in parts[:-1])


def _pick(columns: Mapping[str, NDArray[Any]], name: str, at: Sequence[int]) -> NDArray[np.float64]:
    if name not in columns:
        raise InspireError(f"there is no column {name!r}. Possible: {sorted(columns)}.")
    values = np.asarray(columns[name], dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if max(at) >= values.shape[1]:
        raise InspireError(f"column {name!r} holds {values.shape[1]} numbers; number {max(at)} is asked for.")
    return values[:, list(at)]


def _read(text: str) -> tuple[str, tuple[int, ...]]:
    column, colon, numbers = text.rpartition(":")
    try:
        at = tuple(int(number) for number in numbers.split(","))
    except ValueError:
        at = ()
    if not colon or not at or min(at) < 0:
        raise InspireError(f"a column is written name:0,1,2; found {text!r}.")
    return column, at


def _spell(column: str | None, at: Sequence[int]) -> str | None:
    return None if column is None else f"{column}:{','.join(map(str, at))}"
