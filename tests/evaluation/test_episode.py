"""The gripper's states are noted where they change, and only as far as they are known."""

import numpy as np
import pytest
from tests.evaluation.toys import ToyDecision, ToyEnv

from inspire_vla.evaluation import AnswerRule, EpisodeJob, RolloutSettings
from inspire_vla.evaluation.episode import Episode, GripperLog


def play(
    commands: list[float], grasped: list[bool] | None = None, closes: float = 1.0
) -> list[tuple[int, str]]:
    log = GripperLog(closes)
    for step, number in enumerate(commands):
        info = {} if grasped is None else {"grasped": np.array([False, grasped[step]])}
        log.add(step, np.array([0.0] * 6 + [number]), info)
    return log.changes


def test_changes_are_noted_and_a_small_number_keeps_what_it_did() -> None:
    assert play([-1, -1, 1, 0.05, 0.0, -0.5]) == [(0, "open"), (2, "closed"), (5, "open")]


def test_closed_around_something_is_holding() -> None:
    grasped = [False, False, True, False, True]
    assert play([-1, 1, 1, 1, -1], grasped) == [
        (0, "open"), (1, "closed"), (2, "holding"), (3, "closed"), (4, "open"),
    ]  # fmt: skip


def test_where_minus_one_closes_all_is_turned() -> None:
    commands, grasped = [-1.0, 1.0, 0.05, 1.0, -1.0], [False, False, True, True, True]
    assert play([-number for number in commands], grasped, closes=-1.0) == play(commands, grasped)


@pytest.mark.parametrize("closes", [None, 1.0, -1.0])
def test_before_the_first_action_the_gripper_is_held_open(closes: float | None) -> None:
    """Where no action can be decoded the arm holds still; the gripper keeps what it was told last."""
    env = ToyEnv("toy_seen", "go left")
    env.metadata = {} if closes is None else {"gripper_closes": closes}
    episode = Episode(EpisodeJob("toy_seen", "go left", 0, 0), env, RolloutSettings(), AnswerRule())
    episode.reset()
    episode.decide(ToyDecision(actions=None, decodable=False), 1.0, 1)
    assert episode.chunk[0].tolist() == [0.0] * 6 + [-(closes or 1.0)]
    episode.step()
    assert episode.gripper.changes == [(0, "open")]
    actions = np.array([[0.5] * 6 + [0.3]], dtype=np.float32)
    episode.decide(ToyDecision(actions=actions), 1.0, 1)
    episode.step()
    episode.decide(ToyDecision(actions=None, decodable=False), 1.0, 1)
    assert episode.chunk[0].tolist() == [0.0] * 6 + [actions[0, -1]]


def test_before_it_was_told_anything_nothing_is_known() -> None:
    assert play([0, 0, 1]) == [(2, "closed")]
