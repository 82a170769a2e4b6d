"""LIBERO without images: one small demonstration, recorded once for all tests. Skipped where LIBERO is not whole."""

from types import SimpleNamespace

import numpy as np
import pytest

from inspire_vla.libero.bddl import LiberoMissing, task_files
from inspire_vla.libero.simulation import Truth, make_simulation, require_libero

TASK = "put_the_cream_cheese_in_the_bowl"


@pytest.fixture(scope="session")
def recording():
    """A hand that goes to the cream cheese, grips it and lifts it: states, actions, and the truth at each step."""
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    path = next(path for path in task_files("libero_goal") if path.stem == TASK)
    env = make_simulation(path)
    truth = Truth(env.env, path)
    for _ in range(10):
        env.step([0, 0, 0, 0, 0, 0, -1])
    states, actions, offsets, grasped, hands = [], [], [], [], []
    goal = truth.point("cream_cheese_1")
    lift = goal + np.array([0, 0, 0.12])
    legs = [
        (goal + np.array([0, 0, 0.05]), -1, 25),
        (goal + np.array([0, 0, 0.005]), -1, 12),
        (None, -1, 3),
        (None, 1, 8),
        (lift, 1, 12),
    ]
    for target, gripper, steps in legs:
        for _ in range(steps):
            way = np.zeros(3) if target is None else np.clip((target - truth.hand()) / 0.05, -1, 1)
            action = np.array([*way, 0, 0, 0, gripper])
            where, held = truth.offsets()
            states.append(env.get_sim_state().copy())
            actions.append(action)
            offsets.append(where)
            grasped.append(held)
            hands.append(truth.hand())
            env.step(action.tolist())
    found = SimpleNamespace(
        path=path,
        mentions=truth.mentions,
        instruction=truth.instruction,
        states=np.stack(states),
        actions=np.stack(actions),
        offsets=np.stack(offsets),
        grasped=np.stack(grasped),
        hands=np.stack(hands),
        env=env,
    )
    yield found
    env.close()
