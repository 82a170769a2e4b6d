"""The unit in which a dataset records an arm's joints, and how its values become radians from the URDF's zero.

LeRobot has recorded an SO-100 and an SO-101 in three ways:

- until June 2025 in degrees, zero where the arm is stretched out: "old-degrees", with names such as `main_elbow_flex`;
- then in −100 … 100 of each joint's own range (`use_degrees=false`): "normalized";
- today in degrees, zero in the middle of the range (`use_degrees=true`): "degrees".

A motor counts whole steps, so recorded values lie on a grid. The grid tells degrees from −100 … 100, and the width of a
joint's range. Sources: LeRobot's `MotorsBus._normalize`, and its page "Backward compatibility".
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.labels.forward_kinematics import ForwardKinematics
from inspire_vla.labels.value_names import joint_words, words_of

JointUnit = Literal["radians", "degrees", "normalized", "old-degrees"]
_SHOWN: dict[JointUnit, str] = {
    "radians": "radians",
    "degrees": "degrees",
    "normalized": "−100 … 100 of each joint's range",
    "old-degrees": "degrees of LeRobot's calibration until June 2025",
}
"""The units, for a person."""
_OLD_ZERO_DEGREES = {("shoulder", "lift"): (-1.0, 90.0), ("elbow", "flex"): (1.0, 90.0)}
"""Old degrees: the words of a joint → its sign, and the old value at today's zero."""
_OLD_ROBOTS = ("so100", "so101")
_STEPS_OF_A_TURN = (4095, 4096)
"""LeRobot divides a turn by 4095, and did by 4096."""
_SMALLEST_RANGE, _MOST_VALUES = 100, 500
_FEWEST_VALUES = 8
"""Different values that a joint must have for its grid to be seen."""
_OFF_GRID, _ON_GRID = 0.02, 0.98
"""Largest distance from a step, in steps; share of the values within it, so that single corrupt frames count little."""
_ZERO_OFFSET = 1.0
"""Radians by which a robot's zero may differ from the URDF's. Values further outside the limits mean another unit."""
_STILL = 0.12
"""Radians. A robot that stays this close to zero in all joints does not move: the values were not degrees."""
_UNLIMITED = (-4 * np.pi, 4 * np.pi)
"""Radians: two turns, the range assumed for a joint without limits."""
_LARGEST_CALIBRATION = 1024 * 1024
"""Bytes of a calibration file."""


class MotorRange(NamedTuple):
    """What LeRobot's calibration says of a motor. steps: width of its range. reversed: `drive_mode`."""

    steps: int
    reversed: bool = False


