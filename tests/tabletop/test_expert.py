"""The expert solves every task, recovers from noise and perturbations, and keeps no state."""

from collections import Counter

import numpy as np
import pytest

from inspire_vla.perturbations import ActionPerturber
from inspire_vla.spatial import relate
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.suites import SUITES
from inspire_vla.tabletop.tasks import Task


def run(
    task: Task, seed: int = 0, noise: float = 0.0, perturbations: float = 0.0
) -> tuple[bool, Counter, int]:
    """One episode: success, how often each direction word was true, steps."""
    env = TabletopEnv(task, cameras=())
    _, info = env.reset(seed=seed)
    expert = Expert(env)
    perturb = ActionPerturber(np.random.default_rng(seed), noise=noise, perturbations=perturbations)
    words: Counter[str] = Counter()
    success = truncated = False
    steps = 0
    while not (success or truncated):
        words.update(relate(info["gripper_to_object_m"], info["grasped"]).tolist())
        _, _, success, truncated, info = env.step(perturb(expert.action()))
        steps += 1
    return success, words, steps


@pytest.mark.parametrize("suite", SUITES)
def test_every_task_is_solved(suite):
    for task in SUITES[suite]:
        success, _, steps = run(task)
        assert success, task.name
        assert steps <= 0.75 * task.max_steps, task.name


def test_it_recovers_from_noise():
    successes = [run(task, seed, noise=0.15)[0] for task in SUITES["tabletop_seen"][::6] for seed in (20, 21)]
    assert sum(successes) >= len(successes) - 1


def test_it_recovers_from_perturbations():
    successes = [
        run(task, seed, noise=0.15, perturbations=0.05)[0]
        for task in SUITES["tabletop_seen"][::6]
        for seed in (20, 21, 22)
    ]
    assert sum(successes) >= 0.8 * len(successes)


def test_its_action_is_a_function_of_the_state():
    env = TabletopEnv(SUITES["tabletop_seen"][0], cameras=())
    env.reset(seed=0)
    expert = Expert(env)
    for _ in range(15):
        action = expert.action()
        assert np.array_equal(action, Expert(env).action())
        env.step(action)


def test_actions_are_in_range_and_never_rotate():
    env = TabletopEnv(SUITES["tabletop_seen"][6], cameras=())
    env.reset(seed=0)
    perturb = ActionPerturber(np.random.default_rng(0), noise=0.3, perturbations=0.0)
    for _ in range(20):
        clean = Expert(env).action()
        noisy = perturb(clean)
        assert clean.dtype == noisy.dtype == np.float32
        assert np.abs(clean).max() <= 1.0
        assert np.abs(noisy).max() <= 1.0
        assert np.array_equal(clean[3:], noisy[3:])
        assert not clean[3:6].any()
        env.step(noisy)


def test_seen_demonstrations_pass_through_all_seven_answers():
    words = sum((run(task)[1] for task in SUITES["tabletop_seen"]), start=Counter())
    share = {word: n / sum(words.values()) for word, n in words.items()}
    assert set(share) == {"right", "left", "up", "down", "front", "back", "grasped"}
    assert all(share[word] > 0.04 for word in ("right", "left", "down", "front", "back", "grasped"))
    assert share["up"] > 0.01
    assert max(share.values()) < 0.4
