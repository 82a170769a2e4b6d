"""The unit of an arm's joints: the three that LeRobot has recorded are told apart, and lead to the same positions."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lerobot.motors.motors_bus import MotorCalibration, MotorNormMode, SerialMotorsBus

from inspire_vla.errors import InspireError
from inspire_vla.labels.forward_kinematics import ForwardKinematics
from inspire_vla.labels.joint_units import RecordedJoints
from inspire_vla.labels.motor_calibration import MotorRange, read_calibration

NAMES = ("shoulder_pan", "shoulder_lift", "elbow_flex")
LIMIT_DEGREES = (112, 101, 97)
MOTORS = {
    "shoulder_pan": MotorCalibration(1, 0, -1200, 743, 3418),
    "shoulder_lift": MotorCalibration(2, 0, 900, 801, 3205),
    "elbow_flex": MotorCalibration(3, 0, 12, 880, 3099),
}


def urdf(folder: Path, limits: bool = True) -> Path:
    """Three hinges in a row."""
    links = ("base", "a", "b", "c")
    joints = "".join(
        f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="0.1 0 0.1"/><axis xyz="0 {y} {1 - y}"/>'
        + (
            f'<limit lower="{-np.radians(d)}" upper="{np.radians(d)}" effort="1" velocity="1"/>'
            if limits
            else ""
        )
        + "</joint>"
        for name, parent, child, y, d in zip(NAMES, links, links[1:], (0, 1, 1), LIMIT_DEGREES, strict=False)
    )
    joints += (
        '<joint name="t" type="fixed"><parent link="c"/><child link="tip"/><origin xyz="0.2 0 0"/></joint>'
    )
    path = folder / "arm.urdf"
    path.write_text(
        f"<robot name='arm'>{''.join(f'<link name={n!r}/>' for n in (*links, 'tip'))}{joints}</robot>"
    )
    return path


@pytest.fixture
def arm(tmp_path: Path) -> ForwardKinematics:
    return ForwardKinematics.read(urdf(tmp_path), "tip")


def steps(frames: int = 600, motors: dict[str, MotorCalibration] = MOTORS) -> np.ndarray:
    """(T, 3) what the motors count while the arm moves through most of its range."""
    phase = np.linspace(0, 9, frames)[:, None] * [1.0, 1.3, 0.7]
    low, high = (np.array([getattr(m, f"range_{end}") for m in motors.values()]) for end in ("min", "max"))
    return np.int64((low + high) / 2 + 0.48 * (high - low) * np.sin(phase))


def recorded(
    counts: np.ndarray, mode: MotorNormMode, motors: dict[str, MotorCalibration] = MOTORS
) -> np.ndarray:
    """What LeRobot's own bus makes of these counts, as float32."""
    bus: Any = SimpleNamespace(
        calibration=motors,
        motors={name: SimpleNamespace(norm_mode=mode) for name in motors},
        apply_drive_mode=True,
        model_resolution_table={"sts3215": 4096},
        _id_to_name=lambda number: list(motors)[number - 1],
        _id_to_model=lambda number: "sts3215",
    )
    rows = (SerialMotorsBus._normalize(bus, dict(enumerate(map(int, row), 1))) for row in counts)
    return np.array([list(row.values()) for row in rows], np.float32)


def in_degrees(counts: np.ndarray) -> np.ndarray:
    return recorded(counts, MotorNormMode.DEGREES).astype(np.float64)


def old_degrees(degrees: np.ndarray) -> np.ndarray:
    """As LeRobot recorded an SO-100 until June 2025: the inverse of its page "Backward compatibility"."""
    return np.float32(np.round((degrees * [1, -1, 1] + [0, 90, 90]) * 4096 / 360) * 360 / 4096)


