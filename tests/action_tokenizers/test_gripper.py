"""The gripper's turn and its inverse."""

import json

import numpy as np
import pytest

from inspire_vla.action_tokenizers import GRIPPERS, Gripper
from inspire_vla.errors import InspireError


@pytest.mark.parametrize("gripper", [*GRIPPERS.values(), Gripper(0.5, -0.25)])
def test_said_and_meant_are_inverses_and_leave_the_rest_alone(gripper: Gripper) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 4, 7))
    for there, back in ((gripper.said, gripper.meant), (gripper.meant, gripper.said)):
        np.testing.assert_allclose(back(there(actions)), actions, atol=1e-12)
        np.testing.assert_array_equal(there(actions)[..., :-1], actions[..., :-1])
    assert Gripper.of_settings(json.loads(json.dumps(gripper.settings()))) == gripper


def test_liberos_gripper_opens_at_minus_one() -> None:
    assert GRIPPERS["libero"].meant(np.array([0.5, 1.0])).tolist() == [0.5, -1.0]  # 1 is open
    assert GRIPPERS["libero"].meant(np.array([0.5, 0.0])).tolist() == [0.5, 1.0]


def test_what_cannot_be_undone_is_refused() -> None:
    for scale, offset in ((0.0, 1.0), (float("nan"), 0.0), (1.0, float("inf"))):
        with pytest.raises(InspireError, match="scale not 0"):
            Gripper(scale, offset)
    with pytest.raises(InspireError, match="'gripper' of the action tokenizer"):
        Gripper.of_settings({"gripper": [1, 0]})
