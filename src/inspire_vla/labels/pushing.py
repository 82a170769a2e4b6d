"""Where is a thing that is pushed and never held? In front of the furthest the hand has got so far.

    thing      ▢  ▢      ▢    ▢   ▢     moved on by every stroke, left where a stroke ends
    hand    ──▶│◀─ ──────▶│◀─ ────▶│

The hand comes into the lane of the push a little before it touches, and whatever stands in the lane is ahead of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AROUND_M = 0.12
"""Within so far of where the hand lingers lie the strokes."""
_LANE_M = 0.04
_CLEARANCE_M = 0.035
"""How far before the thing the hand comes into the lane."""
_AHEAD_M = 0.02
"""From the finger tips to the middle of what they push: half a handle."""
_LEVEL = 0.7
"""A push whose direction has more than this of up or down is a press: what is pressed stays."""
_LOW = 0.1
_LEAST_M = 0.04


@dataclass(frozen=True)
class Push:
    """begin, end: frames between which the thing may move; place: (T, 3), the unit and frame of the hand."""

    begin: int
    end: int
    place: NDArray[np.float64]


def find_push(hand: NDArray[np.float64], first: int, end: int, linger: int) -> Push | None:
    """Read a push off the hand's path.

    Args:
        hand: (T, 3) metres, of the whole episode.
        first, end: frames within which it was done.
        linger: a frame of it at which the hand was near the thing.

    Returns:
        The push; None where the path has none: too short, or up and down.
    """
    near = first + np.flatnonzero(np.linalg.norm(hand[first:end] - hand[linger], axis=1) < _AROUND_M)
    if len(near) < 3:
        return None
    direction = np.linalg.svd(hand[near] - hand[near].mean(axis=0), full_matrices=False)[2][0]
    if abs(direction[2]) > _LEVEL:
        return None
    direction = np.array([*direction[:2], 0.0]) / np.linalg.norm(direction[:2])
    along = hand @ direction
    if along[near].max() - along[near[0]] < along[near[0]] - along[near].min():
        direction, along = -direction, -along
    last = int(near[np.argmax(along[near])])
    aside = hand - hand[last]
    aside = np.linalg.norm(aside - (aside @ direction)[:, None] * direction, axis=1)
    lane = near[(aside[near] < _LANE_M) & (near <= last)]
    if along[last] - along[lane[0]] < _LEAST_M:
        return None
    reached = np.full(len(hand), -np.inf)
    reached[lane] = along[lane]
    reached[: lane[0] + 1] = min(along[lane[0]] + _CLEARANCE_M, along[last])
    front = np.maximum.accumulate(reached) + _AHEAD_M
    middle = np.median(hand[lane] - along[lane][:, None] * direction, axis=0)
    middle[2] = np.quantile(hand[lane, 2], _LOW)  # between strokes the hand is above it
    return Push(int(lane[0]), last + 1, middle + front[:, None] * direction)
