"""The calibration of an arm's motors, as `lerobot-calibrate` writes it."""

import json
from pathlib import Path
from typing import NamedTuple

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.labels.motor_steps import LARGEST_RANGE

_LARGEST_CALIBRATION = 1024 * 1024
"""Bytes of a calibration file."""


class MotorRange(NamedTuple):
    """What a calibration says of a motor. steps: width of its range. reversed: `drive_mode`."""

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
    wrong = [name for name, motor in ranges.items() if not 0 < motor.steps <= LARGEST_RANGE]
    if not ranges or wrong:
        raise InspireError(
            f"{path} gives {', '.join(wrong) or 'no joint'} no range of 1 to {LARGEST_RANGE} steps."
        )
    return ranges
