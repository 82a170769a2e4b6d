"""The one renderer: a dialogue becomes ids, loss mask and token_types together, for training and for prompting.

Each segment is tokenised on its own, so a sequence cut where a segment begins has the very ids it had in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.dialogue.dialogue import Dialogue, Segment, TokenType
from inspire_vla.dialogue.templates import NANO_TEMPLATE, Template, get_template
from inspire_vla.errors import InspireError

Span = tuple[int, int]
"""Half-open range [start, stop) of positions in the ids."""


@runtime_checkable
class TextTokenizer(Protocol):
    """What is asked of a tokenizer; those of transformers are such."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Text to ids."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> str:
        """Ids to text."""
        ...


class CachedTokenizer:
    """Remembers the ids of the last 65,536 texts: questions, answers and instructions come again and again.

    What says the robot's state hardly ever does; `render` asks `tokenizer` itself for it.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer
        self._known = lru_cache(maxsize=1 << 16)(self._encode)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Text to ids, by memory if the text is known."""
        if add_special_tokens:
            return self.tokenizer.encode(text, add_special_tokens=True)
        return list(self._known(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, token_ids: Any, **options: Any) -> str:
        """Ids to text."""
        return self.tokenizer.decode(token_ids, **options)


@dataclass(frozen=True)
class Rendered:
    """A sequence with what is known of each of its T positions.

    Attributes:
        ids: (T,) int64 token ids.
        loss_mask: (T,) bool, True where the id is to be predicted from those before it.
        token_types: (T,) uint8, a `TokenType` each.
        answer_spans: where answer i stands in ids, for every answer rendered.
        action_span: where the action ids stand; None if there are none.
        segment_spans: where each rendered segment of the dialogue stands.
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
    """Render the whole dialogue: with `action_ids` (n,) a training sequence, without them the prompt of the action.

    Raises InspireError if an answer is not known, or the action ids are not a row of integers.
    """
    segments = dialogue.segments
    place = next(i for i, segment in enumerate(segments) if segment.token_type is TokenType.ACTION)
    if action_ids is None:
        return _render(dialogue, segments[:place], tokenizer)
    ids = np.asarray(action_ids)
    if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise InspireError(f"action_ids must be a row of integers; found shape {ids.shape}, {ids.dtype}.")
    action = Segment(None, TokenType.ACTION, supervised=True, ids=tuple(ids.tolist()))
    return _render(dialogue, (*segments[:place], action, *segments[place + 1 :]), tokenizer)


def render_prompt(
    dialogue: Dialogue, tokenizer: TextTokenizer, upto: int | Literal["action"] = "action"
) -> NDArray[np.int64]:
    """The ids (t,) up to where answer `upto` begins, or the action: always a prefix of `render`'s ids.

    Raises InspireError if there is no such answer, or one before it is not known.
    """
    if upto == "action":
        return render(dialogue, tokenizer).ids
    places = [i for i, segment in enumerate(dialogue.segments) if segment.token_type is TokenType.ANSWER]
    if isinstance(upto, bool) or not isinstance(upto, int) or not 0 <= upto < len(places):
        raise InspireError(f"upto must be 'action' or an answer from 0 to {len(places) - 1}; found {upto!r}.")
    return _render(dialogue, dialogue.segments[: places[upto]], tokenizer).ids


def answer_token_sequences(
    words: Sequence[str], tokenizer: TextTokenizer, template: str | Template = NANO_TEMPLATE
) -> tuple[tuple[int, ...], ...]:
    """How each allowed answer is tokenised where it stands: what a decoder constrains its steps to.

    The sequences may be of several tokens and of different lengths; they are never a prefix of one another, so a
    trie of them has its ends at its leaves and a decoder knows when an answer is over.

    Raises InspireError if two answers share their ids, one begins another, or one has no ids at all.
    """
    template = get_template(template)
    sequences = tuple(
        tuple(tokenizer.encode(template.answer.replace("{answer}", word), add_special_tokens=False))
        for word in words
    )
    ordered = sorted(zip(sequences, words, strict=True))
    for sequence, word in ordered:
        if not sequence:
            raise InspireError(f"The tokenizer writes the answer {word!r} with no token at all.")
    for (one, first), (other, second) in pairwise(ordered):
        if other[: len(one)] == one:  # sorted: whatever begins with `one` follows it
            raise InspireError(
                f"Template {template.name!r}: the answers {first!r} {one} and {second!r} {other} cannot be told apart "
                "while decoding, as one begins the other. Give the template's answer an end that parts them."
            )
    return sequences


def _render(dialogue: Dialogue, segments: Sequence[Segment], tokenizer: TextTokenizer) -> Rendered:
    ids: list[int] = []
    mask: list[bool] = []
    token_types: list[int] = []
    spans: list[Span] = []
    plain = tokenizer.tokenizer if isinstance(tokenizer, CachedTokenizer) else tokenizer
    for i, segment in enumerate(segments):
        if segment.ids is not None:
            own = list(segment.ids)
        elif segment.text is not None:
            passing = segment.token_type is TokenType.INSTRUCTION and dialogue.template.needs_state
            own = (plain if passing else tokenizer).encode(segment.text, add_special_tokens=False)
        else:
            number = sum(earlier.token_type is TokenType.ANSWER for earlier in segments[:i])
            raise InspireError(
                f"The answer about {dialogue.mentions[number]!r} is not known, and what follows it depends on it. "
                "Pass it to build_dialogue, or render_prompt up to it."
            )
        spans.append((len(ids), len(ids) + len(own)))
        ids += own
        mask += [segment.supervised] * len(own)
        token_types += [int(segment.token_type)] * len(own)
    answers = tuple(
        span for span, segment in zip(spans, segments, strict=True) if segment.token_type is TokenType.ANSWER
    )
    action = next(
        (s for s, segment in zip(spans, segments, strict=True) if segment.token_type is TokenType.ACTION),
        None,
    )
    return Rendered(
        ids=np.array(ids, dtype=np.int64),
        loss_mask=np.array(mask, dtype=np.bool_),
        token_types=np.array(token_types, dtype=np.uint8),
        answer_spans=answers,
        action_span=action,
        segment_spans=tuple(spans),
    )
