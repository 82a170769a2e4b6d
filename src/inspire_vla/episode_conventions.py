"""What all who play episodes do alike: evaluation, the steering page, robots, and the harnesses of others."""

from collections.abc import Mapping
from typing import Any

FIRST_SEED = 1_000_000
"""Seeds of evaluation start here, far from those of demonstrations, so that no initial state was trained on."""
MAX_UNDECODABLE_IN_A_ROW = 5
"""So many decisions in a row whose tokens stand for no action end an episode."""


def instruction_in(info: Mapping[str, Any], otherwise: str) -> str:
    """Return the instruction in the `info` of an environment: its `instruction`, else its `task`, else `otherwise`."""
    return str(info.get("instruction", info.get("task", otherwise)))
