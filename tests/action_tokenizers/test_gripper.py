"""Gripper conventions."""

import json

import numpy as np
import pytest

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, GripperConvention
from inspire_vla.errors import InspireError


@pytest.mark.parametrize("gripper", [*GRIPPER_CONVENTIONS.values(), GripperConvention(0.5, -0.25)])
def test_conversions_are_inverses_and_change_the_gripper_alone(gripper: GripperConvention) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 4, 7))
    for convert, invert in ((gripper.to_codes, gripper.to_robot), (gripper.to_robot, gripper.to_codes)):
        np.testing.assert_allclose(invert(convert(actions)), actions, atol=1e-12)
        np.testing.assert_array_equal(convert(actions)[..., :-1], actions[..., :-1])
    assert GripperConvention.from_settings(json.loads(json.dumps(gripper.settings()))) == gripper


def test_liberos_gripper_opens_at_minus_one() -> None:
    assert GRIPPER_CONVENTIONS["libero"].to_robot(np.array([0.5, 1.0])).tolist() == [0.5, -1.0]  # 1 is open
    assert GRIPPER_CONVENTIONS["libero"].to_robot(np.array([0.5, 0.0])).tolist() == [0.5, 1.0]


def test_a_convention_without_inverse_is_refused() -> None:
    for scale, offset in ((0.0, 1.0), (float("nan"), 0.0), (1.0, float("inf"))):
        with pytest.raises(InspireError, match="scale not 0"):
            GripperConvention(scale, offset)
    with pytest.raises(InspireError, match="'gripper' of the action tokenizer"):
        GripperConvention.from_settings({"gripper": [1, 0]})
