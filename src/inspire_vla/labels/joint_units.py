"""The unit in which a dataset records an arm's joints, and how its values become radians from the URDF's zero.

LeRobot has recorded an SO-100 and an SO-101 in three ways:

- until June 2025 in degrees, zero where the arm is stretched out: "old-degrees", with names such as `main_elbow_flex`;
- then in −100 … 100 of each joint's own range (`use_degrees=false`): "normalized";
- today in degrees, zero in the middle of the range (`use_degrees=true`): "degrees".

The steps of the motors tell the three apart, see motor_steps.py. Source: LeRobot's page "Backward compatibility".
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.forward_kinematics import ForwardKinematics
from inspire_vla.labels.motor_calibration import MotorRange
from inspire_vla.labels.motor_steps import MotorSteps, half_range
from inspire_vla.labels.value_names import is_opening, joint_words, words_of

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
_LIKELY_RANGE = (0.5, 1.3)
"""A joint's range that the steps tell, as a share of the URDF's. Without every second step it looks half as wide, and
twice as wide if values were averaged. A motor that turns freely has 4095 steps, whatever the URDF says."""
_FREE_RANGE = 4095
_SAME_RANGE = 0.003
"""Share by which a range that the steps of a small motion tell may be wrong."""
_ZERO_OFFSET = 1.0
"""Radians by which a robot's zero may differ from the URDF's. Values further outside the limits mean another unit."""
_OFF_CENTRE = 0.5
"""Radians by which a joint's zero in the URDF may be beside the middle of its limits, where LeRobot's zero is."""
_STILL = 0.12
"""Radians. A robot that stays this close to zero in all joints does not move: the values were not degrees."""
_UNLIMITED = (-4 * np.pi, 4 * np.pi)
"""Radians: two turns, the range assumed for a joint without limits."""


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
        self._refuse_gripper(numbers, hinges)
        steps = MotorSteps.of(numbers[:, hinges])
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
        if unit in ("normalized", "old-degrees") or unit == steps.unit:  # not degrees from the URDF's zero
            self._compare_zeros(unit, hinges)
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

    def _refuse_gripper(self, values: NDArray[np.float64], hinges: NDArray[np.intp]) -> None:
        """LeRobot records a gripper in 0 … 100, which is no angle."""
        for joint in hinges:
            name = self.kinematics.joint_names[joint]
            if len(values) and is_opening(name, "") and np.abs(values[:, joint]).max() > 2 * np.pi:
                raise InspireError(
                    f"{self.kinematics.tip!r} moves with joint {name!r}, and the gripper's values are no angles in "
                    f"radians. Take a link before that joint: --tip {self.kinematics.link_before(int(joint))}."
                )

    def _find_unit(
        self,
        values: NDArray[np.float64],
        hinges: NDArray[np.intp],
        steps: MotorSteps,
        names: Sequence[str],
        robot_type: str,
    ) -> tuple[JointUnit, str]:
        """The unit, and how it was found: by the values' names, their steps, or how far they go."""
        is_old = robot_type in _OLD_ROBOTS and names and all("main" in words_of(name) for name in names)
        if is_old and steps.unit is None:
            return "old-degrees", f"named {names[0]}, …, as LeRobot did until June 2025"
        if steps.unit == "old-degrees" and robot_type not in _OLD_ROBOTS:
            raise InspireError(
                "the joints go in degrees and in steps of 1/4096 of a turn, as LeRobot recorded until June 2025, with "
                "other zeros than today. Say which: --joint-unit old-degrees for an SO-100 or SO-101, or --joint-unit "
                "degrees if zero is the URDF's."
            )
        if steps.unit is not None:
            return steps.unit, f"the values go in steps of LeRobot's motors, in {_SHOWN[steps.unit]}"
        if not len(values) or not len(hinges) or self._outside(values) is None:
            if len(values) and len(hinges) > 1 and _is_scaled(values[:, hinges]):
                raise InspireError(
                    "each joint goes from −1 or 0 to exactly 1: the values were scaled for a policy. Labels need the "
                    "joints as they were recorded. If they are radians: --joint-unit radians."
                )
            return "radians", "no joint goes beyond the URDF's limits in radians"
        if steps.mixed:
            joints = ", ".join(self.kinematics.joint_names[hinges[i]] for i in steps.mixed)
            raise InspireError(
                f"some values of {joints} go in steps of a motor, and others do not fit them. Perhaps recordings of "
                "two arms, calibrations or units were merged, or values were averaged. Label the recordings one by "
                "one. If all are in one unit, say --joint-unit. In −100 … 100 the ranges are then those of "
                "--calibration or of the URDF, and positions are less exact."
            )
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

    def _doubt(self, unit: JointUnit, steps: MotorSteps) -> None:
        """Warn where the values' steps say another unit than the given one."""
        if steps.unit is not None and steps.unit != unit:
            warnings.warn(
                f"the joints are read as {_SHOWN[unit]}, and their steps look like {_SHOWN[steps.unit]}: labels may be "
                "wrong. See what is found without --joint-unit.",
                stacklevel=4,
            )

    def _compare_zeros(self, unit: JointUnit, hinges: NDArray[np.intp]) -> None:
        """Refuse a URDF with another zero than LeRobot's, which is in the middle of a joint's range."""
        for joint in hinges:
            low, high = self.kinematics.limits[joint]
            if abs(low + high) / 2 > _OFF_CENTRE:
                found = (
                    f"joint {self.kinematics.joint_names[joint]!r} of the URDF goes from {np.degrees(low):.0f}° to "
                    f"{np.degrees(high):.0f}°. Its zero is not in the middle, and LeRobot's is. Give a URDF with "
                    "LeRobot's zeros: so101_new_calib.urdf for an SO-100 or SO-101."
                )
                if self.unit is None:
                    raise InspireError(f"{found} If they are the same all the same: --joint-unit {unit}.")
                warnings.warn(f"{found} Labels may be wrong.", stacklevel=4)

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

    def _half_ranges(self, hinges: NDArray[np.intp], steps: MotorSteps) -> tuple[NDArray[np.float64], str]:
        """Radians per unit of −100 … 100 for each hinge, and where the ranges come from."""
        names = self.kinematics.joint_names
        if self._slides:
            sliding = [name for name, hinge in zip(names, self.kinematics.is_hinge, strict=True) if not hinge]
            raise InspireError(f"a joint that slides has no range in −100 … 100: {', '.join(sliding)}.")
        half_turns, of_urdf = np.empty(len(hinges)), []
        for i, joint in enumerate(hinges):
            low, high = self.kinematics.limits[joint]
            if self.motors:
                motor = self._motor(names[joint], steps.ranges[i])
                half_turns[i] = (-1 if motor.reversed else 1) * half_range(motor.steps)
            elif steps.ranges[i]:
                half_turns[i] = half_range(steps.ranges[i])
                share = 2 * half_turns[i] / (high - low)
                if share < _LIKELY_RANGE[0] or (share > _LIKELY_RANGE[1] and steps.ranges[i] < _FREE_RANGE):
                    warnings.warn(
                        f"the steps of joint {names[joint]!r} tell a range of {np.degrees(2 * half_turns[i]):.0f}°, "
                        f"and the URDF's is {np.degrees(high - low):.0f}°. Were values averaged, or is it another "
                        "joint? Labels may be wrong. --calibration gives the range.",
                        stacklevel=4,
                    )
            elif np.isfinite(high - low):
                half_turns[i] = (high - low) / 2
                of_urdf.append(names[joint])
            else:
                raise InspireError(
                    f"the range of joint {names[joint]!r} is not known: its values do not tell, and the URDF has no "
                    "limits. Give LeRobot's calibration of the arm: --calibration FILE."
                )
        if self.motors:
            return half_turns / 100, "ranges from the calibration"
        by_steps = [
            f"{names[joint]} {2 * np.degrees(half):.0f}°"
            for joint, half in zip(hinges, half_turns, strict=True)
            if names[joint] not in of_urdf
        ]
        said = [f"the steps tell the ranges: {', '.join(by_steps)}"] if by_steps else []
        said += [f"from the URDF's limits: {', '.join(of_urdf)} (better: --calibration)"] if of_urdf else []
        return half_turns / 100, "; ".join(said)

    def _motor(self, joint: str, steps: int) -> MotorRange:
        """A joint's motor in the calibration. steps: the range that its values tell, 0 unknown."""
        same = [name for name in self.motors if joint_words(name) == joint_words(joint)]
        if len(same) != 1:
            found = f"joints {' and '.join(same)} for" if same else "no joint"
            raise InspireError(f"the calibration has {found} {joint!r}. It has: {', '.join(self.motors)}.")
        motor = self.motors[same[0]]
        ratio = max(steps, motor.steps) / min(steps or motor.steps, motor.steps)
        if abs(ratio - round(ratio)) > _SAME_RANGE:  # 2: without every second step
            raise InspireError(
                f"the calibration gives joint {joint!r} a range of {motor.steps} steps, and its values tell {steps}. "
                "It is of another arm, or newer. Leave out --calibration, and the ranges are found."
            )
        return motor

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
                raise InspireError(f"{found}. See what is found without --joint-unit.")
            warnings.warn(
                f"{found}: are these {_SHOWN[self.unit]}, from the URDF's zero? Labels may be wrong.",
                stacklevel=4,
            )
        if self.unit == "degrees" and np.abs(radians[:, hinges]).max() < _STILL:
            warnings.warn(
                "no joint goes further than 7 degrees from zero: are these radians? Then say --joint-unit radians.",
                stacklevel=4,
            )


def _is_scaled(values: NDArray[np.float64]) -> bool:
    """Whether every column has the smallest value −1, or every one 0, and the largest 1."""
    low, high = values.min(axis=0), values.max(axis=0)
    return np.allclose(high, 1, atol=1e-4) and bool(
        np.ptp(low) < 1e-4 and np.isin(np.round(low[0], 4), (-1, 0))
    )
