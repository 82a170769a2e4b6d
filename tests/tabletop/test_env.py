"""The environment: determinism, what actions do, what info says, bad input."""

import gymnasium.utils.env_checker
import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.env import MAX_STEP_M, MAX_TURN_RAD, TabletopEnv
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.suites import SUITES

TASK = SUITES["tabletop_seen"][0]
STILL = np.zeros(7)


def _env(task=TASK, **options):
    return TabletopEnv(task, cameras=(), **options)


def _roll(env, seed, actions):
    observation, info = env.reset(seed=seed)
    seen = [observation["agent_pos"], info["gripper_to_object_m"].ravel()]
    for action in actions:
        observation, _, _, _, info = env.step(action)
        seen += [observation["agent_pos"], info["gripper_to_object_m"].ravel()]
    return np.concatenate(seen)


def test_seed_and_actions_fix_every_bit():
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 7))
    env = _env()
    first = _roll(env, 7, actions)
    assert np.array_equal(first, _roll(env, 7, actions))  # the same environment again
    assert np.array_equal(first, _roll(_env(), 7, actions))  # another one
    assert not np.array_equal(first, _roll(env, 8, actions))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_translation_moves_the_gripper_that_way(axis, sign):
    env = _env(SUITES["tabletop_seen"][6])
    before, _ = env.reset(seed=0)
    action = STILL.copy()
    action[axis] = 0.5 * sign
    for _ in range(2):
        after, *_ = env.step(action)
    for _ in range(4):  # the arm trails its target by a few hundredths of a second
        after, *_ = env.step(STILL)
    expected = np.zeros(3)
    expected[axis] = 2 * 0.5 * sign * MAX_STEP_M
    assert np.allclose(after["agent_pos"][:3] - before["agent_pos"][:3], expected, atol=0.002)
    assert np.allclose(after["agent_pos"][3:6], 0.0, atol=0.01)


@pytest.mark.parametrize("axis", range(3))
def test_a_rotation_rotates_the_gripper_about_that_axis(axis):
    env = _env(SUITES["tabletop_seen"][6])
    env.reset(seed=0)
    action = STILL.copy()
    action[3 + axis] = 0.5
    for _ in range(2):
        env.step(action)
    for _ in range(4):  # the arm trails its target by a few hundredths of a second
        after, *_ = env.step(STILL)
    expected = np.zeros(3)
    expected[axis] = MAX_TURN_RAD
    assert np.allclose(after["agent_pos"][3:6], expected, atol=0.01)


def test_the_gripper_closes_on_plus_one_and_opens_on_minus_one():
    env = _env()
    env.reset(seed=0)
    close, open_ = STILL.copy(), STILL.copy()
    close[6], open_[6] = 1.0, -1.0
    for _ in range(4):
        closed, *_ = env.step(close)
    for _ in range(4):
        opened, *_ = env.step(open_)
    assert closed["agent_pos"][6:].max() < 0.003
    assert opened["agent_pos"][6:].min() > 0.037


def test_offsets_point_from_gripper_to_object_in_the_base_frame():
    env = _env()
    observation, info = env.reset(seed=1)
    assert info["mentions"] == ("the red cube", "the blue plate")
    assert info["gripper_to_object_m"].shape == (2, 3)
    assert info["gripper_to_object_m"].dtype == np.float64
    cube = env.world.point("red_cube")
    assert np.allclose(observation["agent_pos"][:3] + info["gripper_to_object_m"][0], cube, atol=1e-6)
    assert abs(cube[0] - 0.38) < 0.03  # the layout's place for the red cube: 0.38 m in front,
    assert abs(cube[1] - 0.24) < 0.03  # 0.24 m to the left


def test_the_goals_of_a_two_step_task_are_told_one_by_one():
    task = next(task for task in SUITES["tabletop_long"] if task.instruction.startswith("put both"))
    env = _env(task)
    _, info = env.reset(seed=0)
    expert, goals, over = Expert(env), [info["goals"]], False
    while not over:
        _, _, success, truncated, info = env.step(expert.action())
        goals.append(info["goals"])
        over = success or truncated
    assert list(dict.fromkeys(goals)) == [(False, False), (True, False), (True, True)]
    assert _env().reset(seed=0)[1]["goals"] == ()  # a task with one goal


def test_grasped_is_said_while_the_fingers_hold_and_success_only_after_letting_go():
    env = _env()
    _, info = env.reset(seed=0)
    expert, grasps, over = Expert(env), [], False
    while not over:
        _, reward, success, truncated, info = env.step(expert.action())
        grasps.append(tuple(info["grasped"]))
        over = success or truncated
    assert info["is_success"]
    assert reward == 1.0
    assert (True, False) in grasps
    assert grasps[-1] == (False, False)
    with pytest.raises(InspireError, match="reset"):
        env.step(STILL)


def test_standing_still_never_succeeds_and_ends_at_max_steps():
    for task in (SUITES["tabletop_seen"][0], SUITES["tabletop_seen"][6], SUITES["tabletop_seen"][9]):
        env = _env(task, max_steps=5)
        env.reset(seed=0)
        ends = [env.step(STILL)[2:4] for _ in range(5)]
        assert ends == [(False, False)] * 4 + [(False, True)]


@pytest.mark.parametrize("bad", [np.zeros(6), np.full(7, np.nan), np.zeros((1, 7))])
def test_an_action_that_is_none_is_refused(bad):
    env = _env()
    env.reset(seed=0)
    with pytest.raises(InspireError, match="7 finite numbers"):
        env.step(bad)


def test_options_are_checked():
    with pytest.raises(InspireError, match="image2"):
        TabletopEnv(TASK, cameras=("left",))
    with pytest.raises(InspireError, match="640"):
        TabletopEnv(TASK, image_size=1000)


def test_gymnasium_agrees():
    env = TabletopEnv(TASK, cameras=("image", "image2"), image_size=32)
    gymnasium.utils.env_checker.check_env(env, skip_render_check=True)


def test_images_drawn_when_read_are_those_of_the_present():
    env, lazy = (TabletopEnv(TASK, image_size=32, lazy_images=lazy) for lazy in (False, True))
    for observe in (lambda e: e.reset(seed=3), lambda e: e.step(np.full(7, 0.5)), lambda e: e.reset(seed=4)):
        now, later = observe(env)[0]["pixels"], observe(lazy)[0]["pixels"]
        assert list(later) == ["image"]
        assert (now["image"] == later["image"]).all()
    unread = lazy.step(np.zeros(7))[0]["pixels"]
    lazy.step(np.zeros(7))
    with pytest.raises(InspireError, match="read too late"):
        unread["image"]
