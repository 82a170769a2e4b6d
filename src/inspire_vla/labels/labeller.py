"""What a labeller is: something that says, for every frame of a demonstration, where the objects are.

A new kind of truth is one small class with `label`. Words, codes, columns and files are made elsewhere, once:
`labels.storage` for a dataset that exists, `libero.demonstrations` and `labels.calvin` for one that is imported.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.spatial import NO_LABEL, Frame, relate_codes


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


def label_states(
    gripper_to_object_m: ArrayLike,
    grasped: ArrayLike,
    *,
    max_objects: int,
    mode: str = "direction",
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
) -> NDArray[np.int16]:
    """Codes for the label column of each frame of a demonstration.

    Args:
        gripper_to_object_m: (T, k, 3) metres, robot base axes, in the order of the mentions.
        grasped: (T, k) booleans.
        max_objects: width of the column, at least k.

    Returns:
        (T, max_objects) int16, NO_LABEL (−1) beyond the k objects.

    Raises:
        InspireError: as `spatial.relate_codes`, and more objects than the column holds.
    """
    offsets = np.asarray(gripper_to_object_m)
    if offsets.ndim != 3 or offsets.shape[-1] != 3:
        raise InspireError(f"gripper_to_object_m must have shape (T, k, 3), found {offsets.shape}.")
    frames, objects = offsets.shape[:2]
    if objects > max_objects:
        raise InspireError(f"{objects} objects do not fit a label column for {max_objects}.")
    held = np.asarray(grasped)
    if held.shape != (frames, objects):
        raise InspireError(f"grasped must have shape {(frames, objects)}, found {held.shape}.")
    codes = np.full((frames, max_objects), NO_LABEL, dtype=np.int16)
    codes[:, :objects] = relate_codes(
        offsets,
        held,
        mode=mode,
        frame=frame,
        close_threshold_m=rule.close_threshold_m,
        grasped_word=rule.grasped_word,
    )
    return codes


def get_labeller(text: str) -> Labeller:
    """demonstration · truth · table:FILE · package.module:function (a callable, or something that makes a labeller).

    A package of the current folder is found too. Raises InspireError for anything else.
    """
    from inspire_vla.labels.custom import FunctionLabeller, TableLabeller
    from inspire_vla.labels.episode_labeller import DemonstrationLabeller
    from inspire_vla.labels.simulator_state import PrivilegedLabeller

    if text == "demonstration":
        return DemonstrationLabeller()
    if text == "truth":
        return PrivilegedLabeller()
    head, colon, rest = text.partition(":")
    if head == "table" and rest:
        return TableLabeller.read(rest)
    if not colon or not rest:
        raise InspireError(
            f"unknown labeller {text!r}. Possible: demonstration, truth, table:FILE, package.module:function."
        )
    try:
        with _current_folder_on_path():
            found = getattr(importlib.import_module(head), rest)
    except (ImportError, AttributeError) as error:
        raise InspireError(f"labeller {text!r} cannot be imported: {error}.") from None
    if isinstance(found, type):
        return found()
    return found if hasattr(found, "label") else FunctionLabeller(found, text)


@contextlib.contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """As `python -m` has it; the console script `inspire` has its own folder there instead."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
