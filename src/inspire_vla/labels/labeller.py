"""The interface of a labeller: for every frame of an episode it says where the objects are.

A new source of labels is one small class with `label`. The words, codes, columns and files are written elsewhere:
by `labels.storage` for an existing dataset, by `labels.dataset_writer` for a new one.
"""

import functools
import hashlib
import inspect
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import MentionRole, Overrides
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.spatial import NO_LABEL, Frame, relate_codes

REACH_M = 3.0
"""No arm reaches an object that is further away: the unit is wrong."""
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Episode:
    """One episode of T frames, without images.

    columns: name → array (T,) or (T, n). names: column → names of its n values, where the dataset has them.
    roles: those that a person has given for the mentions; none if they are read in the instruction.
    """

    index: int
    instruction: str
    mentions: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fps: float = 10.0
    roles: tuple[MentionRole, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


class Note(str):
    """What a person should know about an episode. frames: the spans (first, last) of the episode that it is about."""

    frames: tuple[tuple[int, int], ...]

    def __new__(cls, text: str, frames: Iterable[tuple[int, int]] = ()) -> Self:
        note = super().__new__(cls, text)
        note.frames = tuple(frames)
        return note


@dataclass(frozen=True)
class Recording:
    """What a labeller is calibrated with: N frames of whole episodes of one dataset, without images.

    columns: name → array (N,) or (N, n). starts: the row at which each of the E episodes begins. names: column → names
    of its n values. instructions: of each episode, in order. mentions: instruction → its objects. robot_type: what
    LeRobot wrote. roles: instruction → the roles that a person has given.
    """

    columns: Mapping[str, NDArray[Any]]
    starts: NDArray[np.intp]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    instructions: tuple[tuple[str, ...], ...] = ()
    mentions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    robot_type: str = ""
    fps: float = 10.0
    roles: Overrides = field(default_factory=dict)

    def episodes(self) -> Iterator[slice]:
        """The rows of each episode."""
        rows = len(next(iter(self.columns.values()), ()))
        for first, end in itertools.pairwise([*self.starts.tolist(), rows]):
            yield slice(first, end)


@dataclass(frozen=True)
class Tracks:
    """Where the k objects of an instruction are in T frames.

    gripper_to_object_m: (T, k, 3) metres, robot base frame; NaN where it is unknown. grasped: (T, k) bool, or 1 and 0.
    confidence: (T, k), 0..1, or None. notes: what a person should know about this episode, as text or `Note`.

    Raises:
        InspireError: an array has another shape, or other values.
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
        grasped, confidence = np.asarray(self.grasped), self.confidence
        if grasped.dtype != bool:
            if not np.isin(grasped, (0, 1)).all():
                raise InspireError(
                    f"grasped must hold True and False, or 1 and 0; found {np.unique(grasped)[:5]}."
                )
            object.__setattr__(self, "grasped", grasped.astype(bool))
        if (
            confidence is not None
            and not ((np.asarray(confidence) >= 0) & (np.asarray(confidence) <= 1)).all()
        ):
            low, high = np.min(confidence), np.max(confidence)
            raise InspireError(f"confidence must lie between 0 and 1, found {low:.4g} to {high:.4g}.")

    def cut(self, frames: slice) -> "Tracks":
        """The same for some of the frames."""
        confidence = None if self.confidence is None else self.confidence[frames]
        return Tracks(self.gripper_to_object_m[frames], self.grasped[frames], confidence, self.notes)

    @classmethod
    def unknown(cls, frames: int, objects: int, note: str) -> "Tracks":
        """Tracks of an episode about which nothing is known, with the reason."""
        offsets = np.full((frames, objects, 3), np.nan, dtype=np.float32)
        grasped = np.zeros((frames, objects), dtype=bool)
        return cls(offsets, grasped, np.zeros((frames, objects), dtype=np.float32), (note,))


class Labeller(Protocol):
    """Labels episodes. Labellers of equal `name` and `settings` give equal labels; both are stored with the labels.

    `settings` returns JSON values. `columns` selects, from the names of a dataset's columns, those that `label` reads.
    `label` gets whole episodes, and an episode with several tasks once for each task.

    Optional members:
        one_task_at_a_time: if true, `label` gets only the frames of one task.
        with_dataset(root): returns a labeller that knows the dataset's folder.
        calibrate(recording): returns a labeller fitted to the dataset's values.
        mentions: instruction → mentions that the labels are about.
        gives_confidence: False if no label ever has a confidence.
    """

    @property
    def name(self) -> str:
        """The labeller's name, as it is stored with the labels."""
        ...

    def settings(self) -> dict[str, Any]:
        """What the labels depend on besides the dataset, as JSON values."""
        ...

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Select the columns that `label` reads."""
        ...

    def label(self, episode: Episode) -> Tracks:
        """Return where the objects of the instruction are in each frame, and which are grasped."""
        ...


def code_sha256(defined: Any) -> str:
    """SHA-256 of the file in which a function, a class or an object's class is defined, else of the object's repr.

    The whole file counts, because a constant in it may decide what the function returns. So do the modules in its
    folder, or below, that are loaded. Of installed packages the file alone counts.
    """
    while isinstance(defined, functools.partial):
        defined = defined.func
    named = defined if inspect.isroutine(defined) or inspect.isclass(defined) else type(defined)
    try:
        file = Path(os.path.abspath(inspect.getsourcefile(inspect.unwrap(named)) or ""))
        source = file.read_bytes()
    except (OSError, TypeError):  # built in, or typed into an interpreter
        return hashlib.sha256(repr(defined).encode()).hexdigest()
    digest = hashlib.sha256(source)
    for path in _loaded_beside(file):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _loaded_beside(file: Path) -> list[Path]:
    """Files of the loaded modules in the folder of a user's file, or below."""
    if _is_installed(file):
        return []
    files = (getattr(module, "__dict__", {}).get("__file__") for module in list(sys.modules.values()))
    paths = {Path(os.path.abspath(name)) for name in files if isinstance(name, str)} - {file}
    beside = (path for path in paths if path.is_relative_to(file.parent) and not _is_installed(path))
    return sorted(path for path in beside if path.suffix == ".py" and path.is_file())


def _is_installed(file: Path) -> bool:
    return "site-packages" in file.parts or file.is_relative_to(_PACKAGE)


# --- from positions to answer codes


def label_states(
    gripper_to_object_m: ArrayLike,
    grasped: ArrayLike,
    *,
    max_objects: int,
    mode: str = "direction",
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
) -> NDArray[np.int16]:
    """Return the answer codes of each frame of an episode.

    Args:
        gripper_to_object_m: (T, k, 3) metres, robot base frame, in the order of the mentions.
        grasped: (T, k) bool.
        max_objects: width of the column, at least k.

    Returns:
        (T, max_objects) int16; NO_LABEL (−1) beyond the k objects.

    Raises:
        InspireError: as `spatial.relate_codes`; an array has another shape; more objects than the column holds.
    """
    offsets, held = np.asarray(gripper_to_object_m), np.asarray(grasped)
    Tracks(offsets, held)  # checks the shapes
    frames, objects = held.shape
    if objects > max_objects:
        raise InspireError(
            f"{counted(objects, 'object does', 'objects do')} not fit a label column for {max_objects}."
        )
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


def encode_tracks(
    tracks: Tracks, labels: LabelInfo, *, min_confidence: float = 0.0
) -> dict[str, NDArray[np.int16]]:
    """Return mode → codes (T, max_objects); NO_LABEL where the position is unknown or the confidence too low."""
    offsets, grasped = np.asarray(tracks.gripper_to_object_m), np.asarray(tracks.grasped)
    has_position = np.isfinite(offsets).all(axis=-1)
    confident = tracks.confidence is None or np.asarray(tracks.confidence) >= min_confidence
    finite = np.where(np.isfinite(offsets), offsets, 0.0)
    codes = {}
    for mode, rule in labels.modes.items():
        codes[mode] = label_states(
            finite, grasped, max_objects=labels.max_objects, mode=mode, frame=labels.frame, rule=rule
        )
        known = (has_position | (grasped & rule.grasped_word)) & confident
        codes[mode][:, : grasped.shape[1]][~known] = NO_LABEL
    return codes
