"""What may be said when: fixed text, an answer, fixed text, an answer, fixed text, action codes."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary, UndecodableAction
from inspire_vla.decoding.choices import AnswerSet, ClosedSet
from inspire_vla.dialogue import Dialogue, TextTokenizer, TokenType, render
from inspire_vla.errors import InspireError, did_you_mean


class Token(NamedTuple):
    """A token in a sequence, and what it belongs to."""

    id: int
    token_type: int


class Place(NamedTuple):
    """How far a dialogue has been spoken: at a choice that has to be made, or (see `allowed`) at its end."""

    answered: int = 0
    """Complete answers."""
    spelled: tuple[int, ...] = ()
    """Tokens of the answer being given."""
    codes: tuple[int, ...] = ()
    """Action codes, once all answers are given."""

    @property
    def slot(self) -> tuple[int, int]:
        """Which token of which answer (or of the action) is chosen here, whatever was said before."""
        return self.answered, len(self.spelled) + len(self.codes)


class Grammar:
    """A policy's language: its answers, its action codes, and the text around them.

    Attributes:
        sayable: (n,) token ids of all that is ever chosen, answers and then codes: the columns of the scores.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        answers: AnswerSet,
        action_tokenizer: ActionTokenizer,
        action_vocabulary: ActionVocabulary,
    ) -> None:
        """Raises InspireError where a token is an answer and an action code as well."""
        action_vocabulary.check_disjoint(answers.all_ids)
        self.tokenizer, self.answers = tokenizer, answers
        self.action_tokenizer, self.action_vocabulary = action_tokenizer, action_vocabulary
        codes = action_vocabulary.to_ids(np.arange(action_vocabulary.size))
        self.sayable = np.concatenate([answers.all_ids, codes])
        # A robot repeats its instruction a thousand times; few are kept, as with its state in words each is new.
        self.script = lru_cache(maxsize=256)(self._script)

    def _script(self, dialogue: Dialogue) -> "Script":
        """The script of a dialogue, whose own answers are not looked at."""
        return Script(self, dialogue)

    def check(self, dialogue: Dialogue, forced: Mapping[str, str]) -> None:
        """Raise InspireError for a forced word that is no answer or an object that is not asked about."""
        for mention, word in forced.items():
            if mention not in dialogue.mentions:
                raise InspireError(
                    f"{mention!r} is not asked about.{did_you_mean(mention, dialogue.mentions)}"
                )
            self.answers.check(word)

    def some_answers(self, token_ids: Int[np.ndarray, " n"]) -> ClosedSet:
        """The set of these tokens of answers."""
        return ClosedSet(token_ids, np.searchsorted(self.answers.all_ids, token_ids))

    def some_codes(self, codes: Int[np.ndarray, " n"]) -> ClosedSet:
        """The set of these action codes."""
        return ClosedSet(self.action_vocabulary.to_ids(codes), len(self.answers.all_ids) + codes)

    def actions(self, codes: tuple[int, ...]) -> np.ndarray | None:
        """Codes → action chunk (horizon, action_dim), normalised. None where they stand for no action."""
        try:
            return self.action_tokenizer.decode(np.array(codes, dtype=np.int64))
        except UndecodableAction:
            return None


class Script:
    """One dialogue as a walk from place to place. The one renderer made its text, so training saw the same ids."""

    def __init__(self, grammar: Grammar, dialogue: Dialogue) -> None:
        self.grammar, self.mentions = grammar, dialogue.mentions
        filled = dialogue.with_answers([grammar.answers.words[0]] * len(dialogue.mentions))
        rendered = render(filled, grammar.tokenizer)
        tokens = tuple(map(Token, rendered.ids.tolist(), rendered.token_types.tolist()))
        starts = [0, *(stop for _, stop in rendered.answer_spans)]
        stops = [*(start for start, _ in rendered.answer_spans), len(tokens)]
        self.texts = tuple(tokens[a:b] for a, b in zip(starts, stops, strict=True))
        """Before each answer and, last, before the action."""

    def spell(self, words: Mapping[str, str]) -> dict[tuple[int, int], int]:
        """{mention: word} → {slot: token}. What is not asked about or no answer is left out."""
        known = self.grammar.answers.token_ids_of
        return {
            (number, depth): token
            for number, mention in enumerate(self.mentions)
            for depth, token in enumerate(known.get(words.get(mention, ""), ()))
        }

    def allowed(self, place: Place) -> ClosedSet | None:
        """What may be said here; None where all has been said."""
        grammar = self.grammar
        if place.answered < len(self.mentions):
            tokens = grammar.answers.allowed(place.spelled)
            return None if tokens is None else grammar.some_answers(tokens)
        codes = grammar.action_tokenizer.allowed_codes(len(place.codes), place.codes)
        return None if codes is None else grammar.some_codes(np.flatnonzero(codes))

    def say(self, place: Place, token_id: int) -> tuple[Place, tuple[Token, ...]]:
        """Where one stands after saying an allowed token, and what this adds: the token and the text behind it."""
        if place.answered == len(self.mentions):
            code = int(self.grammar.action_vocabulary.to_codes(token_id))
            return place._replace(codes=(*place.codes, code)), (Token(token_id, TokenType.ACTION),)
        token = Token(token_id, TokenType.ANSWER)
        spelled = (*place.spelled, token_id)
        if self.grammar.answers.allowed(spelled) is not None:
            return place._replace(spelled=spelled), (token,)
        return Place(place.answered + 1), (token, *self.texts[place.answered + 1])
