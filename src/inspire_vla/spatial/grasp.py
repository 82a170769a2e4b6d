"""When is an object grasped? From contacts if a simulator tells them, else from the gripper's opening."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.errors import InspireError


def is_grasped(left_finger_contact: ArrayLike, right_finger_contact: ArrayLike) -> NDArray[np.bool_]:
    """An object is grasped while both fingers touch it. Booleans that broadcast together -> (…) bool.

    The rule robosuite decides grasps by; a touch of one finger is a push.
    """
    return np.logical_and(left_finger_contact, right_finger_contact)


def is_held_by_width(
    opening_m: ArrayLike, *, closing: ArrayLike, empty_m: float = 0.002
) -> NDArray[np.bool_]:
    """Something is held while the gripper is told to close and yet stays open wider than `empty_m`.

    Args:
        opening_m: (…) distance between the fingers, metres.
        closing: (…) whether the gripper is commanded to close.
        empty_m: the opening of a gripper that closed on nothing.

    Raises InspireError if an opening is not finite.
    """
    opening = np.asarray(opening_m, dtype=np.float64)
    if not np.isfinite(opening).all():
        raise InspireError(f"Gripper openings must be finite; {int((~np.isfinite(opening)).sum())} are not.")
    return np.logical_and(opening > empty_m, closing)
