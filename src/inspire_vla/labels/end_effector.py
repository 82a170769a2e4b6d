"""Where the end effector's position and the gripper's values stand in the columns of a dataset.

They are found by the names of the values, or by a property of the numbers that nothing else has (a unit quaternion, two
mirrored fingers). The number of values alone is no evidence: seven numbers are as often joint angles as a pose.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.labels.forward_kinematics import ForwardKinematics
from inspire_vla.labels.gripper import correlation, is_binary, is_trigger, total_opening
from inspire_vla.labels.labeller import Recording
from inspire_vla.labels.value_names import (
    FINGERS,
    arm_of,
    axis_of,
    is_commanded,
    is_joint,
    is_opening,
    is_position_column,
    uses_short_arms,
    words_of,
)

_LARGEST_EXTENT_M = 4
"""No arm reaches further; a larger extent is in another unit."""
_NORMALISED = 1.4
"""Metres. No arm on a table moves so far on all three axes: the positions are normalised."""
_SMALLEST_EXTENT_M = 0.005
_MOST_LINES = 40


@dataclass(frozen=True)
class ColumnValues:
    """Some of the values in one column, written "name:0,1,2" or "name:ee_x,ee_y,ee_z" on a command line.

    names: of the values, until `resolve` has found their indices.
    """

    column: str
    indices: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ColumnValues":
        """Read "name:0,1,2" or "name:ee_x,ee_y". Raises InspireError for another form."""
        column, colon, values = text.rpartition(":")
        parts = tuple(part.strip() for part in values.split(","))
        if colon and column and all(parts):
            if all(part.isdecimal() for part in parts):
                return cls(column, tuple(map(int, parts)))
            if not any(part.lstrip("-").isdecimal() for part in parts):
                return cls(column, names=parts)
        raise InspireError(
            f"a column is written name:0,1,2, or with the names of its values, as name:ee_x,ee_y,ee_z; found {text!r}."
        )

    def __str__(self) -> str:
        return f"{self.column}:{','.join(self.names or map(str, self.indices))}"

    def __len__(self) -> int:
        return len(self.names or self.indices)

    def resolve(self, names: Mapping[str, Sequence[str]]) -> "ColumnValues":
        """Replace names by indices. Raises InspireError for a name that the column does not have, or has twice."""
        if not self.names:
            return self
        known = list(names.get(self.column, ()))
        for name in self.names:
            if known.count(name) != 1:
                how = "several values" if name in known else "no value"
                raise InspireError(
                    f"column {self.column!r} has {how} named {name!r}.{did_you_mean(name, known)} Indices are possible "
                    f"too, as in {self.column}:0,1,2."
                )
        return ColumnValues(self.column, tuple(known.index(name) for name in self.names))

    def described(self, names: Mapping[str, Sequence[str]]) -> str:
        """The values with their names, for a person: "observation.state:0,1,2 (x, y, z)"."""
        known = names.get(self.column, ())
        return f"{self}" + (f" ({', '.join(known[i] for i in self.indices)})" if known else "")

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
    """Where a dataset records the end effector and the gripper of one arm.

    position_values: the end effector's position; with `kinematics`, the joint values from which it is computed.
    width_values: the measured opening, or finger joints. command_values: what the gripper was commanded.
    arm: "left" or "right" where there are two. reasons: of the three values, why they were chosen.
    """

    position_values: ColumnValues
    width_values: ColumnValues | None = None
    command_values: ColumnValues | None = None
    kinematics: ForwardKinematics | None = None
    arm: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read."""
        parts = (self.position_values, self.width_values, self.command_values)
        return tuple(dict.fromkeys(values.column for values in parts if values is not None))

    def resolve(self, names: Mapping[str, Sequence[str]]) -> "EndEffectorColumns":
        """Replace names of values by indices. Raises InspireError for unknown names."""
        width, command = self.width_values, self.command_values
        return replace(
            self,
            position_values=self.position_values.resolve(names),
            width_values=None if width is None else width.resolve(names),
            command_values=None if command is None else command.resolve(names),
        )

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
            InspireError: no position is finite, or the end effector or a joint moves further than it can, or never.
        """
        positions = self.position(columns) * metres_per_unit
        if self.kinematics is not None:
            self.kinematics.check_unit(self.position_values.of(columns))
        if not np.isfinite(positions).any():
            raise InspireError(f"column {self.position_values.column!r} holds no finite position.")
        low, high = np.nanquantile(positions, [0.002, 0.998], axis=0)  # ignores single corrupt frames
        extent = high - low
        if extent.max() > _LARGEST_EXTENT_M:
            raise InspireError(
                f"the end effector moves over {np.round(extent, 2).tolist()} units, which cannot be metres. "
                "Say --metres-per-unit (0.001 for millimetres)."
            )
        if extent.min() > _NORMALISED:
            raise InspireError(
                f"the end effector moves over {np.round(extent, 2).tolist()} units on its three axes, further than an "
                "arm does in metres: the values look normalised. Name other columns (--position), or say "
                "--metres-per-unit."
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
        arm: str = "",
    ) -> "EndEffectorColumns":
        """Read texts such as "observation.state:0,1,2", "observation.state:6,7" and "action:gripper".

        Raises:
            InspireError: a text of another form, or no gripper where one is needed.
        """
        position_values = ColumnValues.parse(position)
        if len(position_values) != 3 and kinematics is None:
            raise InspireError(
                f"the end effector's position needs three numbers, as in column:0,1,2; found {position!r}."
            )
        if needs_gripper and width is None and command is None:
            raise InspireError("a gripper needs a width or a command, such as action:6.")
        width_values, command_values = (
            ColumnValues.parse(text) if text else None for text in (width, command)
        )
        reasons = dict.fromkeys(("position", "width", "command"), "given")
        return cls(position_values, width_values, command_values, kinematics, arm, reasons)


# --- found by names and numbers


@dataclass(frozen=True)
class _Value:
    """One value of a column. name: "" where it has none."""

    column: str
    index: int
    name: str
    size: int


@dataclass(frozen=True)
class _Position:
    """A candidate for the position. rank: how clearly the name says so, see `axis_of`."""

    values: ColumnValues
    arm: str
    rank: int
    why: str


def is_action(column: str) -> bool:
    """Whether a column holds what the robot was commanded: LeRobot's `action`, openpi's `actions`, or a part."""
    return words_of(column)[:1] in (("action",), ("actions",))


def state_and_action_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a dataset's number columns in which the end effector and the gripper may be."""
    return tuple(
        name
        for name in names
        if is_action(name)
        or (
            name.startswith(("observation.", "observation/", "state", "states"))
            and not name.startswith(("observation.answers.", "observation.environment"))
        )
    )


