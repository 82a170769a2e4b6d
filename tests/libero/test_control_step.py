"""A control step computes each physics step once, and nothing else changes."""

from collections import Counter
from typing import Any

import mujoco
import numpy as np
import pytest

from inspire_vla.libero import simulation
from inspire_vla.libero.simulation import make_simulation


def play(recording: Any, env: Any) -> np.ndarray:
    """All numbers of the simulation and of the robot after each step: the gripper reaches, closes and lifts."""
    env.seed(0)
    env.reset()
    env.set_init_state(recording.states[0])
    rows = []
    for action in recording.actions:
        observation, *_ = env.step(action.tolist())
        robot, data = env.env.robots[0], env.env.sim.data
        numbers = (
            *(
                getattr(data, name)
                for name in ("qpos", "qvel", "qacc", "qacc_warmstart", "sensordata", "xpos")
            ),
            *(getattr(robot, f"recent_{name}").current for name in ("ee_forcetorques", "ee_vel", "torques")),
            *observation.values(),
        )
        rows.append(np.concatenate([np.ravel(each) for each in numbers]))
    return np.stack(rows)


def test_the_numbers_are_those_of_robosuite(recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = make_simulation(recording.path)
    monkeypatch.setattr(simulation, "compute_once", lambda inner: None)
    theirs = make_simulation(recording.path)
    assert np.array_equal(play(recording, ours), play(recording, theirs))
    assert recording.grasped.any(), "the recording has no contact, so it shows little"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of MuJoCo's functions was called."""
    counts: Counter[str] = Counter()
    for name in ("mj_forward", "mj_step", "mj_step1", "mj_step2"):
        original = getattr(mujoco, name)

        def counted(*args: Any, name: str = name, original: Any = original) -> None:
            counts[name] += 1
            original(*args)

        monkeypatch.setattr(mujoco, name, counted)
    return counts


def test_each_physics_step_is_computed_once(recording: Any, calls: Counter[str]) -> None:
    env = make_simulation(recording.path)
    calls.clear()
    env.step([0, 0, 0, 0, 0, 0, -1])
    assert calls == {"mj_forward": 1, "mj_step": 1, "mj_step1": 24, "mj_step2": 24}


def test_outside_of_a_control_step_all_is_as_ever(
    recording: Any, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a control step that failed."""
    env = make_simulation(recording.path)
    monkeypatch.setattr(env.env.robots[0], "control", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        env.step([0, 0, 0, 0, 0, 0, -1])
    calls.clear()
    for _ in range(2):
        env.env.sim.forward()
        env.env.sim.step()
    assert calls == {"mj_forward": 2, "mj_step": 2}
