"""What all who play episodes do alike: evaluation, the steering page, robots, and the harnesses of others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

FIRST_SEED = 1_000_000
"""Seeds of evaluation start here, far from those of demonstrations, so that no initial state was trained on."""
MAX_UNDECODABLE_IN_A_ROW = 5
"""So many decisions in a row whose tokens stand for no action end an episode."""


def instruction_in(info: Mapping[str, Any], otherwise: str) -> str:
    """Return the instruction in the `info` of an environment: its `instruction`, else its `task`, else `otherwise`."""
    return str(info.get("instruction", info.get("task", otherwise)))


def gripper_closes(env: Any) -> float:
    """Sign of the command that closes the gripper, from the environment's `metadata`; by default positive."""
    return float((getattr(env, "metadata", None) or {}).get("gripper_closes", 1.0))


def still_action(env: Any, last: Float[np.ndarray, " action_dim"] | None) -> Float[np.ndarray, " action_dim"]:
    """An action without motion, for a decision whose tokens stand for no action. Then the model is asked again.

    The gripper keeps its last command, at first open. Not zero: some benchmarks close it at zero.

    Args:
        last: the action before; None at the start.
    """
    action = np.zeros(env.action_space.shape, dtype=np.float32)
    action[-1] = -gripper_closes(env) if last is None else last[-1]
    return action
