"""Where can a hand that points down grip, and where can it let go? Answered on a relief: heights over a grid.

              u, closing axis                 The hand comes from above. Its two pads pass where nothing is
        pad │ between │ pad                    higher than they reach; what stands between them is gripped. The
    ────────┼─────────┼────────  palm          palm stays above everything under it.

Pure geometry in metres, axes of the table with +z up; `scanning.py` makes reliefs of a simulation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, maximum_filter

OPENING_M = 0.036
"""Half of what an open hand spans, a little to spare."""
_PAD_END_M, _PAD_HALF_M = 0.052, 0.011
_PALM_M = (0.105, 0.034)
_PALM_ABOVE_M = 0.034
"""How far the palm is above the grip point."""
_TIP_BELOW_M = 0.009
_DEEPEST_M = 0.030
_ASKEW_M = 0.010
"""How much the edge that a pad meets may recede over the pad's width."""
_OVERLAP_M = 0.006
"""A pad must reach this far below the top of what it grips, measured at the grip point."""


@dataclass(frozen=True)
class Relief:
    """Top heights (n, n) over a square grid; heights[i, j] is at origin + cell · (i, j) in (x, y)."""

    heights: NDArray[np.float64]
    origin: NDArray[np.float64]
    cell: float

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Heights at (…, 2) points, the nearest cell's; beyond the edge the edge's."""
        where = (np.moveaxis(points, -1, 0) - self.origin.reshape(2, *[1] * (points.ndim - 1))) / self.cell
        return map_coordinates(self.heights, where, order=0, mode="nearest")

    def middle(self) -> NDArray[np.float64]:
        """The grid's middle, (2,)."""
        return self.origin + self.cell * (np.array(self.heights.shape) - 1) / 2


@dataclass(frozen=True)
class Grasp:
    """Grip point (3,), the closing axis' angle about +z in [0, π), and how good it looks (more is better)."""

    point: NDArray[np.float64]
    yaw: float
    score: float


def find_grasps(
    everything: Relief, own: Relief, middle: NDArray[np.float64], *, yaws: int = 12, count: int = 12
) -> list[Grasp]:
    """The best grasps of one thing, best first, no two alike. Empty when there is none.

    Args:
        everything: all that stands there; own: the thing alone, −inf elsewhere. Same grid.
        middle: (2,) its middle: a grip near it turns the thing less.
    """
    found: list[Grasp] = []
    for yaw in np.pi * np.arange(yaws) / yaws:
        found += _grasps_along(everything, own, middle, float(yaw))
    found.sort(key=lambda grasp: -grasp.score)
    chosen: list[Grasp] = []
    for grasp in found:
        if all(_unlike(grasp, other) for other in chosen):
            chosen.append(grasp)
            if len(chosen) == count:
                break
    return chosen


def _unlike(one: Grasp, other: Grasp) -> bool:
    turn = abs(one.yaw - other.yaw)
    return float(np.linalg.norm(one.point - other.point)) > 0.015 or min(turn, np.pi - turn) > 0.3


