"""One row of a batch while it is decoded: what is settled, what is expected, what the model then says."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from inspire_vla.decoding.choices import Choice
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.grammar import Place, Script, Token

Chooser = Callable[..., Choice]
"""(scores over the vocabulary, allowed token ids, forced=token id or None) → the choice; see `choose`."""


class Line:
    """`propose` gives the tokens of the next pass: what is settled, and behind it what is expected of the answers.
    `hear` compares that with what the model says, and keeps it as far as the two agree.

        settled     expected
        Q1 …        left  Q2 …  down  task …
              ^                ^            ^      asked: the scores here decide left?, down?, first code

    Expected are guessed words and, with certainty, forced ones. With neither this is plain greedy decoding.
    """

    def __init__(
        self, script: Script, choose: Chooser, *, guesses: Mapping[str, str], forced: Mapping[str, str]
    ) -> None:
        self.script, self.choose = script, choose
        self.forced = tuple(forced.get(mention) for mention in script.mentions)
        known = script.grammar.answers.token_ids_of  # a guess from elsewhere may be no word of ours
        self.guesses = tuple(w if (w := guesses.get(m)) in known else None for m in script.mentions)
        self.place = Place()
        self.done = False
        self.said: list[tuple[Place, Choice]] = []
        self._settled: tuple[Token, ...] = script.texts[0]

    def propose(self) -> tuple[list[Token], list[int]]:
        """The tokens of the next pass, and those among them after which the scores are asked for."""
        if self.done:
            return [], []
        tokens, asked, place = list(self._settled), [], self.place
        while True:
            asked.append(len(tokens) - 1)
            expected = self._expected(place)
            if expected is None:
                return tokens, asked
            place, spoken = self.script.say(place, expected)
            tokens += spoken

    def hear(self, asked: list[int], scores: Float[np.ndarray, "asked vocabulary"]) -> int:
        """Say the next tokens by their scores, on to the first that was not expected.

        Returns how many of the proposed tokens stand.
        """
        for at, row in zip(asked, scores, strict=True):
            allowed = self.script.allowed(self.place)
            expected = self._expected(self.place)
            choice = self.choose(row, allowed, forced=expected if self._is_forced(self.place) else None)
            self.said.append((self.place, choice))
            self.place, self._settled = self.script.say(self.place, choice.token_id)
            if choice.token_id != expected:
                self.done = self.script.allowed(self.place) is None
                return at + 1
        return 0  # nothing was asked: this row is done

    def decision(self, passes: int) -> Decision:
        """What was said, once it is done."""
        grammar, mentions = self.script.grammar, self.script.mentions
        spelled: list[tuple[int, ...]] = [()] * len(mentions)
        confidences = [1.0] * len(mentions)
        for place, choice in self.said:
            if place.answered < len(mentions):
                spelled[place.answered] += (choice.token_id,)
                confidences[place.answered] *= choice.probability
        answers = tuple(map(grammar.answers.word, spelled))
        forced = tuple(word is not None for word in self.forced)
        right = tuple(
            guess == answer and not steered
            for guess, answer, steered in zip(self.guesses, answers, forced, strict=True)
        )
        return Decision(
            grammar.actions(self.place.codes),
            mentions=mentions,
            answers=answers,
            confidences=tuple(confidences),
            forced=forced,
            guessed=right,
            token_ids=tuple(choice.token_id for _, choice in self.said),
            passes=passes,
        )

    def _is_forced(self, place: Place) -> bool:
        return place.answered < len(self.forced) and self.forced[place.answered] is not None

    def _expected(self, place: Place) -> int | None:
        """The token that is forced or guessed here; None for an action code, no guess, or one already refuted."""
        if place.answered == len(self.forced):
            return None
        word = self.forced[place.answered] or self.guesses[place.answered]
        if word is None:
            return None
        ids, spelled = self.script.grammar.answers.token_ids_of[word], place.spelled
        return ids[len(spelled)] if ids[: len(spelled)] == spelled else None
