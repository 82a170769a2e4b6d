"""The expert solves every task; with noise it recovers; nothing is hidden in it."""

from collections import Counter

import numpy as np
import pytest

from inspire_vla.tabletop.check_expert import check_task
from inspire_vla.tabletop.disturbance import Disturbance
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.suites import SUITES


@pytest.mark.parametrize("suite", SUITES)
def test_every_task_is_solved(suite):
    outcomes = [check_task(task, range(1)) for task in SUITES[suite]]
    failed = [outcome.task.name for outcome in outcomes if outcome.successes == 0]
    assert not failed
    slow = [outcome.task.name for outcome in outcomes if outcome.steps[0] > 0.75 * outcome.task.max_steps]
    assert not slow


def test_it_recovers_from_noise():
    outcomes = [check_task(task, range(20, 22), noise=0.15) for task in SUITES["tabletop_seen"][::3]]
    assert sum(o.successes for o in outcomes) >= sum(o.episodes for o in outcomes) - 1


def test_it_recovers_from_perturbations():
    outcomes = [
        check_task(task, range(20, 23), noise=0.15, perturbations=0.05)
        for task in SUITES["tabletop_seen"][::3]
    ]
    assert sum(o.successes for o in outcomes) >= 0.8 * sum(o.episodes for o in outcomes)


def test_its_action_is_a_function_of_the_state():
    env = TabletopEnv(SUITES["tabletop_seen"][0], cameras=())
    env.reset(seed=0)
    expert = Expert(env)
    for _ in range(15):
        action = expert.action()
        assert np.array_equal(action, Expert(env).action())
        env.step(action)


def test_actions_are_in_range_and_never_turn():
    env = TabletopEnv(SUITES["tabletop_seen"][6], cameras=())
    env.reset(seed=0)
    disturbed = Disturbance(np.random.default_rng(0), noise=0.3, perturbations=0.0)
    for _ in range(20):
        clean = Expert(env).action()
        noisy = disturbed(clean)
        assert clean.dtype == noisy.dtype == np.float32
        assert np.abs(clean).max() <= 1.0
        assert np.abs(noisy).max() <= 1.0
        assert np.array_equal(clean[3:], noisy[3:])
        assert not clean[3:6].any()
        env.step(noisy)


def test_seen_demonstrations_pass_through_all_seven_answers():
    words = sum((check_task(task, range(1)).words for task in SUITES["tabletop_seen"]), start=Counter())
    share = {word: n / sum(words.values()) for word, n in words.items()}
    assert set(share) == {"right", "left", "up", "down", "front", "back", "grasped"}
    assert all(share[word] > 0.04 for word in ("right", "left", "down", "front", "back", "grasped"))
    assert share["up"] > 0.01
    assert max(share.values()) < 0.4
