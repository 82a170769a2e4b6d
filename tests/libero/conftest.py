"""One short recording in LIBERO, without images, for all tests. They are skipped where LIBERO is not installed."""

from types import SimpleNamespace

import numpy as np
import pytest

from inspire_vla.libero.installation import LiberoMissing, require_libero
from inspire_vla.libero.simulation import GroundTruth, make_simulation
from inspire_vla.libero.tasks import task_files

TASK = "put_the_cream_cheese_in_the_bowl"


@pytest.fixture(scope="session")
def recording():
    """The gripper goes to the cream cheese, grasps and lifts it: states, actions, and the ground truth at each step."""
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    path = next(path for path in task_files("libero_goal") if path.stem == TASK)
    env = make_simulation(path)
    truth = GroundTruth(env.env, path)
    for _ in range(10):
        env.step([0, 0, 0, 0, 0, 0, -1])
    states, actions, offsets, grasped, eef_positions = [], [], [], [], []
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
            step = np.zeros(3) if target is None else np.clip((target - truth.eef_position()) / 0.05, -1, 1)
            action = np.array([*step, 0, 0, 0, gripper])
            offset, held = truth.offsets()
            states.append(env.get_sim_state().copy())
            actions.append(action)
            offsets.append(offset)
            grasped.append(held)
            eef_positions.append(truth.eef_position())
            env.step(action.tolist())
    found = SimpleNamespace(
        path=path,
        mentions=truth.mentions,
        instruction=truth.instruction,
        states=np.stack(states),
        actions=np.stack(actions),
        offsets=np.stack(offsets),
        grasped=np.stack(grasped),
        eef_positions=np.stack(eef_positions),
        env=env,
    )
    yield found
    env.close()
