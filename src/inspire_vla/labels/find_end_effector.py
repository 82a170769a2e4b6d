"""Finds the end effector's position and the gripper's values in the columns of a recording.

They are found by the names of the values, or by a property of the numbers that nothing else has (a unit quaternion, two
mirrored fingers). The number of values alone is no evidence: seven numbers are as often joint angles as a pose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.column_values import ColumnValues
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.gripper import (
    correlation,
    correlation_with_width,
    is_binary,
    neutral_value,
    total_opening,
)
from inspire_vla.labels.labeller import Recording
from inspire_vla.labels.value_names import (
    FINGERS,
    arm_of,
    axis_of,
    is_action,
    is_commanded,
    is_joint,
    is_opening,
    is_position_column,
    uses_short_arms,
    words_of,
)

_UNIT_NORM = 0.02
_MIRRORED = 0.98
_LARGEST_FINGER_M = 0.15
_DELTA_CORRELATION = 0.4
_AGREES = 0.5
_MOST_LINES = 40
"""Values listed in an error message."""


@dataclass(frozen=True)
class _Value:
    """One value of a column. name: "" where it has none. size: number of values in the column."""

    column: str
    index: int
    name: str
    size: int


class _Position(NamedTuple):
    """A candidate for the position. rank: how clearly the name says so, see `axis_of`."""

    values: ColumnValues
    arm: str
    rank: int
    why: str


def find_end_effector_columns(
    recording: Recording, *, needs_gripper: bool = True, arm: str | None = None
) -> tuple[EndEffectorColumns, ...]:
    """Find the position and the gripper of each arm, by names of values and by properties of the numbers.

    Args:
        needs_gripper: whether a recording without a gripper is refused.
        arm: "left" or "right": only this arm.

    Returns:
        The columns of one arm, or of two.

    Raises:
        InspireError: no position is found, or several that differ, or no gripper where one is needed. The message lists
            the values with their ranges and says what they could be.
    """
    finder = _Finder(recording)
    positions = finder.positions()
    arms = sorted({position.arm for position in positions})
    if arm is not None:
        positions = [position for position in positions if position.arm == arm]
        if not positions:
            raise InspireError(
                f"no position of an arm {arm!r} is found. Arms found by name: {[one for one in arms if one] or 'none'}"
                ". Leave out --arm, and say where the position is: --position."
            )
    if not positions:
        raise InspireError(_not_found("end-effector position", finder, needs_gripper))
    by_arm = []
    for position in positions:
        columns = EndEffectorColumns(position.values, arm=position.arm, reasons={"position": position.why})
        by_arm.append(finder.with_gripper(columns, arms))
    if needs_gripper and all(len(one.parts) == 1 for one in by_arm):
        raise InspireError(_not_found("gripper", finder, needs_gripper))
    return tuple(by_arm)


def add_gripper(columns: EndEffectorColumns, recording: Recording) -> EndEffectorColumns:
    """Find the gripper for a position that was given without one.

    Raises:
        InspireError: no gripper is found.
    """
    finder = _Finder(recording)
    with_gripper = finder.with_gripper(columns, ["left", "right"] if columns.arm else [""])
    if len(with_gripper.parts) == 1:
        raise InspireError(_not_found("gripper", finder, needs_gripper=True))
    return with_gripper


class _Finder:
    """Finds positions and grippers among the values of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        order = sorted(
            recording.columns, key=lambda name: (is_action(name), name != "observation.state", name)
        )
        self.columns = {column: self._values(column) for column in order}
        """The values of each column, `observation.state` first and actions last."""
        self.short_arms = uses_short_arms(v.name for values in self.columns.values() for v in values)

    def _values(self, column: str) -> list[_Value]:
        array, names = self.recording.columns[column], tuple(self.recording.names.get(column, ()))
        size = array.shape[1] if array.ndim == 2 else 1
        if len(names) != size or (size > 1 and len(set(names)) == 1):  # openpi names all values "state"
            names = ("",) * size
        return [_Value(column, i, name, size) for i, name in enumerate(names)]

    def _arm(self, value: _Value) -> str:
        return arm_of(value.name, value.column, short=self.short_arms)

    def opening(self, values: ColumnValues) -> NDArray[np.float64]:
        """The total opening, 0 where it is not finite: episodes with such frames get no labels, but others do."""
        found = values.of(self.recording.columns)
        return total_opening(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0))

    def positions(self) -> list[_Position]:
        """One position for each arm. Raises InspireError if two for one arm are equally clear, and differ."""
        clear = [position for position in self.candidates() if position.rank > 0]
        chosen = []
        for arm in dict.fromkeys(position.arm for position in clear):
            mine = [position for position in clear if position.arm == arm]
            best = [position for position in mine if position.rank == max(p.rank for p in mine)]
            first, *others = (position.values.of(self.recording.columns) for position in best)
            if any(not np.allclose(first, other, atol=1e-4, equal_nan=True) for other in others):
                raise InspireError(
                    f"several positions are found, and their values differ. Say which one:{_options(best)}"
                )
            chosen.append(best[0])
        arms = {position.arm for position in chosen}
        if "" in arms and len(arms) > 1:  # an arm without a side beside two with one
            raise InspireError(f"several positions are found. Say which one:{_options(chosen)}")
        return chosen

    def candidates(self) -> list[_Position]:
        """Every candidate for a position among the measured values."""
        candidates = []
        for column, values in self.columns.items():
            if is_action(column):
                continue
            axes = [axis_of(value.name, column) if value.name else None for value in values]
            for i, axis in enumerate(axes):
                triple = _triple(axes, i)
                if axis is not None and triple is not None:
                    why = f"named {', '.join(values[k].name for k in triple)}"
                    candidates.append(
                        _Position(ColumnValues(column, triple), self._arm(values[i]), axis[2], why)
                    )
            if not any(value.name for value in values):
                candidates += self._unnamed_position(column)
        return candidates

    def _unnamed_position(self, column: str) -> list[_Position]:
        """A position in a column whose values have no names: by the column's own name, or by its numbers."""
        values = np.asarray(self.recording.columns[column], dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        size, first = values.shape[1], ColumnValues(column, (0, 1, 2))
        if is_position_column(column) and size in (3, 6, 7):
            return [_Position(first, arm_of("", column, short=False), 2, "the column's name")]
        finite = values[np.isfinite(values).all(axis=1)]
        if size in (7, 8) and len(finite) > 1:
            quaternion = finite[:, 3:7]
            is_unit = np.abs(np.linalg.norm(quaternion, axis=1) - 1).max() < _UNIT_NORM
            if is_unit and np.ptp(quaternion) > 0.05:
                return [_Position(first, "", 1, "a unit quaternion follows at 3,4,5,6")]
            if size == 8 and _has_mirrored_fingers(finite) and self._follows_deltas(values):
                why = "LIBERO's state: two mirrored fingers, and actions are its steps"
                return [_Position(first, "", 1, why)]
        return []

    def _follows_deltas(self, values: NDArray[np.float64]) -> bool:
        """Whether the first three of the values (T, n) move as the first three of a 7-valued action say."""
        recording = self.recording
        actions = [
            recording.columns[name] for name, of in self.columns.items() if is_action(name) and len(of) == 7
        ]
        if len(actions) != 1 or len(values) < 3:
            return False
        inside = np.ones(len(values) - 1, dtype=bool)
        inside[recording.starts[recording.starts > 0] - 1] = False
        steps, commands = np.diff(values[:, :3], axis=0)[inside], np.asarray(actions[0])[:-1, :3][inside]
        return all(correlation(steps[:, k], commands[:, k]) > _DELTA_CORRELATION for k in range(3))

    # the gripper

    def with_gripper(self, columns: EndEffectorColumns, arms: Sequence[str]) -> EndEffectorColumns:
        """Add the gripper's values to a position, where they are found. arms: of all positions."""
        arm = columns.arm if len(arms) > 1 else ""
        width, width_why = self._named_gripper(arm, commanded=False)
        command, command_why = self._named_gripper(arm, commanded=True)
        if command is None:
            command, command_why = self._unnamed_command(width, arms, columns.arm)
        reasons = {**columns.reasons, "width": width_why, "command": command_why}
        return replace(columns, width_values=width, command_values=command, reasons=reasons)

    def _named_gripper(self, arm: str, *, commanded: bool) -> tuple[ColumnValues | None, str]:
        """The gripper's values by name: commanded or measured ones, of one arm ("" where there is one only)."""
        for column, values in self.columns.items():
            mine = [
                value
                for value in values
                if is_opening(value.name, column, several=value.size > 1 and bool(value.name))
                and (is_action(column) or is_commanded(value.name)) == commanded
            ]
            if arm:  # a value without an arm may be of either
                mine = [value for value in mine if self._arm(value) == arm]
            if mine:
                chosen = self._one_gripper(mine, arm)
                names = ", ".join(value.name for value in chosen if value.name)
                why = f"named {names}" if names else "the column's name"
                return ColumnValues(column, tuple(value.index for value in chosen)), why
        return None, ""

    def _one_gripper(self, values: list[_Value], arm: str) -> list[_Value]:
        """Reduce values that are named as openings to those of one gripper: its fingers, or its clearest opening.

        Raises:
            InspireError: they are the grippers of two arms.
        """
        if len(values) == 1:
            return values
        fingers = [value for value in values if set(words_of(value.name)) & FINGERS]
        if fingers:
            others = [value for value in values if value not in fingers]
            return others[:1] or fingers
        if not arm and {self._arm(value) for value in values} == {"left", "right"}:
            openings = [ColumnValues(v.column, (v.index,)).of(self.recording.columns)[:, 0] for v in values]
            if all(abs(correlation(openings[0], other)) > _MIRRORED for other in openings[1:]):
                return values
            shown = "".join(f"\n  --width {v.column}:{v.name or v.index}" for v in values)
            raise InspireError(f"two grippers are found, and one position. Say whose the position is:{shown}")
        if len({value.name for value in values}) == 1:  # LIBERO names both fingers "gripper"
            return values
        numbered = {tuple(word for word in words_of(value.name) if not word.isdigit()) for value in values}
        return values if len(numbered) == 1 and not arm else values[:1]

    def _unnamed_command(
        self, width: ColumnValues | None, arms: Sequence[str], arm: str
    ) -> tuple[ColumnValues | None, str]:
        """The last value of an action without names, or of its half for two arms, if its numbers are a gripper's."""
        actions = [values for column, values in self.columns.items() if is_action(column)]
        if len(actions) != 1 or any(value.name for value in actions[0]):
            return None, ""
        column, size = actions[0][0].column, actions[0][0].size
        if self.recording.columns[column].ndim != 2 or (len(arms) == 2 and size % 2):
            return None, ""
        is_first_half = len(arms) == 2 and arm != max(arms)
        values = ColumnValues(column, (size // 2 - 1 if is_first_half else size - 1,))
        command = self.opening(values)
        if width is None:
            if is_binary(command) or neutral_value(command) is not None:
                return values, "the last value of an action takes two values"
            return None, ""
        agreement = correlation_with_width(command, self.opening(width), self.recording.starts)
        if abs(agreement) < _AGREES:
            return None, ""
        why = (
            f"the last value of the action, which the measured opening follows (correlation {agreement:+.2f})"
        )
        return values, why


def _triple(axes: Sequence[tuple[str, tuple[str, ...], int] | None], i: int) -> tuple[int, int, int] | None:
    """Indices of x (at i), y, z whose names have the same other words; those that follow x directly are preferred."""
    x = axes[i]
    if x is None or x[0] != "x":
        return None
    indices = [i]
    for offset, axis in ((1, "y"), (2, "z")):
        same = [k for k, found in enumerate(axes) if found is not None and found[:2] == (axis, x[1])]
        if i + offset in same:
            indices.append(i + offset)
        elif len(same) == 1:
            indices.append(same[0])
        else:
            return None
    return indices[0], indices[1], indices[2]


def _has_mirrored_fingers(values: NDArray[np.float64]) -> bool:
    """Whether the last two of eight values (T, 8) are fingers that move against each other, in metres."""
    left, right = values[:, 6], values[:, 7]
    if np.abs(values[:, 6:]).max() > _LARGEST_FINGER_M or min(np.ptp(left), np.ptp(right)) < 1e-4:
        return False
    return correlation(left, right) < -_MIRRORED


# --- what is said when nothing is found


def _options(positions: Sequence[_Position]) -> str:
    """One line for each position, with the option that chooses it."""
    return "".join(f"\n  --position {position.values}   {position.why}" for position in positions)


def _not_found(missing: str, finder: _Finder, needs_gripper: bool) -> str:
    """All values with their ranges, and the options that say where the position or the gripper is."""
    options = "--position, --width, --command" if needs_gripper else "--position"
    values = [value for of_column in finder.columns.values() for value in of_column]
    lines = [f"no {missing} is found by name. The values, and what their ranges could be:"]
    lines += [_line(finder.recording, value) for value in values[:_MOST_LINES]]
    lines += [f"  … and {len(values) - _MOST_LINES} more"] if len(values) > _MOST_LINES else []
    lines.append(
        f"Say where it is ({options}), by indices or names, such as --position observation.state:0,1,2."
    )
    if missing != "gripper":
        state = next((value for value in values if not is_action(value.column)), None)
        column, count = ("observation.state", 6) if state is None else (state.column, max(1, state.size - 1))
        joints = ",".join(map(str, range(count)))
        lines.append(
            "Joint angles give no position alone: add the robot's URDF, --urdf FILE --tip LINK. Joints with "
            f"other names than in the URDF are given too: --position {column}:{joints}."
        )
        if finder.recording.robot_type.lower().startswith(("so101", "so_follower")):
            lines.append(
                "Of an SO-101: --urdf so101.urdf --tip gripper_frame_link; docs/robot.md says where that file is."
            )
        doubtful = [position for position in finder.candidates() if position.rank == 0]
        lines += [f"Perhaps it is --position {p.values} ({p.why})." for p in doubtful]
    return "\n".join(lines)


def _line(recording: Recording, value: _Value) -> str:
    """One value of the recording, with its range."""
    numbers = ColumnValues(value.column, (value.index,)).of(recording.columns)[:, 0]
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(v) for v in np.quantile(numbers, [0.01, 0.99])) if len(numbers) else (0.0, 0.0)
    return (
        f"  {value.column}:{value.index} {value.name or '(no name)'}: {low:.3g} to {high:.3g}, "
        f"{_could_be(value.name, numbers, low, high)}"
    )


def _could_be(name: str, numbers: NDArray[np.float64], low: float, high: float) -> str:
    """What a value could be, from its name and numbers. low, high: quantiles, so that single frames do not count."""
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
