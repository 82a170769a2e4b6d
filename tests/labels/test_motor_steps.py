"""The grid of recorded values tells the unit and the range of a joint, and says nothing where there is none."""

import numpy as np
import pytest

from inspire_vla.labels.motor_steps import MotorSteps, half_range

COUNTS = np.stack([np.arange(-900, 900, 3), np.roll(np.arange(-600, 600, 2), 7)], axis=1)


@pytest.mark.parametrize(("unit", "turn"), [("degrees", 4095), ("old-degrees", 4096)])
def test_steps_of_a_turn_tell_degrees(unit: str, turn: int) -> None:
    assert MotorSteps.of(COUNTS * 360 / turn) == (unit, (0, 0), ())


def test_steps_of_a_range_tell_its_width() -> None:
    widths = np.array([2675, 2404])
    found = MotorSteps.of(np.stack([np.arange(w + 1)[:2400] for w in widths], axis=1) / widths * 200 - 100)
    assert found == ("normalized", tuple(widths), ())
    assert half_range(4095) == pytest.approx(np.pi)


def test_numbers_between_the_steps_and_few_numbers_tell_nothing() -> None:
    noise = np.random.default_rng(0).uniform(-90, 90, (500, 2))
    assert MotorSteps.of(noise).unit is None
    assert MotorSteps.of(COUNTS[:5] * 360 / 4095).unit is None
    assert MotorSteps.of(np.round(noise, 1)).unit is None  # rounded numbers are a grid too