def find_end_effector_columns(
    recording: Recording, *, needs_gripper: bool = True, arm: str | None = None
) -> tuple[EndEffectorColumns, ...]:
    """Find the position and the gripper of each arm, by names of values and by properties of the numbers.

    Args:
        arm: "left" or "right": only this arm.

    Raises:
        InspireError: no position is found, or several that differ, or no gripper where one is needed. The message lists
            the values with their ranges and says what they could be.
    """
    positions = _choose_positions(recording, _positions(recording))
    arms = sorted({position.arm for position in positions})
    if arm is not None:
        positions = [position for position in positions if position.arm == arm]
        if not positions:
            raise InspireError(
                f"no position of an arm {arm!r} is found. Arms found by name: {[one for one in arms if one] or 'none'}."
            )
    if not positions:
        raise InspireError(_not_found("end-effector position", recording, needs_gripper))
    found = []
    for position in positions:
        several = position.arm if len(arms) > 1 else ""
        width, width_why = _named_gripper(recording, several, commanded=False)
        command, command_why = _named_gripper(recording, several, commanded=True)
        if command is None:
            command, command_why = _unnamed_command(recording, width, arms, position.arm)
        reasons = {"position": position.why, "width": width_why, "command": command_why}
        found.append(EndEffectorColumns(position.values, width, command, None, position.arm, reasons))
    if needs_gripper and all(one.width_values is None and one.command_values is None for one in found):
        raise InspireError(_not_found("gripper", recording, needs_gripper))
    return tuple(found)


def add_gripper(columns: EndEffectorColumns, recording: Recording) -> EndEffectorColumns:
    """Find the gripper for a position that was given without one.

    Raises:
        InspireError: no gripper is found.
    """
    width, width_why = _named_gripper(recording, "", commanded=False)
    command, command_why = _named_gripper(recording, "", commanded=True)
    if command is None:
        command, command_why = _unnamed_command(recording, width, [""], "")
    if width is None and command is None:
        raise InspireError(_not_found("gripper", recording, needs_gripper=True))
    reasons = {**columns.reasons, "width": width_why, "command": command_why}
    return replace(columns, width_values=width, command_values=command, reasons=reasons)


