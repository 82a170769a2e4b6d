"""Places in words: which of several equal objects is "the left" one, what is "next to" what, and which side is which.

In an instruction these words are those of someone who looks at the picture, as in LIBERO: left is left in the picture,
and front is towards the camera. The picture looks towards the robot. So what an instruction calls left is to the right
for the robot, in whose frame the answers are given; front is front for both.
"""

import numpy as np

SIDES: dict[str, np.ndarray] = {
    "front": np.array([1.0, 0.0]),
    "back": np.array([-1.0, 0.0]),
    "left": np.array([0.0, -1.0]),
    "right": np.array([0.0, 1.0]),
}
"""Word → unit vector in that direction, (2,), in the base frame (+x front, +y left of the robot)."""
MIDDLE = "middle"
MARGIN_M = 0.10
"""Least distance, along the axis of the word, between "the left cube" and every other cube of its colour."""
_MIRRORED = {"left": "right", "right": "left"}
_NEXT_TO_M = 0.09
_CLEARLY = 1.6


def mirrored(word: str) -> str:
    """Return the word of a place after left and right have been exchanged."""
    return _MIRRORED.get(word, word)


def is_at(place: str, here: np.ndarray, others: list[np.ndarray]) -> bool:
    """Return whether `place` (a side, or "middle") tells an object at `here` apart from equal ones at `others`.

    All positions are (2,), in metres in the base frame. In the middle is what stands between two others, along the
    axis on which the objects are further apart.
    """
    if place != MIDDLE:
        return all((here - other) @ SIDES[place] >= MARGIN_M for other in others)
    spread = np.ptp([here, *others], axis=0)
    offsets = (np.array(others) - here)[:, int(spread.argmax())]
    return bool(offsets.min() <= -MARGIN_M and offsets.max() >= MARGIN_M)


def is_next_to(here: np.ndarray, neighbour: np.ndarray, others: list[np.ndarray], radii_m: float) -> bool:
    """Return whether "next to the neighbour" tells an object at `here` apart from equal ones at `others`.

    Args:
        here, neighbour, others: centres (2,), in metres in the base frame.
        radii_m: sum of the radii of the object and its neighbour. At most 9 cm are between their footprints.
    """
    distance = float(np.hypot(*(here - neighbour)))
    clear = all(np.hypot(*(other - neighbour)) >= _CLEARLY * distance for other in others)
    return clear and distance <= radii_m + _NEXT_TO_M
