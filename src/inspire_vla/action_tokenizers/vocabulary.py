"""Action codes ↔ token ids of a language model. Offsets between the two exist here alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from inspire_vla.action_tokenizers.base import UndecodableAction, codes_in_range, positive_int
from inspire_vla.errors import InspireError


@dataclass(frozen=True)
class ActionVocabulary:
    """`size` codes on consecutive token ids, ascending from `first_id` (step +1) or descending from it (step −1).

    ascending   code 0 1 2 …  →  id first, first+1, first+2, …     a new block of embeddings
    descending  code 0 1 2 …  →  id first, first−1, first−2, …     the last ids of a text vocabulary
    """

    size: int
    first_id: int
    step: int = 1

    def __post_init__(self) -> None:
        positive_int("size", self.size)
        if self.step not in (1, -1):
            raise InspireError(f"step must be 1 or -1, found {self.step!r}.")
        if self.id_range[0] < 0:
            raise InspireError(f"{self.size} codes do not fit: token ids would start at {self.id_range[0]}.")

    @classmethod
    def appended(cls, text_vocabulary_size: int, size: int) -> "ActionVocabulary":
        """New ids after the text vocabulary: code c → text_vocabulary_size + c."""
        return cls(size=size, first_id=text_vocabulary_size, step=1)

    @classmethod
    def last_ids(cls, text_vocabulary_size: int, size: int, skip: int = 0) -> "ActionVocabulary":
        """The last ids of the text vocabulary, descending: code c → text_vocabulary_size − 1 − skip − c.

        OpenVLA and MiniVLA: skip 0 (there: id = size − digit, digit = code + 1); π0-FAST: skip 128.
        """
        return cls(size=size, first_id=text_vocabulary_size - 1 - skip, step=-1)

    @classmethod
    def last_free_ids(
        cls, text_vocabulary_size: int, size: int, special: Iterable[int]
    ) -> "ActionVocabulary":
        """The last `size` consecutive ids without a `special` one (end of turn, image placeholder, …), descending.

        Raises InspireError if the special ids leave no such run.
        """
        top, longest = text_vocabulary_size, 0
        for barrier in (*sorted({i for i in special if 0 <= i < top}, reverse=True), -1):
            free = top - barrier - 1
            if free >= size:
                return cls(size=size, first_id=top - 1, step=-1)
            top, longest = barrier, max(longest, free)
        raise InspireError(
            f"{size} consecutive codes do not fit between the special ids of a vocabulary of {text_vocabulary_size}: "
            f"the longest run is {longest}. Add tokens for them instead (action_tokens 'added')."
        )

    @property
    def id_range(self) -> tuple[int, int]:
        """Half-open range [low, high) of the token ids."""
        last = self.first_id + self.step * (self.size - 1)
        return min(self.first_id, last), max(self.first_id, last) + 1

    def to_ids(self, codes) -> np.ndarray:
        """Codes of any shape → token ids int64. Raises UndecodableAction for a code outside [0, size)."""
        return self.first_id + self.step * codes_in_range(np.asarray(codes, dtype=np.int64), self.size)

    def to_codes(self, token_ids) -> np.ndarray:
        """Token ids of any shape → codes int64. Raises UndecodableAction for an id that is no action."""
        token_ids = np.asarray(token_ids, dtype=np.int64)
        foreign = ~self.holds(token_ids)
        if foreign.any():
            low, high = self.id_range
            raise UndecodableAction(
                f"Token ids {sorted(set(token_ids[foreign].ravel().tolist()))[:5]} are no actions; "
                f"those lie in [{low}, {high})."
            )
        return self.step * (token_ids - self.first_id)

    def holds(self, token_ids) -> np.ndarray:
        """Return which token ids are actions, as bool of the same shape."""
        low, high = self.id_range
        token_ids = np.asarray(token_ids, dtype=np.int64)
        return (token_ids >= low) & (token_ids < high)

    def check_disjoint(self, others: Sequence[int] | np.ndarray) -> None:
        """Raise InspireError if one of these token ids (words, end of sequence, …) is an action too."""
        others = np.asarray(others, dtype=np.int64)
        shared = others[self.holds(others)]
        if shared.size:
            raise InspireError(
                f"Token ids {sorted(set(shared.ravel().tolist()))[:5]} would be actions and words."
            )
