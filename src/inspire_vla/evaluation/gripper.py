"""What the gripper was told and whether it holds something, as the steps at which that changed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

DEAD = 0.1
"""Of the gripper's number in [-1, 1]: nearer to 0 it keeps what it did."""


class GripperLog:
    """Follows an episode. `changes`: (step, "open" | "closed" | "holding"), each from that step on.

    "closed" and "open" are what it was last told, by the last number of an action; "holding" means closed around an
    object that was asked about, where the benchmark says so.

    closes: the sign that closes the gripper, which an environment's `metadata` says as "gripper_closes": +1 in LIBERO
    and where it says nothing, -1 in CALVIN.
    """

    def __init__(self, closes: float = 1.0) -> None:
        self.changes: list[tuple[int, str]] = []
        self._closes = closes
        self._closed: bool | None = None

    def note(self, step: int, action: np.ndarray, info: Mapping[str, Any]) -> None:
        """Take the action of `step` and the `info` that came of it."""
        told = float(action[-1])
        if abs(told) > DEAD:
            self._closed = told * self._closes > 0
        if self._closed is None:
            return
        holds = self._closed and bool(np.any(info.get("grasped", False)))
        state = "holding" if holds else "closed" if self._closed else "open"
        if not self.changes or self.changes[-1][1] != state:
            self.changes.append((step, state))
