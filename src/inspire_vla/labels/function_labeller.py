"""A user's own labels from a function."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.labels.labeller import REACH_M, Episode, Tracks, code_sha256


@dataclass(frozen=True)
class FunctionLabeller:
    """Labels with a function: Episode → Tracks, or Episode → (gripper_to_object_m (T, k, 3), grasped (T, k)).

    name: stored with the labels. The function gets all number columns.
    """

    function: Callable[[Episode], Any]
    name: str = "custom"

    def settings(self) -> dict[str, Any]:
        """SHA-256 of the file that defines the function: another function, or constant, gives other labels."""
        return {"source_sha256": code_sha256(self.function)}

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """All number columns."""
        return names

    def label(self, episode: Episode) -> Tracks:
        """Call the function and check what it returns.

        Raises:
            InspireError: the function fails, with its traceback; or it returns something else.
        """
        shape = (len(episode), len(episode.mentions))
        try:
            returned = self.function(episode)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__)[1:]).rstrip()
            why = f"{type(error).__name__}: {reason_of(error, with_file=True)}"
            raise InspireError(f"{self.name} failed in episode {episode.index}: {why}.\n{where}") from error
        if not isinstance(returned, Tracks):
            returned = self._tracks(returned, episode, shape)
        given = np.shape(returned.gripper_to_object_m)
        if given != (*shape, 3):
            raise InspireError(
                f"{self.name} returned offsets {given} for episode {episode.index}, "
                f"expected {(*shape, 3)}: frames, objects {list(episode.mentions)}, x y z."
            )
        if (np.linalg.norm(returned.gripper_to_object_m, axis=-1) > REACH_M).any():
            note = f"objects more than {REACH_M:g} m from the gripper: are the offsets in metres?"
            return replace(returned, notes=(*returned.notes, note))
        return returned

    def _tracks(self, found: Any, episode: Episode, shape: tuple[int, int]) -> Tracks:
        """Tracks of the pair that a function may return. Raises InspireError for anything else."""
        try:
            offsets, grasped = found if isinstance(found, (tuple, list)) else (None, None)
            offsets, grasped = np.asarray(offsets, dtype=np.float32), np.asarray(grasped)
            if np.shape(grasped) == shape and np.isin(grasped, (0, 1)).all():
                return Tracks(offsets, grasped.astype(bool))
        except (ValueError, TypeError):  # not a pair, not numbers, or no shape of offsets
            pass
        raise InspireError(
            f"{self.name} returned {_describe(found)} for episode {episode.index}, expected Tracks, or the pair "
            f"of gripper_to_object_m {(*shape, 3)} in metres, NaN where unknown, and grasped {shape} of bool."
        )


def _describe(value: Any) -> str:
    """Describe a value in a few words: "a tuple of (array (5, 3), array (5,))"."""
    if isinstance(value, (tuple, list)) and len(value) <= 4:
        return f"a {type(value).__name__} of ({', '.join(map(_describe, value))})"
    shape = getattr(value, "shape", None)
    return "None" if value is None else f"{type(value).__name__}{'' if shape is None else f' {tuple(shape)}'}"
