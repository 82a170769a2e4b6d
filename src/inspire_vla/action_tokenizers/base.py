"""What every action tokenizer can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from inspire_vla.errors import InspireError


class UndecodableAction(InspireError):
    """Codes that stand for no action. Counted and reported by the caller; never replaced by zeros."""


class ActionTokenizer(ABC):
    """Action chunks (H, D) in [-1, 1] ↔ sequences of codes in [0, vocabulary_size).

    The laws a subclass keeps are tests/action_tokenizers/laws.py.
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
        """The most codes one chunk can need."""

    @abstractmethod
    def encode(self, actions: np.ndarray):
        """(…, H, D) floats → (…, n) int64 codes; a tokenizer of varying length returns a list per chunk.

        Raises:
            InspireError: wrong shape, NaN or infinity.
        """

    @abstractmethod
    def decode(self, codes) -> np.ndarray:
        """(…, n) codes → (…, H, D) float32.

        Raises:
            UndecodableAction: codes outside the vocabulary, out of order, too few or too many.
        """

    @abstractmethod
    def allowed(self, position: int, prefix: Sequence[int] = ()) -> tuple[int, int] | None:
        """Half-open range [low, high) of codes that may stand at `position`, after the codes `prefix`.

        None: the chunk is complete. Following it yields a chunk that decodes, where every code of the
        range is equally admissible (see `allowed_codes` for kinds where that is not so).
        """

    def allowed_codes(self, position: int, prefix: Sequence[int] = ()) -> np.ndarray | None:
        """The exact set as a mask (vocabulary_size,), or None when the chunk is complete."""
        span = self.allowed(position, prefix)
        if span is None:
            return None
        mask = np.zeros(self.vocabulary_size, dtype=bool)
        mask[span[0] : span[1]] = True
        return mask

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the tokenizer into `folder` (JSON + safetensors), whole or not at all."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path) -> Self:
        """What `save` wrote. Raises InspireError for files of another kind or a broken set."""


def checked_actions(actions, horizon: int, action_dim: int) -> np.ndarray:
    """`actions` as a float array (…, H, D), or an InspireError that says what it was."""
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


def checked_codes(codes, length: int, vocabulary_size: int) -> np.ndarray:
    """`codes` as int64 (…, length) in the vocabulary, or an UndecodableAction that says what they were."""
    try:
        array = np.asarray(codes)
    except ValueError as error:
        raise UndecodableAction(
            f"Codes must be one array, found sequences of several lengths ({error})."
        ) from None
    if array.dtype.kind not in "iu":
        raise UndecodableAction(f"Codes must be integers, found dtype {array.dtype}.")
    if array.ndim < 1 or array.shape[-1] != length:
        raise UndecodableAction(f"A chunk takes {length} codes, found shape {array.shape}.")
    array = array.astype(np.int64, copy=False)
    if array.size and not ((array >= 0) & (array < vocabulary_size)).all():
        raise UndecodableAction(
            f"Codes lie in [0, {vocabulary_size}), found a range [{array.min()}, {array.max()}]."
        )
    return array


def positive_int(name: str, value) -> int:
    """`value` as an int ≥ 1; raises InspireError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InspireError(f"{name} must be a whole number of at least 1, found {value!r}.")
    return int(value)
