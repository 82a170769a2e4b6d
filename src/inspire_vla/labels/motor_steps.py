"""The steps of an arm's motors, as recorded values show them.

A motor counts whole steps, so recorded values lie on a grid. Its spacing tells the unit in which LeRobot recorded a
joint, and in −100 … 100 the width of the joint's range. Source: LeRobot's `MotorsBus._normalize`.
"""

from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

MotorUnit = Literal["degrees", "normalized", "old-degrees"]
"""The units in which LeRobot has recorded joints, see joint_units.py."""
_STEPS_OF_A_TURN: dict[MotorUnit, int] = {"degrees": 4095, "old-degrees": 4096}
"""By what LeRobot divides a turn, and did until June 2025."""
_SMALLEST_RANGE, LARGEST_RANGE = 100, 4096
"""Widths of a joint's range, in steps."""
_MOST_VALUES = 500
"""Different values of a joint that are looked at."""
_FEWEST_VALUES = 8
"""Different values that a joint must have for its grid to be seen."""
_OFF_GRID, _ON_GRID = 0.02, 0.98
"""Largest distance from a step, in steps; share of the values within it, so that single corrupt frames count little."""
_CLOSEST = 0.2
"""Steps between neighbours on the average. Merged recordings have several values in a step, and noise many more."""
_MIXED, _FEWEST_MIXED = 0.25, 50
"""Share on one grid, of at least so many different values, above which some are on it and others are not."""


class MotorSteps(NamedTuple):
    """What the grid of an arm's values says. unit: None where it says nothing.

    ranges: of each hinge in steps, 0 unknown. mixed: hinges of which only some values are on a grid.
    """

    unit: MotorUnit | None
    ranges: tuple[int, ...]
    mixed: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """Read the grid of the values of n hinges, (T, n), as they were recorded."""
        columns = [_distinct(column) for column in values.T]
        tell = [i for i, column in enumerate(columns) if len(column) >= _FEWEST_VALUES]
        unknown, ranges = (0,) * len(columns), [0] * len(columns)
        if all(_on_grid(columns[i] * 100) >= _ON_GRID for i in tell):
            return cls(None, unknown)  # none that tells, or all rounded, which makes a grid too
        shares = [0.0] * len(columns)
        for unit, turn in _STEPS_OF_A_TURN.items():
            # half steps, because the middle of a range may be one
            of_unit = {i: float(_on_grid(columns[i] * turn / 180)) for i in tell}
            if min(of_unit.values()) >= _ON_GRID:
                return cls(unit, unknown)
            shares = [max(share, of_unit.get(i, 0.0)) for i, share in enumerate(shares)]
        for i in tell:
            width, share = _range_in_steps(columns[i])
            ranges[i] = width if share >= _ON_GRID else 0
            shares[i] = max(shares[i], share)
        if all(ranges[i] for i in tell):
            return cls("normalized", tuple(ranges))
        mixed = (i for i in tell if _MIXED < shares[i] < _ON_GRID and len(columns[i]) >= _FEWEST_MIXED)
        return cls(None, unknown, tuple(mixed))


def _distinct(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most `_MOST_VALUES` different ones, drawn: every second step would look like a range of half as many."""
    if len(values):  # corrupt frames are most often far away
        low, high = np.quantile(values, 0.005, method="lower"), np.quantile(values, 0.995, method="higher")
        values = values[(values >= low) & (values <= high)]
    found = np.unique(values)
    if len(found) <= _MOST_VALUES:
        return found
    return np.random.default_rng(0).choice(found, _MOST_VALUES, replace=False)


def _on_grid(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, n) → (…): the share of whole numbers; 0 where the n lie too close together to be different ones."""
    if not steps.size:
        return np.zeros(steps.shape[:-1])
    share = np.mean(np.abs(steps - np.round(steps)) < _OFF_GRID, axis=-1)
    return np.where(np.ptp(steps, axis=-1) > _CLOSEST * (steps.shape[-1] - 1), share, 0.0)


def _range_in_steps(values: NDArray[np.float64]) -> tuple[int, float]:
    """The smallest width in steps of a range of which these are −100 … 100, and the share of values that fit it.

    Where no width fits, the best one.
    """
    inside = values[np.abs(values) < 100.01]
    widths = np.arange(_SMALLEST_RANGE, LARGEST_RANGE + 1)
    shares = _on_grid(np.outer(widths, (inside + 100) / 200)) * len(inside) / len(values)
    fits = shares >= _ON_GRID
    best = int(fits.argmax() if fits.any() else shares.argmax())
    return int(widths[best]), float(shares[best])


def half_range(steps: int) -> float:
    """Half of a range of so many steps, in radians."""
    return steps * np.pi / _STEPS_OF_A_TURN["degrees"]
