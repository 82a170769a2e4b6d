"""What is recorded of a filmed episode: its video's images, and beside the video its actions and states."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inspire_vla.files import open_arrays, write_arrays


@dataclass
class Recording:
    """What is recorded of a filmed episode besides its record.

    Attributes:
        frames: (H, W, 3) uint8, before the first step and after each; they become the video.
        actions: (action_dim,) float32, as executed, one per step.
        states: (state_dim,) float32, as observed, one per frame; none if the environment gives none.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    fps: float = 10.0
    actions: list[np.ndarray] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)

    def write_arrays(self, path: Path) -> None:
        """Write actions and states as a compressed .npz file."""
        arrays = {"actions": _table(self.actions), "states": _table(self.states)}
        write_arrays(path, arrays, compressed=True)


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return actions (T, action_dim) and states (T + 1, state_dim) of a recording; both empty without a file.

    Raises InspireError for a file of another kind.
    """
    if not path.is_file():
        return _table(()), _table(())
    with open_arrays(path) as arrays:
        return arrays["actions"], arrays["states"]


def _table(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.array(rows, dtype=np.float32) if len(rows) else np.zeros((0, 0), np.float32)