def read_calibration(path: str | Path) -> dict[str, MotorRange]:
    """Read the file that `lerobot-calibrate` writes: joint → range.

    Raises:
        InspireError: it cannot be read, or is no such file.
    """
    try:
        if Path(path).stat().st_size > _LARGEST_CALIBRATION:
            raise ValueError("it is too large")
        motors = json.loads(Path(path).read_bytes())
        ranges = {
            str(name): MotorRange(
                int(motor["range_max"]) - int(motor["range_min"]), bool(int(motor["drive_mode"]))
            )
            for name, motor in motors.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InspireError(
            f"{path} is not a calibration that lerobot-calibrate writes: {reason_of(error)}."
        ) from None
    if not ranges or any(motor.steps <= 0 for motor in ranges.values()):
        raise InspireError(f"{path} gives no range, or an empty one.")
    return ranges


@dataclass(frozen=True, eq=False)
class RecordedJoints:
    """The joints of an arm as a dataset records them. `calibrate` finds what was not given.

    unit: None until it is found. motors: joint → range, of LeRobot's calibration. why: how the unit was found.
    radians_per_value, zeros: (n,), a joint's angle is radians_per_value · (value − zeros); metres where it slides.
    """

    kinematics: ForwardKinematics
    unit: JointUnit | None = None
    motors: Mapping[str, MotorRange] = field(default_factory=dict)
    why: str = "given"
    radians_per_value: NDArray[np.float64] | None = None
    zeros: NDArray[np.float64] | None = None

    def positions(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(T, n) recorded values → (T, 3) metres, robot base frame: the tip."""
        return self.kinematics.positions(self._radians(values))

    def calibrate(
        self, values: NDArray[np.floating], names: Sequence[str] = (), robot_type: str = ""
    ) -> Self:
        """Find the unit, and the joints' ranges where it needs them.

        Args:
            values: (T, n) of all frames. names: of the n values, where they have names.

        Raises:
            InspireError: the values can be of two units, or of none; or a range is unknown.
        """
        if self.radians_per_value is not None:
            return self
        numbers = self.kinematics.joint_values(values)
        numbers = numbers[np.isfinite(numbers).all(axis=1)]
        hinges = np.flatnonzero(self.kinematics.is_hinge)
        steps = _Steps.of(numbers[:, hinges])
        if self.unit is None:
            unit, why = self._find_unit(numbers, hinges, steps, names, robot_type)
        else:
            unit, why = self.unit, self.why
            self._doubt(unit, steps)
        if self.motors and unit != "normalized":
            raise InspireError(
                f"the joints are in {_SHOWN[unit]} ({why}). A calibration is for joints in −100 … 100: leave out "
                "--calibration."
            )
        scale, zeros = np.ones(numbers.shape[1]), np.zeros(numbers.shape[1])
        if unit in ("degrees", "old-degrees"):
            scale[hinges] = np.pi / 180
        if unit == "old-degrees":
            scale, zeros = self._old_zeros(scale, zeros)
        elif unit == "normalized":
            scale[hinges], ranges = self._half_ranges(hinges, steps)
            why = f"{why}; {ranges}"
        known = replace(self, unit=unit, why=why, radians_per_value=scale, zeros=zeros)
        known._check(numbers, hinges)
        return known

    @property
    def shown_unit(self) -> str:
        """The unit, for a person."""
        return _SHOWN[self.unit] if self.unit else "a unit that is not known"

    def to_json(self) -> dict[str, str | list[float] | None]:
        """Everything on which positions depend."""
        scale, zeros = self.radians_per_value, self.zeros
        return {
            "urdf_sha256": self.kinematics.digest,
            "tip": self.kinematics.tip,
            "unit": self.unit,
            "radians_per_value": None if scale is None else scale.tolist(),
            "zeros": None if zeros is None else zeros.tolist(),
        }

    def _radians(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        if self.radians_per_value is None or self.zeros is None:
            raise InspireError("the unit of the joints is not known: call calibrate() first.")
        return (self.kinematics.joint_values(values) - self.zeros) * self.radians_per_value

    def _find_unit(
        self,
        values: NDArray[np.float64],
        hinges: NDArray[np.intp],
        steps: "_Steps",
        names: Sequence[str],
        robot_type: str,
    ) -> tuple[JointUnit, str]:
        """The unit, and how it was found: by the values' names, their steps, or how far they go."""
        if robot_type in _OLD_ROBOTS and names and all("main" in words_of(name) for name in names):
            return "old-degrees", f"named {names[0]}, …, as LeRobot did until June 2025"
        if steps.unit is not None:
            return steps.unit, f"the values go in steps of LeRobot's motors, in {_SHOWN[steps.unit]}"
        if not len(values) or not len(hinges) or self._outside(values) is None:
            return "radians", "no joint goes beyond the URDF's limits in radians"
        largest = float(np.quantile(np.abs(values[:, hinges]), 0.99, axis=0).max())
        if largest <= 100 and not self._slides:
            raise InspireError(
                f"the joints go from {self._extents(values, hinges)}. These can be degrees, or LeRobot's −100 … 100. "
                "Say which: --joint-unit degrees or --joint-unit normalized."
            )
        in_degrees = np.where(self.kinematics.is_hinge, np.pi / 180, 1.0) * values
        if self._outside(in_degrees) is None:
            return "degrees", f"values go to {largest:.4g}"
        raise InspireError(
            f"the joints go from {self._extents(values, hinges)}. Within the URDF's limits these are neither "
            f"radians nor degrees. Are they in the order of the URDF, {', '.join(self.kinematics.joint_names)}? The "
            f"unit can be said, too: --joint-unit {'|'.join(get_args(JointUnit))}."
        )

    @property
    def _slides(self) -> bool:
        return not self.kinematics.is_hinge.all()

    def _extents(self, values: NDArray[np.float64], hinges: NDArray[np.intp]) -> str:
        low, high = np.quantile(values[:, hinges], [0.01, 0.99], axis=0)
        return ", ".join(
            f"{a:.4g} to {b:.4g} ({self.kinematics.joint_names[joint]})"
            for a, b, joint in zip(low, high, hinges, strict=True)
        )

    def _doubt(self, unit: JointUnit, steps: "_Steps") -> None:
        """Warn where the values' steps say another unit than the given one."""
        given = "degrees" if unit == "old-degrees" else unit
        if steps.unit is not None and steps.unit != given:
            warnings.warn(
                f"the joints are read as {_SHOWN[unit]}, and their steps look like {_SHOWN[steps.unit]}: labels may be "
                "wrong. Leave out --joint-unit, and the unit is found.",
                stacklevel=4,
            )

    def _old_zeros(
        self, scale: NDArray[np.float64], zeros: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Signs and zeros of LeRobot's old calibration of an SO-100 and SO-101."""
        words = [joint_words(name) for name in self.kinematics.joint_names]
        for joint, (sign, zero) in _OLD_ZERO_DEGREES.items():
            if joint not in words:
                raise InspireError(
                    f"old degrees are those of an SO-100 or SO-101, and the URDF has no joint {'_'.join(joint)!r}: "
                    f"{', '.join(self.kinematics.joint_names)}."
                )
            scale[words.index(joint)] *= sign
            zeros[words.index(joint)] = zero
        return scale, zeros

    def _half_ranges(self, hinges: NDArray[np.intp], steps: "_Steps") -> tuple[NDArray[np.float64], str]:
        """Radians per unit of −100 … 100 for each hinge, and where the ranges come from."""
        names = self.kinematics.joint_names
        if self._slides:
            sliding = [name for name, hinge in zip(names, self.kinematics.is_hinge, strict=True) if not hinge]
            raise InspireError(f"a joint that slides has no range in −100 … 100: {', '.join(sliding)}.")
        by_words = {joint_words(name): motor for name, motor in self.motors.items()}
        half_turns, of_urdf = np.empty(len(hinges)), []
        for i, joint in enumerate(hinges):
            motor = by_words.get(joint_words(names[joint]))
            if self.motors and motor is None:
                raise InspireError(
                    f"the calibration has no joint {names[joint]!r}. It has: {', '.join(self.motors)}."
                )
            if motor is None and steps.ranges[i]:
                motor = MotorRange(steps.ranges[i])
            if motor is not None:
                half_turns[i] = (-1 if motor.reversed else 1) * motor.steps * np.pi / _STEPS_OF_A_TURN[0]
                continue
            low, high = self.kinematics.limits[joint]
            if not np.isfinite(high - low):
                raise InspireError(
                    f"the range of joint {names[joint]!r} is not known: its values do not tell, and the URDF has no "
                    "limits. Give LeRobot's calibration of the arm: --calibration FILE."
                )
            half_turns[i] = (high - low) / 2
            of_urdf.append(names[joint])
        if self.motors:
            return half_turns / 100, "ranges from the calibration"
        told = [
            f"{names[joint]} {2 * np.degrees(half):.0f}°"
            for joint, half in zip(hinges, half_turns, strict=True)
            if names[joint] not in of_urdf
        ]
        said = [f"the steps tell the ranges: {', '.join(told)}"] if told else []
        said += [f"from the URDF's limits: {', '.join(of_urdf)} (better: --calibration)"] if of_urdf else []
        return half_turns / 100, "; ".join(said)

    def _outside(self, radians: NDArray[np.float64]) -> int | None:
        """The first hinge that goes far beyond its limits. (T, n) radians."""
        low, high = np.quantile(radians, [0.01, 0.99], axis=0)  # ignores single corrupt frames
        for joint in np.flatnonzero(self.kinematics.is_hinge):
            limits = self._limits(joint)
            if low[joint] < limits[0] - _ZERO_OFFSET or high[joint] > limits[1] + _ZERO_OFFSET:
                return int(joint)
        return None

    def _limits(self, joint: int) -> tuple[float, float]:
        low, high = self.kinematics.limits[joint]
        return (low, high) if np.isfinite(high - low) else _UNLIMITED

    def _check(self, values: NDArray[np.float64], hinges: NDArray[np.intp]) -> None:
        """Compare the values with the joints' limits. Warns, or raises InspireError, where the unit must be wrong."""
        if not len(values) or not len(hinges):
            return
        assert self.unit is not None
        radians = self._radians(values)
        if self.unit == "normalized":
            low, high = np.quantile(values, [0.01, 0.99], axis=0)
            for joint in hinges:
                if low[joint] < -100.5 or high[joint] > 100.5:
                    raise InspireError(
                        f"joint {self.kinematics.joint_names[joint]!r} goes from {low[joint]:.4g} to "
                        f"{high[joint]:.4g}, beyond −100 … 100. Leave out --joint-unit, and the unit is found."
                    )
        elif (joint := self._outside(radians)) is not None:
            unit = 1.0 if self.unit == "radians" else np.pi / 180
            low, high = np.quantile(radians[:, joint], [0.01, 0.99]) / unit
            possible = " to ".join(f"{limit / unit:.4g}" for limit in self._limits(joint))
            found = (
                f"joint {self.kinematics.joint_names[joint]!r} goes from {low:.4g} to {high:.4g}, and {possible} "
                f"{'radians' if self.unit == 'radians' else 'degrees'} are possible"
            )
            if self.unit == "radians":
                raise InspireError(f"{found}. Leave out --joint-unit, and the unit is found.")
            warnings.warn(
                f"{found}: are these {_SHOWN[self.unit]}, from the URDF's zero? Labels may be wrong.",
                stacklevel=4,
            )
        if self.unit == "degrees" and np.abs(radians[:, hinges]).max() < _STILL:
            warnings.warn(
                "no joint goes further than 7 degrees from zero: are these radians? Then say --joint-unit radians.",
                stacklevel=4,
            )


class _Steps(NamedTuple):
    """What the grid of the values says. unit: None where it says nothing. ranges: of each hinge in steps, 0 unknown."""

    unit: JointUnit | None
    ranges: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """(T, n) values of hinges."""
        in_degrees, ranges, tell = [], [], []
        for column in values.T:
            distinct = np.unique(column)
            distinct = distinct[:: -(-len(distinct) // _MOST_VALUES) or 1]
            tells = len(distinct) >= _FEWEST_VALUES
            tell.append(tells)
            in_degrees.append(tells and _goes_in_degrees(distinct))
            ranges.append(_range_in_steps(distinct) if tells else 0)
        silent = tuple(0 for _ in ranges)
        if not any(tell):
            return cls(None, silent)
        if all(degrees or not tells for degrees, tells in zip(in_degrees, tell, strict=True)):
            return cls("degrees", silent)
        if all(steps or not tells for steps, tells in zip(ranges, tell, strict=True)):
            return cls("normalized", tuple(ranges))
        return cls(None, tuple(ranges))


def _goes_in_degrees(values: NDArray[np.float64]) -> bool:
    """Whether values are whole steps of a motor from a middle, in degrees; a middle may be half a step."""
    for turn in _STEPS_OF_A_TURN:
        halves = values * turn / 180
        near = np.abs(halves - np.round(halves)) < _OFF_GRID
        odd = np.round(halves[near]) % 2
        if near.mean() >= _ON_GRID and max(odd.mean(), 1 - odd.mean()) >= _ON_GRID:
            return True
    return False


def _range_in_steps(values: NDArray[np.float64]) -> int:
    """The width in steps of a range of which these are −100 … 100; 0 where it cannot be seen."""
    hundredths = values * 100
    if np.mean(np.abs(hundredths - np.round(hundredths)) < _OFF_GRID) >= _ON_GRID:
        return 0  # rounded, which makes a grid too
    if np.mean(np.abs(values) < 100.01) < _ON_GRID:
        return 0
    widths = np.arange(_SMALLEST_RANGE, max(_STEPS_OF_A_TURN) + 1)
    steps = np.outer(widths, (values + 100) / 200)
    fits = np.mean(np.abs(steps - np.round(steps)) < _OFF_GRID, axis=1) >= _ON_GRID
    return int(widths[fits.argmax()]) if fits.any() else 0
