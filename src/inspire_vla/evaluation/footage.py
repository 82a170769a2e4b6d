"""What is kept of a filmed episode besides its record: images for the video, actions and states beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.records import disk_errors


@dataclass
class Footage:
    """What a film needs of an episode, which the records do without.

    Attributes:
        frames: (H, W, 3) uint8, before the first step and after each.
        actions: (dim,) as executed, one a step.
        states: (state_dim,) as observed, beside each frame; none where the environment gives none.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    fps: float = 10.0
    actions: list[np.ndarray] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)


def write_footage(path: Path, actions: Sequence[np.ndarray], states: Sequence[np.ndarray]) -> None:
    """Write actions (T, dim) and states (T + 1, state_dim), either of which may be empty, as float32."""
    with disk_errors(path):
        np.savez_compressed(path, actions=_table(actions), states=_table(states))


def read_footage(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `write_footage`, exact in float32; two empty tables where there is no such file.

    Raises InspireError for a file that is not one.
    """
    if not path.is_file():
        return _table(()), _table(())
    try:
        with np.load(path, allow_pickle=False) as found:
            return found["actions"], found["states"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InspireError(f"{path} does not hold an episode's actions and states: {error}.") from error


def _table(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.array(rows, dtype=np.float32) if len(rows) else np.zeros((0, 0), np.float32)