OLD_NAMES = [f"main_{name}" for name in NAMES]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", ["radians", "degrees", "normalized", "old-degrees"])
def test_each_unit_is_found_and_leads_to_the_same_positions(arm: ForwardKinematics, unit: str) -> None:
    degrees = in_degrees(steps())
    values, names, robot = {
        "radians": (np.radians(degrees), NAMES, ""),
        "degrees": (np.float32(degrees), NAMES, "so101_follower"),
        "normalized": (recorded(steps(), MotorNormMode.RANGE_M100_100), NAMES, "so101_follower"),
        "old-degrees": (old_degrees(degrees), OLD_NAMES, "so100"),
    }[unit]
    values = np.concatenate([values, [[np.nan, 0, 0]], [[9e3, 0, 0]]])  # frames that are damaged
    joints = RecordedJoints(arm).calibrate(values, names, robot)
    assert joints.unit == unit
    expected = arm.positions(np.radians(degrees))
    atol = 1e-3 if unit == "old-degrees" else 1e-6  # a motor's steps lie elsewhere
    np.testing.assert_allclose(joints.positions(values[:-2]), expected, atol=atol)
    given = RecordedJoints(arm, joints.unit).calibrate(values, names, robot)
    np.testing.assert_array_equal(given.positions(values[:-2]), joints.positions(values[:-2]))
    assert joints.to_json() == given.to_json()


def test_the_steps_of_the_values_tell_the_range_of_each_joint(arm: ForwardKinematics) -> None:
    values = recorded(steps(), MotorNormMode.RANGE_M100_100)
    joints = RecordedJoints(arm).calibrate(values)
    widths = [m.range_max - m.range_min for m in MOTORS.values()]
    np.testing.assert_allclose(joints.radians_per_value, np.array(widths) * np.pi / 4095 / 100, rtol=1e-12)
    assert "shoulder_pan 235°, shoulder_lift 211°, elbow_flex 195°" in joints.why


def test_a_calibration_gives_ranges_and_reversed_motors(arm: ForwardKinematics, tmp_path: Path) -> None:
    motors = {**MOTORS, "elbow_flex": MotorCalibration(3, 1, 12, 880, 3099)}
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({name: vars(motor) for name, motor in motors.items()}))
    ranges = read_calibration(file)
    assert ranges["elbow_flex"] == MotorRange(2219, reversed=True)
    few = steps()[:5]  # too few to see steps in
    values = recorded(few, MotorNormMode.RANGE_M100_100, motors)
    joints = RecordedJoints(arm, "normalized", ranges).calibrate(values)
    expected = arm.positions(np.radians(in_degrees(few)))
    np.testing.assert_allclose(joints.positions(values), expected, atol=1e-6)
    with pytest.raises(InspireError, match=r"calibration has no joint 'shoulder_lift'. It has: shoulder_pan"):
        RecordedJoints(arm, "normalized", {"shoulder_pan": ranges["shoulder_pan"]}).calibrate(values)
    twice = {f"{side}_{name}": motor for side in ("left", "right") for name, motor in ranges.items()}
    with pytest.raises(InspireError, match=r"joints left_shoulder_pan and right_shoulder_pan for"):
        RecordedJoints(arm, "normalized", twice).calibrate(values)
    with pytest.raises(InspireError, match=r"joints are in degrees .*leave out --calibration"):
        RecordedJoints(arm, motors=ranges).calibrate(in_degrees(steps()))


def test_a_joint_that_stands_still_has_the_range_of_the_urdf(tmp_path: Path) -> None:
    counts = steps()
    counts[:, 2] = counts[0, 2]
    values = recorded(counts, MotorNormMode.RANGE_M100_100)
    joints = RecordedJoints(ForwardKinematics.read(urdf(tmp_path), "tip")).calibrate(values)
    assert joints.unit == "normalized"
    assert "from the URDF's limits: elbow_flex (better: --calibration)" in joints.why
    assert joints.radians_per_value is not None
    np.testing.assert_allclose(joints.radians_per_value[2], np.radians(97) / 100)
    unlimited = ForwardKinematics.read(urdf(tmp_path, limits=False), "tip")
    with pytest.raises(InspireError, match=r"range of joint 'elbow_flex' is not known.*--calibration FILE"):
        RecordedJoints(unlimited).calibrate(values)


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_rounded_values_are_no_steps_of_motors(arm: ForwardKinematics, decimals: int) -> None:
    values = np.round(in_degrees(steps()) * 0.8, decimals)
    with pytest.raises(InspireError, match=r"degrees, or LeRobot's −100 … 100.*--joint-unit degrees or"):
        RecordedJoints(arm).calibrate(values)
    assert RecordedJoints(arm, "degrees").calibrate(values).unit == "degrees"


def test_values_beyond_a_hundred_are_degrees_and_beyond_every_limit_nothing(arm: ForwardKinematics) -> None:
    rng = np.random.default_rng(0)
    values = in_degrees(steps()) + rng.normal(0, 0.05, (600, 3))  # averaged, or simulated: no steps
    assert np.abs(values).max() > 101
    assert RecordedJoints(arm).calibrate(values).unit == "degrees"
    with pytest.raises(InspireError, match=r"neither radians nor degrees. Are they in the order of the URDF"):
        RecordedJoints(arm).calibrate(values * 20)


