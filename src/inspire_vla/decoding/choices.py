"""Closed sets: what may be said next. A forbidden token is left out of the softmax, never multiplied by zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from inspire_vla.dialogue import Template, TextTokenizer, answer_token_sequences
from inspire_vla.errors import InspireError, did_you_mean


class ClosedSet(NamedTuple):
    """What may be said at one place. Only what may be said anywhere is scored, so a score's column is not its id."""

    token_ids: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " n"]
    """Where the scores of these tokens stand."""


@dataclass(frozen=True)
class Choice:
    """A token picked from a closed set, with its probability over that set."""

    token_id: int
    probability: float


def choose(
    scores: Float[np.ndarray, " sayable"],
    allowed: ClosedSet,
    *,
    forced: int | None = None,
    temperature: float = 0.0,
    generator: np.random.Generator | None = None,
) -> Choice:
    """Pick among the `allowed` tokens: the forced one, else the best, or a sample at a temperature above zero.

    The probability is the softmax over `allowed` at temperature one, which is what a confidence means here.
    Of equal scores the first wins. Raises InspireError for scores that are not finite.
    """
    kept = scores[allowed.columns].astype(np.float64)
    if not np.isfinite(kept).all():
        raise InspireError("The model's scores are NaN or infinite: weights or inputs are broken.")
    kept -= kept.max()
    odds = np.exp(kept)
    if forced is not None:
        place = int(np.flatnonzero(allowed.token_ids == forced)[0])
    elif temperature > 0:
        warm = np.exp(kept / temperature)
        place = int((generator or np.random.default_rng()).choice(len(kept), p=warm / warm.sum()))
    else:
        place = int(kept.argmax())
    return Choice(int(allowed.token_ids[place]), float(odds[place] / odds.sum()))


class AnswerSet:
    """The allowed answers of a reasoning mode as a trie of token ids.

    An answer is usually one token. Where it is several ("front left down"), each of its tokens is chosen among
    those that still lead to an allowed answer.
    """

    def __init__(self, words: Sequence[str], tokenizer: TextTokenizer, template: Template) -> None:
        self.words = tuple(words)
        sequences = answer_token_sequences(self.words, tokenizer, template)
        self.token_ids_of = dict(zip(self.words, sequences, strict=True))
        self._word_of = {ids: word for word, ids in self.token_ids_of.items()}
        children: dict[tuple[int, ...], set[int]] = {}
        for ids in sequences:
            for depth, token in enumerate(ids):
                children.setdefault(ids[:depth], set()).add(token)
        self._children = {prefix: np.array(sorted(tokens)) for prefix, tokens in children.items()}
        self.all_ids = np.unique(np.concatenate([np.array(ids) for ids in sequences]))

    def allowed(self, prefix: Sequence[int]) -> Int[np.ndarray, " n"] | None:
        """Token ids that may follow `prefix`, ascending; None where the answer is complete."""
        return self._children.get(tuple(prefix))

    def word(self, token_ids: Sequence[int]) -> str:
        """The answer these tokens spell."""
        return self._word_of[tuple(token_ids)]

    def check(self, word: str) -> str:
        """Return `word` if it may be said. Raises InspireError with the possible answers."""
        if word not in self.token_ids_of:
            shown = self.words if len(self.words) <= 40 else [*self.words[:5], "…", self.words[-1]]
            raise InspireError(f"{word!r} is no answer here.{did_you_mean(word, shown)}")
        return word
