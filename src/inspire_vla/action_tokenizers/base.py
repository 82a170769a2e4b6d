"""The interface of action tokenizers, and what they share: input checks and gripper conventions."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from inspire_vla.action_tokenizers.storage import setting
from inspire_vla.errors import InspireError, reason_of


class UndecodableAction(InspireError):
    """Codes that decode to no action. The caller counts and reports them and never replaces them by zeros."""


class ActionTokenizer(ABC):
    """Action chunks (H, D) in [-1, 1] ↔ sequences of codes in [0, vocabulary_size).

    H is the horizon, D the action dimension. Every subclass passes tests/action_tokenizers/laws.py.
    """

    name: ClassVar[str]
    horizon: int
    action_dim: int

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of codes; every code lies in [0, vocabulary_size)."""

    @property
    @abstractmethod
    def max_codes(self) -> int:
        """The largest number of codes of one chunk."""

    @abstractmethod
    def encode(self, actions: np.ndarray):
        """(…, H, D) floats → (…, n) int64 codes; a tokenizer of varying length returns a list with an array per chunk.

        Raises:
            InspireError: wrong shape, NaN or infinity.
        """

    @abstractmethod
    def decode(self, codes) -> np.ndarray:
        """(…, n) codes → (…, H, D) float32.

        Raises:
            UndecodableAction: codes outside the vocabulary, in a wrong order, too few or too many.
        """

    @abstractmethod
    def allowed_codes(self, prefix: Sequence[int] = ()) -> np.ndarray | None:
        """Return the codes (n,) that may follow the codes `prefix`, ascending; None if the chunk is complete.

        A sequence of allowed codes always decodes.
        """

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the tokenizer into `folder`: JSON and, if it has arrays, safetensors."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote. Raises InspireError for files of another kind or broken files."""


@dataclass(frozen=True)
class GripperConvention:
    """How the gripper, the last number of an action, differs between the codes and the robot.

    robot's value = `scale` · codes' value + `offset`; the other numbers are equal. It is stored with the tokenizer, so
    fine-tuning keeps the convention.

    Raises InspireError for a scale or an offset that has no inverse.
    """

    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)) or self.scale == 0:
            raise InspireError(f"A gripper's scale and offset must be finite, the scale not 0; found {self}.")

    def to_codes(self, actions: np.ndarray) -> np.ndarray:
        """(…, D) actions of the robot → those that are encoded. The inverse of `to_robot`, up to rounding."""
        return self._replace_last(actions, (actions[..., -1] - self.offset) / self.scale)

    def to_robot(self, actions: np.ndarray) -> np.ndarray:
        """(…, D) decoded actions → actions of the robot."""
        return self._replace_last(actions, self.scale * actions[..., -1] + self.offset)

    def _replace_last(self, actions: np.ndarray, gripper: np.ndarray) -> np.ndarray:
        if self == GripperConvention():
            return actions
        changed = actions.copy()
        changed[..., -1] = gripper
        return changed

    def settings(self) -> dict[str, Any]:
        """Return the JSON settings; {} if codes and robot agree."""
        same = self == GripperConvention()
        return {} if same else {"gripper": {"scale": self.scale, "offset": self.offset}}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "GripperConvention":
        """Read what `settings` returned. Raises InspireError for anything else."""
        if "gripper" not in settings:
            return cls()
        gripper = setting(settings, "gripper", dict)
        return cls(*(setting(gripper, name, (int, float)) for name in ("scale", "offset")))


GRIPPER_CONVENTIONS: dict[str, GripperConvention] = {
    "as_trained": GripperConvention(),
    "libero": GripperConvention(-2.0, 1.0),
}
"""Models whose codes run from 0 (closed) to 1 (open): the same for the robot, or LIBERO's −1 (open) to +1 (closed)."""


def checked_actions(actions, horizon: int, action_dim: int) -> np.ndarray:
    """Return `actions` as a float array (…, H, D). Raises InspireError that says what was found instead."""
    array = np.asarray(actions)
    if array.dtype.kind not in "fiu":
        raise InspireError(f"Actions must be numbers, found dtype {array.dtype}.")
    if array.ndim < 2 or array.shape[-2:] != (horizon, action_dim):
        raise InspireError(
            f"Actions must have shape (…, horizon {horizon}, dimension {action_dim}), found {array.shape}."
        )
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise InspireError(f"Actions hold {int((~np.isfinite(array)).sum())} NaN or infinite numbers.")
    return array


def checked_chunks(actions) -> np.ndarray:
    """Return chunks to fit on as a float array (N, H, D). Raises InspireError that says what was found instead."""
    array = np.asarray(actions)
    if array.ndim != 3 or 0 in array.shape:
        raise InspireError(f"Chunks to fit on must have shape (N, H, D), found {array.shape}.")
    return checked_actions(array, *array.shape[1:])


def checked_codes(codes, length: int, vocabulary_size: int) -> np.ndarray:
    """Return `codes` as int64 (…, length). Raises UndecodableAction that says what was found instead."""
    try:
        array = np.asarray(codes)
    except ValueError as error:
        raise UndecodableAction(
            f"Codes must be one array, found sequences of several lengths ({reason_of(error)})."
        ) from None
    if array.dtype.kind not in "iu":
        raise UndecodableAction(f"Codes must be integers, found dtype {array.dtype}.")
    if array.ndim < 1 or array.shape[-1] != length:
        raise UndecodableAction(f"A chunk takes {length} codes, found shape {array.shape}.")
    return codes_in_range(array, vocabulary_size)


def codes_in_range(codes: np.ndarray, size: int) -> np.ndarray:
    """Return integer codes as int64. Raises UndecodableAction if one lies outside [0, size)."""
    codes = codes.astype(np.int64, copy=False)
    if codes.size and (codes.min() < 0 or codes.max() >= size):
        raise UndecodableAction(f"Codes lie in [0, {size}), found [{codes.min()}, {codes.max()}].")
    return codes


def positive_int(name: str, value) -> int:
    """Return `value` as an int of at least 1. Raises InspireError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InspireError(f"{name} must be a whole number of at least 1, found {value!r}.")
    return int(value)
