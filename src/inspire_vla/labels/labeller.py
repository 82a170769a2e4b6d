"""What a labeller is: something that says, for every frame of a demonstration, where the objects are.

A new kind of truth is one small class with `label`. Words, codes, columns and files are made elsewhere, once:
`labels.storage` for a dataset that exists, `libero.demonstrations` and `labels.calvin` for one that is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import LabelInfo
from inspire_vla.labels.simulator_state import label_states
from inspire_vla.spatial import NO_LABEL


@dataclass(frozen=True)
class Episode:
    """One demonstration as a labeller sees it: T frames, no images.

    columns: name → array (T,) or (T, n). names: name → what its n numbers are called, where the dataset says so.
    """

    index: int
    instruction: str
    mentions: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fps: float = 10.0

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Tracks:
    """Where the k objects of an instruction are in T frames.

    gripper_to_object_m: (T, k, 3) metres in the robot's base frame; NaN where it is not known.
    grasped: (T, k) bool. confidence: (T, k) in 0..1. notes: what a person should know about this episode.
    """

    gripper_to_object_m: NDArray[np.floating]
    grasped: NDArray[np.bool_]
    confidence: NDArray[np.floating] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.gripper_to_object_m)
        if len(shape) != 3 or shape[-1] != 3:
            raise InspireError(f"gripper_to_object_m must have shape (T, k, 3), found {shape}.")
        for name in ("grasped", "confidence"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape[:2]:
                raise InspireError(f"{name} must have shape {shape[:2]}, found {np.shape(value)}.")

    @classmethod
    def unknown(cls, frames: int, objects: int, note: str) -> "Tracks":
        """Nothing is known of this episode, and `note` says why."""
        empty = np.full((frames, objects, 3), np.nan, dtype=np.float32)
        held = np.zeros((frames, objects), dtype=bool)
        return cls(empty, held, np.zeros((frames, objects), dtype=np.float32), (note,))


class Labeller(Protocol):
    """`name` and `settings` (JSON values) are written beside the labels; equal ones give equal labels.

    `columns(names)` picks from a dataset's columns those that `label` wants to see. It is shown whole episodes, those
    with several tasks once for each; one that says `one_task_at_a_time` only the frames of that task.
    """

    @property
    def name(self) -> str: ...
    def settings(self) -> dict[str, Any]: ...
    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]: ...
    def label(self, episode: Episode) -> Tracks: ...


def encode_tracks(
    tracks: Tracks, labels: LabelInfo, *, min_confidence: float = 0.0
) -> dict[str, NDArray[np.int16]]:
    """Return mode → codes (T, max_objects): NO_LABEL where the place is unknown or less sure than wanted."""
    offsets = np.asarray(tracks.gripper_to_object_m)
    grasped = np.asarray(tracks.grasped)
    known = np.isfinite(offsets).all(axis=-1) | grasped
    if tracks.confidence is not None:
        known &= np.asarray(tracks.confidence) >= min_confidence
    whole = np.where(np.isfinite(offsets), offsets, 0.0)
    found = {}
    for mode, rule in labels.modes.items():
        codes = label_states(
            whole, grasped, max_objects=labels.max_objects, mode=mode, frame=labels.frame, rule=rule
        )
        usable = known & (np.isfinite(offsets).all(axis=-1) | rule.grasped_word)
        codes[:, : known.shape[1]][~usable] = NO_LABEL
        found[mode] = codes
    return found