def test_a_given_unit_that_cannot_be_is_refused_or_doubted(arm: ForwardKinematics) -> None:
    degrees, normalized = in_degrees(steps()), recorded(steps(), MotorNormMode.RANGE_M100_100)
    for unit, refusal in (
        ("radians", r"'shoulder_pan' goes from -.* to .*radians are possible.*See what is found"),
        ("normalized", r"beyond −100 … 100"),
    ):
        with (
            pytest.warns(UserWarning, match="steps look like degrees"),
            pytest.raises(InspireError, match=refusal),
        ):
            RecordedJoints(arm, unit).calibrate(degrees)
    with pytest.warns(UserWarning, match="their steps look like −100 … 100 of each"):
        RecordedJoints(arm, "degrees").calibrate(normalized)
    noise = np.random.default_rng(0).normal(0, 0.01, (600, 3))
    with pytest.warns(UserWarning, match="are these radians"):
        RecordedJoints(arm, "degrees").calibrate(degrees / 100 * 3 + noise)
    with pytest.warns(UserWarning, match="are these degrees, from the URDF's zero"):
        RecordedJoints(arm, "degrees").calibrate(degrees * 3 + noise)
    with pytest.raises(InspireError, match="call calibrate"):
        RecordedJoints(arm).positions(degrees)
    with pytest.raises(InspireError, match="has 3 joints"):
        RecordedJoints(arm).calibrate(degrees[:, :2])


def test_old_names_of_another_robot_are_not_old_degrees(arm: ForwardKinematics) -> None:
    degrees = np.float32(in_degrees(steps()))
    assert RecordedJoints(arm).calibrate(degrees, OLD_NAMES, "koch").unit == "degrees"


def test_a_range_is_found_from_every_step_that_was_visited(arm: ForwardKinematics) -> None:
    """Of 1200 values that begin at −100, every second or third one would tell a range of half or a third as many."""
    motors = {name: MotorCalibration(i, 0, 0, 800, 3200) for i, name in enumerate(NAMES, 1)}
    counts = np.repeat(np.arange(800, 2000)[:, None], 3, axis=1)
    joints = RecordedJoints(arm).calibrate(recorded(counts, MotorNormMode.RANGE_M100_100, motors))
    np.testing.assert_allclose(joints.radians_per_value, 2400 * np.pi / 4095 / 100)


def test_a_range_whose_steps_are_round_numbers_is_found(arm: ForwardKinematics) -> None:
    motors = {**MOTORS, "shoulder_pan": MotorCalibration(1, 0, 0, 1000, 3000)}  # steps of 0.1
    joints = RecordedJoints(arm).calibrate(
        recorded(steps(motors=motors), MotorNormMode.RANGE_M100_100, motors)
    )
    assert joints.radians_per_value is not None
    np.testing.assert_allclose(joints.radians_per_value[0], 2000 * np.pi / 4095 / 100)


OTHER = {name: MotorCalibration(m.id, 0, 0, m.range_min - 20, m.range_max + 31) for name, m in MOTORS.items()}
"""The same arm, calibrated again."""


def test_merged_recordings_of_two_calibrations(arm: ForwardKinematics) -> None:
    degrees, normalized = (
        np.concatenate([recorded(steps(), mode), recorded(steps(motors=OTHER), mode, OTHER)])
        for mode in (MotorNormMode.DEGREES, MotorNormMode.RANGE_M100_100)
    )
    assert RecordedJoints(arm).calibrate(degrees).unit == "degrees"  # the middles are half a step apart
    both = np.concatenate([degrees, normalized])  # beyond 100, and within the limits in degrees
    for values in (normalized, both):
        with pytest.raises(InspireError, match=r"some values of shoulder_pan, .* were merged"):
            RecordedJoints(arm).calibrate(values)
    joints = RecordedJoints(arm, "normalized").calibrate(normalized)
    assert "URDF's limits: shoulder_pan, shoulder_lift, elbow_flex" in joints.why