def _values(recording: Recording) -> list[_Value]:
    """All values, `observation.state` first and actions last."""
    order = sorted(recording.columns, key=lambda name: (is_action(name), name != "observation.state", name))
    found = []
    for column in order:
        array = recording.columns[column]
        size = array.shape[1] if array.ndim == 2 else 1
        names = tuple(recording.names.get(column, ()))
        names = names if len(names) == size else ("",) * size
        if size > 1 and len(set(names)) == 1:  # openpi names all values "state"
            names = ("",) * size
        found += [_Value(column, i, name, size) for i, name in enumerate(names)]
    return found


def _by_column(recording: Recording) -> dict[str, list[_Value]]:
    columns: dict[str, list[_Value]] = {}
    for value in _values(recording):
        columns.setdefault(value.column, []).append(value)
    return columns


def _positions(recording: Recording) -> list[_Position]:
    """Every candidate for a position among the measured values."""
    found = []
    columns = _by_column(recording)
    short = uses_short_arms(value.name for values in columns.values() for value in values)
    for column, values in columns.items():
        if is_action(column):
            continue
        axes = [axis_of(value.name, column) if value.name else None for value in values]
        for i, x in enumerate(axes):
            triple = _triple(axes, i) if x is not None and x[0] == "x" else None
            if triple is None or x is None:
                continue
            names = ", ".join(values[k].name for k in triple)
            found.append(
                _Position(
                    ColumnValues(column, triple),
                    arm_of(values[i].name, column, short=short),
                    x[2],
                    f"named {names}",
                )
            )
        if all(not value.name for value in values):
            found += _unnamed_position(recording, column)
    return found


def _triple(axes: Sequence[tuple[str, tuple[str, ...], int] | None], i: int) -> tuple[int, int, int] | None:
    """Indices of x, y, z whose names have the same other words; those that follow x directly are preferred."""
    assert axes[i] is not None
    others = axes[i][1]  # type: ignore[index]
    indices = [i]
    for offset, axis in ((1, "y"), (2, "z")):
        same = [k for k, found in enumerate(axes) if found is not None and found[:2] == (axis, others)]
        if i + offset in same:
            indices.append(i + offset)
        elif len(same) == 1:
            indices.append(same[0])
        else:
            return None
    return indices[0], indices[1], indices[2]


_UNIT_NORM = 0.02
_MIRRORED = 0.98
_LARGEST_FINGER_M = 0.15
_DELTA_CORRELATION = 0.4


