"""Rendering: a dialogue becomes token ids, loss mask and token types, for training and for prompting.

Each segment is tokenised by itself, so a prompt has exactly the ids that begin the training sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.dialogue.dialogue import Dialogue, Segment, TokenType
from inspire_vla.dialogue.templates import NANO_TEMPLATE, Template, get_template
from inspire_vla.errors import InspireError

Span = tuple[int, int]
"""Half-open range [start, stop) of positions in the ids."""


@runtime_checkable
class TextTokenizer(Protocol):
    """The methods a tokenizer must have; those of transformers have them."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Text to ids."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> str:
        """Ids to text."""
        ...


class CachedTokenizer:
    """A tokenizer with a cache of the last 65,536 texts, since questions, answers and instructions repeat.

    A text with the robot state hardly ever repeats; `render` encodes it without the cache.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer
        self._cached = lru_cache(maxsize=1 << 16)(self._encode)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Text to ids, from the cache if it is there."""
        if add_special_tokens:
            return self.tokenizer.encode(text, add_special_tokens=True)
        return list(self._cached(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, token_ids: Any, **options: Any) -> str:
        """Ids to text."""
        return self.tokenizer.decode(token_ids, **options)


@dataclass(frozen=True)
class Rendered:
    """A sequence of T tokens.

    Attributes:
        ids: (T,) int64 token ids.
        loss_mask: (T,) bool, True where the id is to be predicted from those before it.
        token_types: (T,) uint8, a `TokenType` each.
        answer_spans: the span of each answer.
        action_span: the span of the action ids; None if there are none.
        segment_spans: the span of each rendered segment of the dialogue.
    """

    ids: NDArray[np.int64]
    loss_mask: NDArray[np.bool_]
    token_types: NDArray[np.uint8]
    answer_spans: tuple[Span, ...]
    action_span: Span | None
    segment_spans: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.ids)


def render(dialogue: Dialogue, tokenizer: TextTokenizer, action_ids: ArrayLike | None = None) -> Rendered:
    """Render a dialogue: a training sequence with `action_ids` (n,), without them the prompt of the action.

    A dialogue of questions alone has no action; without `action_ids` it is rendered whole.

    Raises InspireError if an answer is not known, or the action ids are not a row of integers.
    """
    segments = dialogue.segments
    types = [segment.token_type for segment in segments]
    index = types.index(TokenType.ACTION) if TokenType.ACTION in types else len(types)
    if action_ids is None:
        segments = segments[:index]
    else:
        array = np.asarray(action_ids)
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
            raise InspireError(
                f"action_ids must be a row of integers; found shape {array.shape}, {array.dtype}."
            )
        action = Segment(None, TokenType.ACTION, supervised=True, ids=tuple(array.tolist()))
        segments = (*segments[:index], action, *segments[index + 1 :])

    ids: list[int] = []
    loss_mask: list[bool] = []
    token_types: list[int] = []
    spans: list[Span] = []
    for segment, new in zip(segments, _encode(dialogue, segments, tokenizer), strict=True):
        spans.append((len(ids), len(ids) + len(new)))
        ids += new
        loss_mask += [segment.supervised] * len(new)
        token_types += [int(segment.token_type)] * len(new)
    return Rendered(
        ids=np.array(ids, dtype=np.int64),
        loss_mask=np.array(loss_mask, dtype=np.bool_),
        token_types=np.array(token_types, dtype=np.uint8),
        answer_spans=_spans_of(TokenType.ANSWER, segments, spans),
        action_span=next(iter(_spans_of(TokenType.ACTION, segments, spans)), None),
        segment_spans=tuple(spans),
    )


def answer_token_sequences(
    words: Sequence[str], tokenizer: TextTokenizer, template: str | Template = NANO_TEMPLATE
) -> tuple[tuple[int, ...], ...]:
    """Return the token ids of each allowed answer, as they stand in a dialogue: the decoder's constraint.

    The sequences may differ in length. None is a prefix of another, so a trie of them ends at its leaves and a decoder
    knows when an answer is complete.

    Raises InspireError if two answers share their ids, one is a prefix of another, or one has no ids.
    """
    template = get_template(template)
    sequences = tuple(
        tuple(tokenizer.encode(template.answer_text(word), add_special_tokens=False)) for word in words
    )
    ordered = sorted(zip(sequences, words, strict=True))
    for sequence, word in ordered:
        if not sequence:
            raise InspireError(f"The tokenizer writes the answer {word!r} with no token at all.")
    for (one, first), (other, second) in pairwise(ordered):
        if other[: len(one)] == one:  # sorted: what begins with `one` follows it
            raise InspireError(
                f"Template {template.name!r}: the answers {first!r} {one} and {second!r} {other} cannot be told apart "
                "while decoding, as one is a prefix of the other. Give the template's answer an ending."
            )
    return sequences


def _encode(dialogue: Dialogue, segments: Sequence[Segment], tokenizer: TextTokenizer) -> list[list[int]]:
    """Return the token ids of each segment."""
    uncached = tokenizer.tokenizer if isinstance(tokenizer, CachedTokenizer) else tokenizer
    encoded: list[list[int]] = []
    answers = 0
    for segment in segments:
        if segment.ids is not None:
            encoded.append(list(segment.ids))
        elif segment.text is not None:
            has_state = segment.token_type is TokenType.INSTRUCTION and dialogue.template.needs_state
            chosen = uncached if has_state else tokenizer
            encoded.append(chosen.encode(segment.text, add_special_tokens=False))
        else:
            raise InspireError(
                f"The answer about {dialogue.mentions[answers]!r} is not known, and the rest depends on it. Pass it to "
                "build_dialogue."
            )
        answers += segment.token_type is TokenType.ANSWER
    return encoded


def _spans_of(token_type: TokenType, segments: Sequence[Segment], spans: Sequence[Span]) -> tuple[Span, ...]:
    return tuple(
        span for segment, span in zip(segments, spans, strict=True) if segment.token_type is token_type
    )
