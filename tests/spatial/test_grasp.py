"""Grasped means held from both sides."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.spatial import is_grasped, is_held_by_width


def test_both_fingers_and_nothing_less():
    left, right = np.array([0, 0, 1, 1], dtype=bool), np.array([0, 1, 0, 1], dtype=bool)
    assert is_grasped(left, right).tolist() == [False, False, False, True]
    np.testing.assert_array_equal(is_grasped(left, right), is_grasped(right, left))
    assert is_grasped(np.ones((3, 1), dtype=bool), [True, False]).shape == (3, 2)


def test_held_by_width_needs_a_closing_gripper_kept_open():
    opening_m = [0.08, 0.03, 0.001, 0.03]
    assert is_held_by_width(opening_m, closing=[False, True, True, False]).tolist() == [
        False,
        True,
        False,
        False,
    ]
    with pytest.raises(InspireError, match="finite"):
        is_held_by_width([np.nan], closing=True)
