"""Where the end effector's position and the gripper's values stand in the columns of a dataset.

They are found by the names of the values, or by a property of the numbers that nothing else has (a unit quaternion, two
mirrored fingers). The number of values alone is no evidence: seven numbers are as often joint angles as a pose.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.labels.gripper import (
    correlation,
    correlation_with_width,
    is_binary,
    neutral_value,
    total_opening,
)
from inspire_vla.labels.joint_units import RecordedJoints
from inspire_vla.labels.labeller import Recording
from inspire_vla.labels.value_names import (
    FINGERS,
    arm_of,
    axis_of,
    is_commanded,
    is_joint,
    is_opening,
    is_position_column,
    joint_words,
    uses_short_arms,
    words_of,
)

_LARGEST_EXTENT_M = 4
"""No arm reaches further; a larger extent is in another unit."""
_NORMALISED = 1.4
"""Metres. No arm on a table moves so far on all three axes: the positions are normalised."""
_DRIVES = {"x": 0.02, "y": 0.02, "theta": 2.0}
"""Metres or degrees in a second above which a base drives; LeKiwi's `x.vel`, `y.vel` and `theta.vel`."""
_DRIVEN = 0.02
"""Share of the frames."""
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
        if not known:
            raise InspireError(
                f"the values of column {self.column!r} have no names, and {','.join(self.names)} is asked for. Give "
                f"indices, as in {self.column}:0,1,2."
            )
        for name in self.names:
            if known.count(name) != 1:
                how = "several values" if name in known else "no value"
                raise InspireError(
                    f"column {self.column!r} has {how} named {name!r}; indices are possible too, as in "
                    f"{self.column}:0,1,2.{did_you_mean(name, known)}"
                )
        return ColumnValues(self.column, tuple(known.index(name) for name in self.names))

    def names_in(self, names: Mapping[str, Sequence[str]]) -> list[str]:
        """The names of the values, where the column has names."""
        known = names.get(self.column, ())
        return [known[i] for i in self.indices if i < len(known)]

    def described(self, names: Mapping[str, Sequence[str]]) -> str:
        """The values with their names, for a person: "observation.state:0,1,2 (x, y, z)"."""
        known = ", ".join(self.names_in(names))
        return f"{self} ({known})" if known else f"{self}"

    def of(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Select the values, (T, n). Raises InspireError if there is no such column, or too few values in it."""
        if self.column not in columns:
            raise InspireError(f"there is no column {self.column!r}.{did_you_mean(self.column, columns)}")
        values = np.asarray(columns[self.column], dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if max(self.indices) >= values.shape[1]:
            raise InspireError(
                f"column {self.column!r} holds {counted(values.shape[1], 'number')}; number "
                f"{max(self.indices)} is asked for."
            )
        return values[:, list(self.indices)]


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
        positions = self.position(columns) * metres_per_unit
        if not np.isfinite(positions).any():
            raise InspireError(f"column {self.position_values.column!r} holds no finite position.")
        low, high = np.nanquantile(positions, [0.002, 0.998], axis=0)  # ignores single corrupt frames
        extent, moves = high - low, f"the end effector moves over {np.round(high - low, 2).tolist()} units"
        if extent.max() > _LARGEST_EXTENT_M:
            raise InspireError(
                f"{moves}, which cannot be metres. Say --metres-per-unit (0.001 for millimetres)."
            )
        if extent.min() > _NORMALISED:
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


# --- found by names and numbers


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
    if drives.mean() > _DRIVEN:
        warnings.warn(
            f"the robot's base drives in {drives.mean():.0%} of the frames. Positions are relative to the base, so "
            "labels are right only where it stands still.",
            stacklevel=4,
        )


def find_joints(
    joints: Sequence[str], names: Mapping[str, Sequence[str]], arm: str | None = None
) -> ColumnValues:
    """The measured values that are named as these joints of a URDF: "shoulder_pan", or LeRobot's "shoulder_pan.pos".

    Words such as "left", "arm" and "pos" may stand before and behind, see `joint_words`.

    Args:
        names: column → names of its values.
        arm: "left" or "right": only the joints of this arm.

    Raises:
        InspireError: no column of measured values has each joint once, or it has the joints of two arms.
    """
    columns = [name for name in state_and_action_columns(tuple(names)) if not is_action(name)]
    columns.sort(key=lambda name: name != "observation.state")
    short = uses_short_arms(name for column in columns for name in names[column])
    by_arm: dict[str, ColumnValues] = {}
    for column in columns:
        sides = [arm_of(name, column, short=short) for name in names[column]]
        for side in sorted(set(sides)):
            of_side = {i: name for i, name in enumerate(names[column]) if sides[i] == side}
            if indices := _joints_among(joints, of_side, side):
                by_arm.setdefault(side, ColumnValues(column, indices))
    wanted = arm or ("" if "" in by_arm or len(by_arm) != 1 else next(iter(by_arm)))
    if wanted in by_arm:
        return by_arm[wanted]
    if by_arm:
        shown = "".join(
            f"\n  {f'--arm {side}' if side else 'without --arm'}   {values.described(names)}"
            for side, values in by_arm.items()
        )
        what = "in two arms" if arm is None else f"not in an arm {arm!r}"
        raise InspireError(
            f"the joints of the URDF are found {what}. Say which arm the URDF describes:{shown}"
        )
    found = "; ".join(f"{column}: {', '.join(names[column])}" for column in columns)
    raise InspireError(
        f"the joints of the URDF, {', '.join(joints)}, are not the names of recorded values "
        f"({found or 'none has names'}). Say which values they are, in this order: --position "
        f"{columns[0] if columns else 'observation.state'}:0,1,2,…"
    )


def _joints_among(joints: Sequence[str], names: Mapping[int, str], arm: str) -> tuple[int, ...] | None:
    """The number of each joint among the values of one arm, {number: name}; None unless each is there once."""
    indices = []
    for joint in joints:
        side = arm_of(joint, "", short=False)
        same = [i for i, name in names.items() if joint_words(name) == joint_words(joint)]
        if len(same) != 1 or (side and side != arm):
            return None
        indices += same
    return tuple(indices) if len(set(indices)) == len(indices) else None


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


_UNIT_NORM = 0.02
_MIRRORED = 0.98
_LARGEST_FINGER_M = 0.15
_DELTA_CORRELATION = 0.4
_AGREES = 0.5


class _Finder:
    """Finds positions and grippers among the values of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        order = sorted(
            recording.columns, key=lambda name: (is_action(name), name != "observation.state", name)
        )
        self.columns = {column: self._values(column) for column in order}
        """The values of each column, `observation.state` first and actions last."""
        self.short = uses_short_arms(v.name for values in self.columns.values() for v in values)

    def _values(self, column: str) -> list[_Value]:
        array, names = self.recording.columns[column], tuple(self.recording.names.get(column, ()))
        size = array.shape[1] if array.ndim == 2 else 1
        if len(names) != size or (size > 1 and len(set(names)) == 1):  # openpi names all values "state"
            names = ("",) * size
        return [_Value(column, i, name, size) for i, name in enumerate(names)]

    def _arm(self, value: _Value) -> str:
        return arm_of(value.name, value.column, short=self.short)

    def numbers(self, values: ColumnValues) -> NDArray[np.float64]:
        """The total opening, 0 where it is not finite: episodes with such frames get no labels, but others do."""
        found = values.of(self.recording.columns)
        return total_opening(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0))

    # positions

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
        """Whether the first three values move as the first three values of a 7-valued action say."""
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
        command = self.numbers(values)
        if width is None:
            if is_binary(command) or neutral_value(command) is not None:
                return values, "the last value of an action takes two values"
            return None, ""
        agreement = correlation_with_width(command, self.numbers(width), self.recording.starts)
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
    left, right = values[:, 6], values[:, 7]
    if np.abs(values[:, 6:]).max() > _LARGEST_FINGER_M or min(np.ptp(left), np.ptp(right)) < 1e-4:
        return False
    return correlation(left, right) < -_MIRRORED


# --- what is said when nothing is found


def _options(positions: Sequence[_Position]) -> str:
    return "".join(f"\n  --position {position.values}   {position.why}" for position in positions)


def _not_found(missing: str, finder: _Finder, needs_gripper: bool) -> str:
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
        doubtful = [position for position in finder.candidates() if position.rank == 0]
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
