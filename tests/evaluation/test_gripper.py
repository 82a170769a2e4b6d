"""The gripper's states are noted where they change, and only as far as they are known."""

import numpy as np

from inspire_vla.evaluation.gripper import GripperLog


def play(told: list[float], grasped: list[bool] | None = None) -> list[tuple[int, str]]:
    log = GripperLog()
    for step, number in enumerate(told):
        info = {} if grasped is None else {"grasped": np.array([False, grasped[step]])}
        log.note(step, np.array([0.0] * 6 + [number]), info)
    return log.changes


def test_changes_are_noted_and_a_small_number_keeps_what_it_did() -> None:
    assert play([-1, -1, 1, 0.05, 0.0, -0.5]) == [(0, "open"), (2, "closed"), (5, "open")]


def test_closed_around_something_is_holding() -> None:
    grasped = [False, False, True, False, True]
    assert play([-1, 1, 1, 1, -1], grasped) == [
        (0, "open"), (1, "closed"), (2, "holding"), (3, "closed"), (4, "open"),
    ]  # fmt: skip


def test_before_it_was_told_anything_nothing_is_known() -> None:
    assert play([0, 0, 1]) == [(2, "closed")]
