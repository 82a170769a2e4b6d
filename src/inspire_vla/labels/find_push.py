"""Where an object is that the fingertips push: read from their path alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST_FRAMES = 3
"""Frames near the object, below which a path has no direction."""
_STROKES_M = 0.12
"""All strokes of a push are this close to where the fingertips stay longest."""
_LANE_M = 0.04
"""Half the width of the lane in which the object is pushed."""
_CLEARANCE_M = 0.035
"""How far before the object the fingertips enter the lane."""
_AHEAD_M = 0.02
"""From the fingertips to the middle of what they push: half a handle."""
_VERTICAL = 0.7
"""A push whose unit direction has a larger z component is a press: the object does not move."""
_LOW = 0.1
"""Quantile of the fingertips' height: between strokes they are above the object."""
_SHORTEST_PUSH_M = 0.04


@dataclass(frozen=True)
class Push:
    """first, end: frames between which the object may move. position: (T, 3) of the object, metres, base frame."""

    first: int
    end: int
    position: NDArray[np.float64]


def find_push(fingertips: NDArray[np.float64], first: int, end: int, stay: int) -> Push | None:
    """Find where a pushed object is: in front of the furthest point that the fingertips have reached so far.

        object         ▢  ▢      ▢    ▢   ▢     moves with every stroke, stays where a stroke ends
        fingertips ──▶│◀─ ──────▶│◀─ ────▶│

    Args:
        fingertips: (T, 3) metres, of the whole episode.
        first, end: frames within which the push was done.
        stay: a frame of them in which the fingertips were near the object.

    Returns:
        The push; None if the path has none, because it is too short or vertical.
    """
    near = first + np.flatnonzero(
        np.linalg.norm(fingertips[first:end] - fingertips[stay], axis=1) < _STROKES_M
    )
    if len(near) < _FEWEST_FRAMES:
        return None
    centred = fingertips[near] - fingertips[near].mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]  # first principal axis
    if abs(direction[2]) > _VERTICAL:
        return None
    direction = np.array([*direction[:2], 0.0]) / np.linalg.norm(direction[:2])
    along = fingertips @ direction
    if along[near].max() - along[near[0]] < along[near[0]] - along[near].min():
        direction, along = -direction, -along
    last = int(near[np.argmax(along[near])])
    aside = fingertips - fingertips[last]
    aside_m = np.linalg.norm(aside - (aside @ direction)[:, None] * direction, axis=1)
    lane = near[(aside_m[near] < _LANE_M) & (near <= last)]
    if along[last] - along[lane[0]] < _SHORTEST_PUSH_M:
        return None
    reached = np.full(len(fingertips), -np.inf)
    reached[lane] = along[lane]
    reached[: lane[0] + 1] = min(along[lane[0]] + _CLEARANCE_M, along[last])
    front = np.maximum.accumulate(reached) + _AHEAD_M
    middle = np.median(fingertips[lane] - along[lane][:, None] * direction, axis=0)
    middle[2] = np.quantile(fingertips[lane, 2], _LOW)
    return Push(int(lane[0]), last + 1, middle + front[:, None] * direction)