def _turned(relief: Relief, yaw: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights over a grid whose first axis is the closing axis, and the (n, n, 2) points of it."""
    n = relief.heights.shape[0]
    steps = (np.arange(n) - (n - 1) / 2) * relief.cell
    u, v = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    points = relief.middle() + steps[:, None, None] * u + steps[None, :, None] * v
    return relief.at(points), points


def _cells(length: float, cell: float) -> int:
    return max(0, round(length / cell))


def hand_floor(heights: NDArray[np.float64], cell: float) -> NDArray[np.float64]:
    """Lowest grip point over each cell at which an open hand along the first axis touches nothing with pads or palm."""
    pad = _cells(_PAD_END_M - OPENING_M, cell) + 1
    shift = _cells((_PAD_END_M + OPENING_M) / 2, cell)
    across = 2 * _cells(_PAD_HALF_M, cell) + 1
    pads = maximum_filter(heights, size=(pad, across), mode="nearest")
    both = np.maximum(_shifted(pads, shift), _shifted(pads, -shift))
    palm = maximum_filter(heights, size=tuple(2 * _cells(half, cell) + 1 for half in _PALM_M), mode="nearest")
    return np.maximum(both + _TIP_BELOW_M, palm - _PALM_ABOVE_M)


def _shifted(array: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    index = np.clip(np.arange(len(array)) + by, 0, len(array) - 1)
    return array[index]


def _grasps_along(
    everything: Relief, own: Relief, middle: NDArray[np.float64], yaw: float
) -> Iterator[Grasp]:
    cell = own.cell
    heights, points = _turned(everything, yaw)
    mine, _ = _turned(own, yaw)
    half, side = _cells(OPENING_M, cell), _cells(0.008, cell)
    line = maximum_filter(mine, size=(2 * half + 1, 1), mode="constant", cval=-np.inf)  # top between the pads
    top = -maximum_filter(-line, size=(1, 2 * side + 1), mode="nearest")  # along the whole width of a pad
    low = np.maximum(hand_floor(heights, cell), top - _DEEPEST_M)
    overlap = top - low
    for i, j in np.argwhere(overlap >= _OVERLAP_M):
        first = max(0, i - half)
        between = np.s_[first : i + half + 1, max(0, j - side) : j + side + 1]
        gripped = mine[between] > low[i, j] + _OVERLAP_M / 2
        others = (heights[between] > low[i, j]) & ~np.isfinite(mine[between])
        if others.any() or not gripped.any(axis=0).all():
            continue
        near, far = gripped.argmax(axis=0), len(gripped) - 1 - gripped[::-1].argmax(axis=0)
        askew = max(np.ptp(near), np.ptp(far)) * cell  # a corner slips out of the hand
        if askew > _ASKEW_M:
            continue
        off_middle = (
            abs(float((near + far).mean()) / 2 + first - i) * cell
        )  # both pads should meet it at once
        width = float((far - near).max() + 1) * cell
        lever = float(np.linalg.norm(points[i, j] - middle))
        score = (
            min(float(overlap[i, j]), 0.025) - 0.6 * off_middle - 0.15 * lever - 0.05 * width - 0.5 * askew
        )
        yield Grasp(np.array([*points[i, j], low[i, j]]), yaw, score)


@dataclass(frozen=True)
class Spot:
    """Where to let go: the thing's middle (2,), the turn about +z from how it is held, heights of its underside when
    it rests and of the grip point at which the hand opens."""

    middle: NDArray[np.float64]
    turn: float
    rests_at: float
    grip_at: float
    cost: float


def find_spot(
    relief: Relief,
    candidates: NDArray[np.float64],
    wanted: NDArray[np.float64],
    footprint: NDArray[np.float64],
    grip: NDArray[np.float64],
    yaw: float,
    *,
    turns: NDArray[np.float64],
) -> Spot | None:
    """The candidate where the thing lies lowest and falls least; None if there is no candidate.

    Args:
        candidates: (n, 2) places for its middle; wanted: (2,) the best of them by the goal.
        footprint: (m, 2) points of the thing around its middle, as it is held.
        grip: (3,) the grip point from the thing's middle, its height from the thing's underside.
        yaw: of the closing axis now. turns: angles about +z to try.
    """
    best: Spot | None = None
    for turn in turns:
        c, s = np.cos(turn), np.sin(turn)
        rotation = np.array([[c, -s], [s, c]])
        shape, hand = footprint @ rotation.T, rotation @ grip[:2]
        u = rotation @ np.array([np.cos(yaw), np.sin(yaw)])
        frame = np.stack([u, [-u[1], u[0]]])
        for middle in candidates:
            rests = float(relief.at(middle + shape).max())
            at = middle + hand
            pads = at + _PAD_GRID @ frame
            palm = at + _PALM_GRID @ frame
            lowest = max(
                float(relief.at(pads).max()) + _TIP_BELOW_M, float(relief.at(palm).max()) - _PALM_ABOVE_M
            )
            grip_at = max(rests + float(grip[2]) + 0.004, lowest)
            falls = grip_at - rests - float(grip[2])
            cost = 2.0 * rests + falls + 0.5 * float(np.linalg.norm(middle - wanted)) + 0.01 * abs(turn)
            if best is None or cost < best.cost - 1e-9:
                best = Spot(middle, float(turn), rests, grip_at, cost)
    return best


def _grid(us: NDArray[np.floating], vs: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.stack(np.meshgrid(us, vs, indexing="ij"), axis=-1).reshape(-1, 2)


_PAD_GRID = np.concatenate(
    [
        _grid(sign * np.linspace(0.02, _PAD_END_M, 5), np.linspace(-_PAD_HALF_M, _PAD_HALF_M, 3))
        for sign in (-1, 1)
    ]
)  # while it holds something, the pads are anywhere between shut and open
_PALM_GRID = _grid(np.linspace(-_PALM_M[0], _PALM_M[0], 15), np.linspace(-_PALM_M[1], _PALM_M[1], 5))