def test_a_calibration_of_another_arm_is_refused(arm: ForwardKinematics) -> None:
    values = recorded(steps(), MotorNormMode.RANGE_M100_100)
    ranges = {name: MotorRange(m.range_max - m.range_min) for name, m in OTHER.items()}
    with pytest.raises(InspireError, match=r"'shoulder_pan' a range of 2726 steps, and its values tell 2675"):
        RecordedJoints(arm, motors=ranges).calibrate(values)


@pytest.mark.parametrize("width", [3500, 1000])
def test_a_range_that_the_arm_cannot_have_is_doubted(arm: ForwardKinematics, width: int) -> None:
    """As of values that were averaged in pairs, or of another joint."""
    motors = {**MOTORS, "shoulder_pan": MotorCalibration(1, 0, 0, 300, 300 + width)}
    values = recorded(steps(motors=motors), MotorNormMode.RANGE_M100_100, motors)
    with pytest.warns(UserWarning, match=r"'shoulder_pan' tell a range of .* and the URDF's is 224°"):
        RecordedJoints(arm).calibrate(values)


def test_the_grid_of_old_degrees_without_old_names(arm: ForwardKinematics) -> None:
    """Two arms were named left_shoulder_lift, …, without main."""
    values = old_degrees(in_degrees(steps()))
    assert RecordedJoints(arm).calibrate(values, NAMES, "so100").unit == "old-degrees"
    with pytest.raises(InspireError, match=r"1/4096 of a turn.*--joint-unit old-degrees for"):
        RecordedJoints(arm).calibrate(values, NAMES, "unknown")
    with pytest.warns(UserWarning, match="steps look like degrees of LeRobot's calibration until June 2025"):
        RecordedJoints(arm, "degrees").calibrate(values)


@pytest.mark.parametrize("mode", [MotorNormMode.DEGREES, MotorNormMode.RANGE_M100_100])
def test_a_urdf_with_another_zero_than_lerobots_is_refused(tmp_path: Path, mode: MotorNormMode) -> None:
    """so100.urdf and so101_old_calib.urdf have their zero at an end of the range."""
    path = urdf(tmp_path)
    limit, other = (f'lower="{-np.radians(101) + x}" upper="{np.radians(101) + x}"' for x in (0.0, 1.7))
    path.write_text(path.read_text().replace(limit, other))
    joints = ForwardKinematics.read(path, "tip")
    with pytest.raises(InspireError, match=r"'shoulder_lift' of the URDF goes from -4° to 198°.*new_calib"):
        RecordedJoints(joints).calibrate(recorded(steps(), mode))
    unit = "degrees" if mode is MotorNormMode.DEGREES else "normalized"
    with pytest.warns(UserWarning, match="zero is not in the middle"):
        RecordedJoints(joints, unit).calibrate(recorded(steps(), mode))


def test_a_tip_that_moves_with_the_gripper_is_refused(tmp_path: Path) -> None:
    path = urdf(tmp_path)
    path.write_text(path.read_text().replace("elbow_flex", "gripper"))
    with pytest.raises(InspireError, match=r"'tip' moves with joint 'gripper'.*--tip b\."):
        RecordedJoints(ForwardKinematics.read(path, "tip")).calibrate(in_degrees(steps()))


@pytest.mark.filterwarnings("error")
def test_small_motions_in_radians_are_no_steps_of_a_range(arm: ForwardKinematics) -> None:
    """Some range of a few hundred steps has one near all of these values."""
    values = 0.7 + np.arange(12)[:, None] * [1, -1, 1] * 2 * np.pi / 4096
    assert RecordedJoints(arm).calibrate(values).unit == "radians"


@pytest.mark.filterwarnings("error")
def test_corrupt_frames_count_little_where_a_joint_moves_little(arm: ForwardKinematics) -> None:
    values = recorded(
        np.array([2000, 2000, 2000]) + np.arange(4000)[:, None] % 20, MotorNormMode.RANGE_M100_100
    )
    values[::400] += np.random.default_rng(0).normal(0, 500, (10, 3))
    assert RecordedJoints(arm).calibrate(values).unit == "normalized"


@pytest.mark.parametrize("lowest", [-1, 0])
def test_values_that_were_scaled_for_a_policy_are_no_radians(arm: ForwardKinematics, lowest: int) -> None:
    degrees = in_degrees(steps())
    share = (degrees - degrees.min(axis=0)) / np.ptp(degrees, axis=0)
    with pytest.raises(InspireError, match=r"scaled for a policy.*as they were recorded"):
        RecordedJoints(arm).calibrate(np.float32(lowest + (1 - lowest) * share))