def _unnamed_position(recording: Recording, column: str) -> list[_Position]:
    """A position in a column whose values have no names: by the column's own name, or by its numbers."""
    values = np.asarray(recording.columns[column], dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    size = values.shape[1]
    first = ColumnValues(column, (0, 1, 2))
    if is_position_column(column) and size in (3, 6, 7):
        return [_Position(first, arm_of("", column, short=False), 2, "the column's name")]
    finite = values[np.isfinite(values).all(axis=1)]
    if size in (7, 8) and len(finite) > 1:
        quaternion = finite[:, 3:7]
        if np.abs(np.linalg.norm(quaternion, axis=1) - 1).max() < _UNIT_NORM and np.ptp(quaternion) > 0.05:
            return [_Position(first, "", 1, "a unit quaternion follows at 3,4,5,6")]
    if size == 8 and _has_mirrored_fingers(finite) and _follows_deltas(recording, values):
        return [_Position(first, "", 1, "LIBERO's state: two mirrored fingers, and actions are its steps")]
    return []


def _has_mirrored_fingers(values: NDArray[np.float64]) -> bool:
    left, right = values[:, 6], values[:, 7]
    if (
        len(values) < 2
        or np.abs(values[:, 6:]).max() > _LARGEST_FINGER_M
        or min(np.ptp(left), np.ptp(right)) < 1e-4
    ):
        return False
    return bool(np.corrcoef(left, right)[0, 1] < -_MIRRORED)


def _follows_deltas(recording: Recording, values: NDArray[np.float64]) -> bool:
    """Whether the first three values move as the first three values of a 7-valued action say."""
    actions = [
        a for name, a in recording.columns.items() if is_action(name) and a.ndim == 2 and a.shape[1] == 7
    ]
    if len(actions) != 1 or len(values) < 3:
        return False
    inside = np.ones(len(values) - 1, dtype=bool)
    inside[recording.starts[recording.starts > 0] - 1] = False
    steps, commands = np.diff(values[:, :3], axis=0)[inside], np.asarray(actions[0])[:-1, :3][inside]
    return all(correlation(steps[:, k], commands[:, k]) > _DELTA_CORRELATION for k in range(3))


def _choose_positions(recording: Recording, candidates: list[_Position]) -> list[_Position]:
    """One position for each arm. Raises InspireError if two candidates for one arm are equally clear, and differ."""
    clear = [position for position in candidates if position.rank > 0]
    chosen = []
    for arm in dict.fromkeys(position.arm for position in clear):
        mine = [position for position in clear if position.arm == arm]
        best = [position for position in mine if position.rank == max(p.rank for p in mine)]
        values = [position.values.of(recording.columns) for position in best]
        if any(not np.allclose(values[0], other, atol=1e-4, equal_nan=True) for other in values[1:]):
            shown = "\n".join(f"  --position {position.values}   {position.why}" for position in best)
            raise InspireError(
                f"several positions are found, and their values differ. Say which one:\n{shown}"
            )
        chosen.append(best[0])
    arms = {position.arm for position in chosen}
    if "" in arms and len(arms) > 1:  # an arm without a side beside two with one
        shown = "\n".join(f"  --position {position.values}   {position.why}" for position in chosen)
        raise InspireError(f"several positions are found. Say which one:\n{shown}")
    return chosen


# --- the gripper


def _named_gripper(recording: Recording, arm: str, *, commanded: bool) -> tuple[ColumnValues | None, str]:
    """The gripper's values by name: commanded or measured ones, of one arm ("" where there is one only)."""
    columns = _by_column(recording)
    short = uses_short_arms(value.name for values in columns.values() for value in values)
    for column, values in columns.items():
        mine = [
            value
            for value in values
            if is_opening(value.name, column, several=value.size > 1 and bool(value.name))
            and (is_action(column) or is_commanded(value.name)) == commanded
            and (not arm or arm_of(value.name, column, short=short) in (arm, ""))
        ]
        if arm and any(arm_of(value.name, column, short=short) == arm for value in mine):
            mine = [value for value in mine if arm_of(value.name, column, short=short) == arm]
        elif arm and mine:
            continue  # nothing tells whose gripper it is
        if not mine:
            continue
        chosen = _one_gripper(recording, mine, arm, short)
        names = [value.name for value in chosen if value.name]
        why = f"named {', '.join(names)}" if names else "the column's name"
        return ColumnValues(column, tuple(value.index for value in chosen)), why
    return None, ""


def _one_gripper(recording: Recording, values: list[_Value], arm: str, short: bool) -> list[_Value]:
    """Reduce values that are named as openings to those of one gripper: its fingers, or its clearest opening.

    Raises:
        InspireError: they are the grippers of two arms.
    """
    if len(values) == 1:
        return values
    fingers = [value for value in values if set(words_of(value.name)) & FINGERS]
    if fingers and len(fingers) < len(values):
        return [value for value in values if value not in fingers][:1]
    if fingers:
        return fingers
    sides = {arm_of(value.name, value.column, short=short) for value in values}
    arrays = [ColumnValues(v.column, (v.index,)).of(recording.columns)[:, 0] for v in values]
    if not arm and sides == {"left", "right"}:
        together = all(abs(correlation(arrays[0], other)) > _MIRRORED for other in arrays[1:])
        if together:
            return values
        shown = "\n".join(f"  --width {v.column}:{v.name or v.index}" for v in values)
        raise InspireError(f"two grippers are found, and one position. Say whose the position is:\n{shown}")
    if len({value.name for value in values}) == 1:  # LIBERO names both fingers "gripper"
        return values
    numbered = {tuple(word for word in words_of(value.name) if not word.isdigit()) for value in values}
    return values if len(numbered) == 1 and not arm else values[:1]


_AGREES = 0.5


def _unnamed_command(
    recording: Recording, width: ColumnValues | None, arms: Sequence[str], arm: str
) -> tuple[ColumnValues | None, str]:
    """The last value of an action without names, or of its half for two arms, if its numbers are a gripper's."""
    columns = [name for name in recording.columns if is_action(name)]
    if len(columns) != 1 or recording.columns[columns[0]].ndim != 2:
        return None, ""
    column = columns[0]
    if any(value.name for value in _by_column(recording)[column]):
        return None, ""
    size = recording.columns[column].shape[1]
    index = size - 1
    if len(arms) == 2:
        if size % 2:
            return None, ""
        index = size - 1 if arm == max(arms) else size // 2 - 1
    values = ColumnValues(column, (index,))
    command = total_opening(_numbers(values, recording))
    if width is None:
        if is_binary(command) or is_trigger(command):
            return values, "the last value of an action takes two values"
        return None, ""
    measured = total_opening(_numbers(width, recording))
    agreement = correlation_with_width(command, measured, recording.starts)
    if abs(agreement) < _AGREES:
        return None, ""
    return (
        values,
        f"the last value of the action, which the measured opening follows (correlation {agreement:+.2f})",
    )


def _numbers(values: ColumnValues, recording: Recording) -> NDArray[np.float64]:
    """The values, 0 where they are not finite: episodes with such frames get no labels, but others do."""
    return np.nan_to_num(values.of(recording.columns), nan=0.0, posinf=0.0, neginf=0.0).astype(np.float64)


def correlation_with_width(
    command: NDArray[np.float64], width: NDArray[np.float64], starts: NDArray[np.intp]
) -> float:
    """The largest correlation of a command with the width up to half a second later, or so."""
    from inspire_vla.labels.gripper import held_command  # a trigger's pulses are held first

    told = held_command(command, starts)
    found = [correlation(told[: len(told) - lag], width[lag:]) for lag in range(6)]
    return max(found, key=abs)


# --- what is said when nothing is found


def _not_found(missing: str, recording: Recording, needs_gripper: bool) -> str:
    options = "--position, --width, --command" if needs_gripper else "--position"
    lines = [f"no {missing} is found by name. The values, and what their ranges could be:"]
    values = _values(recording)
    lines += [_line(recording, value) for value in values[:_MOST_LINES]]
    lines += [f"  … and {len(values) - _MOST_LINES} more"] if len(values) > _MOST_LINES else []
    lines.append(
        f"Say where it is ({options}), by indices or names, such as --position observation.state:0,1,2."
    )
    if missing != "gripper":
        state = next((value for value in values if not is_action(value.column)), None)
        column = "observation.state" if state is None else state.column
        count = 6 if state is None else max(1, state.size - 1)
        joints = ",".join(map(str, range(count)))
        lines.append(
            "Joint angles give no position alone: add the robot's URDF, --urdf FILE --tip LINK [--degrees] --position "
            f"{column}:{joints}."
        )
        doubtful = [position for position in _positions(recording) if position.rank == 0]
        lines += [f"Perhaps it is --position {p.values} ({p.why})." for p in doubtful]
    return "\n".join(lines)


def _line(recording: Recording, value: _Value) -> str:
    numbers = ColumnValues(value.column, (value.index,)).of(recording.columns)[:, 0]
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(v) for v in np.quantile(numbers, [0.01, 0.99])) if len(numbers) else (0.0, 0.0)
    return (
        f"  {value.column}:{value.index} {value.name or '(no name)'}: {low:.3g} to {high:.3g}, "
        f"{_could_be(value.name, numbers, low, high)}"
    )


def _could_be(name: str, numbers: NDArray[np.float64], low: float, high: float) -> str:
    largest = max(abs(low), abs(high))
    if high - low < 1e-6:
        return "constant"
    if is_joint(name):
        return f"a joint, by its name, in {'degrees, or −100…100' if largest > 2 * np.pi else 'radians'}"
    if is_binary(numbers):
        return "two values: a gripper?"
    if largest > 200:
        return "millimetres?"
    if largest > 2 * np.pi:
        return "degrees, −100…100, or a gripper in per cent?"
    if largest > 1.5:
        return "radians?"
    return "metres, radians, or a gripper?"


def pairs(starts: NDArray[np.intp], rows: int) -> list[tuple[int, int]]:
    """(first row, end) of each episode."""
    return list(itertools.pairwise([*starts.tolist(), rows]))
