"""Constrained decoding: which tokens are allowed at each slot of a dialogue.

A dialogue is fixed text with slots between: `text answer text answer text code code …`. An answer slot allows the
answers of the reasoning mode, a code slot what the action tokenizer allows after the codes so far.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary, UndecodableAction
from inspire_vla.dialogue import (
    Dialogue,
    Template,
    TextTokenizer,
    TokenType,
    answer_token_sequences,
    render,
)
from inspire_vla.errors import InspireError, did_you_mean


class Token(NamedTuple):
    """A token of a sequence."""

    id: int
    type: int
    """Its `TokenType`."""


class AllowedTokens(NamedTuple):
    """The tokens allowed at one slot. Only `Grammar.allowed_token_ids` are scored, so columns are not ids."""

    token_ids: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " n"]
    """The columns of the scores that belong to these tokens."""


class DecodeState(NamedTuple):
    """How far a dialogue is decoded."""

    num_answered: int = 0
    """Complete answers."""
    answer_tokens: tuple[int, ...] = ()
    """Tokens of the answer that is not complete."""
    codes: tuple[int, ...] = ()
    """Action codes; none before all answers are complete."""

    @property
    def slot(self) -> tuple[int, int]:
        """(number of the answer or, last, the action; number of the token in it), whatever was decoded before."""
        return self.num_answered, len(self.answer_tokens) + len(self.codes)


class AnswerSet:
    """The allowed answers of a reasoning mode, as a trie of token ids.

    Most answers are one token. Each token of a longer answer ("front left down") is chosen among those that continue
    to an allowed answer.
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
        """Return the token ids that may follow `prefix`, ascending; None if `prefix` is a complete answer."""
        return self._children.get(tuple(prefix))

    def word(self, token_ids: Sequence[int]) -> str:
        """Return the answer of these tokens."""
        return self._word_of[tuple(token_ids)]

    def check(self, word: str) -> str:
        """Return `word`. Raises InspireError with the possible answers if it is none of them."""
        if word not in self.token_ids_of:
            shown = self.words if len(self.words) <= 40 else [*self.words[:5], "…", self.words[-1]]
            raise InspireError(f"{word!r} is no answer here.{did_you_mean(word, shown)}")
        return word


class Grammar:
    """What a policy can decode: its answers, its action codes, and the fixed text between them.

    Attributes:
        allowed_token_ids: (V,) all token ids that any slot allows, answers first, then codes: the scores' columns.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        answers: AnswerSet,
        action_tokenizer: ActionTokenizer | None = None,
        action_vocabulary: ActionVocabulary | None = None,
    ) -> None:
        """`action_tokenizer`, `action_vocabulary`: None where a flow expert makes the actions.

        Raises InspireError if a token id is both an answer's and an action code's.
        """
        self.tokenizer, self.answers = tokenizer, answers
        self.action_tokenizer, self.action_vocabulary = action_tokenizer, action_vocabulary
        self.allowed_token_ids = answers.all_ids
        if action_vocabulary is not None:
            action_vocabulary.check_disjoint(answers.all_ids)
            code_ids = action_vocabulary.to_ids(np.arange(action_vocabulary.size))
            self.allowed_token_ids = np.concatenate([answers.all_ids, code_ids])
        # An instruction is used a thousand times. Few plans are kept: a prompt with the state as text never repeats.
        self.plan = lru_cache(maxsize=256)(self._plan)

    @property
    def has_codes(self) -> bool:
        """Whether actions are decoded as codes."""
        return self.action_tokenizer is not None

    def _plan(self, dialogue: Dialogue) -> "PromptPlan":
        """Return the plan of a dialogue. Answers that it holds are ignored."""
        return PromptPlan(self, dialogue)

    def check_overrides(self, dialogue: Dialogue, overrides: Mapping[str, str]) -> None:
        """Raise InspireError for an override that is no answer or whose object is not asked about."""
        for mention, word in overrides.items():
            if not dialogue.mentions:
                raise InspireError(
                    f"The policy is asked nothing here, so no answer can be overridden; found one about {mention!r}."
                )
            if mention not in dialogue.mentions:
                raise InspireError(
                    f"{mention!r} is not asked about.{did_you_mean(mention, dialogue.mentions)}"
                )
            self.answers.check(word)

    def actions(self, codes: tuple[int, ...]) -> np.ndarray | None:
        """Return the normalised actions (horizon, action_dim) of `codes`, or None if they decode to no action."""
        assert self.action_tokenizer is not None
        try:
            return self.action_tokenizer.decode(np.array(codes, dtype=np.int64))
        except UndecodableAction:
            return None


class PromptPlan:
    """The fixed text of one dialogue and the slots between. Its token ids are those of training (see `render`).

    Attributes:
        texts: fixed tokens before each answer and, last, before the action.
        acts: whether an action follows the answers.
    """

    def __init__(self, grammar: Grammar, dialogue: Dialogue) -> None:
        self.grammar, self.mentions, self.acts = grammar, dialogue.mentions, dialogue.acts
        filled = dialogue.with_answers([grammar.answers.words[0]] * len(dialogue.mentions))
        rendered = render(filled, grammar.tokenizer)
        tokens = tuple(map(Token, rendered.ids.tolist(), rendered.token_types.tolist()))
        starts = [0, *(stop for _, stop in rendered.answer_spans)]
        stops = [*(start for start, _ in rendered.answer_spans), len(tokens)]
        self.texts = tuple(tokens[a:b] for a, b in zip(starts, stops, strict=True))

    def slot_tokens(self, words: Mapping[str, str]) -> dict[tuple[int, int], int]:
        """{mention: answer} → {slot: token id}. Skips mentions without a question and words that are no answer."""
        known = self.grammar.answers.token_ids_of
        return {
            (number, depth): token
            for number, mention in enumerate(self.mentions)
            for depth, token in enumerate(known.get(words.get(mention, ""), ()))
        }

    def allowed(self, state: DecodeState) -> AllowedTokens | None:
        """Return the tokens allowed at the slot of `state`; None if the dialogue is complete."""
        grammar = self.grammar
        answer_ids = grammar.answers.all_ids
        if state.num_answered < len(self.mentions):
            ids = grammar.answers.allowed(state.answer_tokens)
            return None if ids is None else AllowedTokens(ids, np.searchsorted(answer_ids, ids))
        if not self.acts or grammar.action_tokenizer is None or grammar.action_vocabulary is None:
            return None
        codes = grammar.action_tokenizer.allowed_codes(state.codes)
        if codes is None:
            return None
        return AllowedTokens(grammar.action_vocabulary.to_ids(codes), len(answer_ids) + codes)

    def advance(self, state: DecodeState, token_id: int) -> tuple[DecodeState, tuple[Token, ...]]:
        """Return the state after an allowed token, and the tokens to append: it and the fixed text behind it."""
        if state.num_answered == len(self.mentions):
            assert self.grammar.action_vocabulary is not None
            code = int(self.grammar.action_vocabulary.to_codes(token_id))
            return state._replace(codes=(*state.codes, code)), (Token(token_id, TokenType.ACTION),)
        token = Token(token_id, TokenType.ANSWER)
        answer_tokens = (*state.answer_tokens, token_id)
        if self.grammar.answers.allowed(answer_tokens) is not None:
            return state._replace(answer_tokens=answer_tokens), (token,)
        return DecodeState(state.num_answered + 1), (token, *self.texts[state.num_answered + 1])
