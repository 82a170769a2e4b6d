"""One row of a batch while it is decoded: what is settled, what is expected, what the model then says."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from inspire_vla.decoding.choices import Choice, choose
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.grammar import Place, Script, Token

Chooser = Callable[..., Choice]
"""(scores of what is sayable, the closed set, forced=token id or None) → the choice; see `choose`."""


class Line:
    """`propose` gives the tokens of the next pass: what is settled, and behind it what is expected to be said.
    `hear` compares that with what the model says, and keeps it as far as the two agree.

        settled     expected
        Q1 …        left  Q2 …  down  task …
              ^                ^            ^      asked: the scores here decide left?, down?, first code

    Expected are forced words, guessed words and, after a wrong guess, what the model said behind it: one other answer
    changes few of the later ones, and often not even the first code. With none of these this is plain greedy decoding.
    """

    def __init__(
        self, script: Script, pick: Chooser, *, guesses: Mapping[str, str], forced: Mapping[str, str]
    ) -> None:
        self.script, self.pick = script, pick
        self.guesses, self.forced = guesses, forced
        self._forced = script.spell(forced)
        self._expected = script.spell(guesses) | self._forced
        self._place = Place()
        self._allowed = script.allowed(self._place)
        self._said: list[tuple[Place, Choice]] = []
        self._settled: Sequence[Token] = script.texts[0]
        self._asked: list[tuple[int, Place]] = []

    @property
    def done(self) -> bool:
        """Whether all has been said."""
        return self._allowed is None

    def propose(self) -> tuple[list[Token], list[int]]:
        """The tokens of the next pass, and those among them after which the scores are asked for."""
        tokens: list[Token] = []
        self._asked = []
        place, spoken = self._place, self._settled
        while (
            self.script.allowed(place) is not None
        ):  # the very last token is only looked at, never passed through
            tokens += spoken
            self._asked.append((len(tokens) - 1, place))
            expected = self._expects(place)
            if expected is None:
                break
            place, spoken = self.script.say(place, expected)
        return tokens, [at for at, _ in self._asked]

    def hear(self, scores: Float[np.ndarray, "asked sayable"]) -> int:
        """Say the next tokens by their scores, on to the first that was not expected.

        Returns how many of the proposed tokens stand.
        """
        for number, (at, place) in enumerate(self._asked):
            expected = self._expects(place)
            choice = self.pick(scores[number], self._allowed, forced=self._forced.get(place.slot))
            self._said.append((place, choice))
            self._place, self._settled = self.script.say(place, choice.token_id)
            self._allowed = self.script.allowed(self._place)
            if choice.token_id != expected or self.done:
                self._expect_what_was_said(scores[number + 1 :], self._asked[number + 1 :])
                return at + 1
        return 0  # nothing was asked: this row is done

    def decision(self, passes: int) -> Decision:
        """What was said, once all has been."""
        mentions, grammar = self.script.mentions, self.script.grammar
        spelled: list[tuple[int, ...]] = [()] * len(mentions)
        confidences = [1.0] * len(mentions)
        for place, choice in self._said:
            if place.answered < len(mentions):
                spelled[place.answered] += (choice.token_id,)
                confidences[place.answered] *= choice.probability
        answers = tuple(map(grammar.answers.word, spelled))
        told = list(zip(mentions, answers, strict=True))
        return Decision(
            grammar.actions(self._place.codes),
            mentions=mentions,
            answers=answers,
            confidences=tuple(confidences),
            forced=tuple(mention in self.forced for mention in mentions),
            guessed=tuple(m not in self.forced and self.guesses.get(m) == answer for m, answer in told),
            token_ids=tuple(choice.token_id for _, choice in self._said),
            passes=passes,
        )

    def _expects(self, place: Place) -> int | None:
        """The token that is expected here, if one is and it may be said."""
        token = self._expected.get(place.slot)
        if token is None:
            return None
        allowed = self.script.allowed(place)
        return token if allowed is not None and token in allowed.token_ids else None

    def _expect_what_was_said(self, scores: np.ndarray, asked: list[tuple[int, Place]]) -> None:
        """Take what the model says behind a wrong guess for the next guess. No die is thrown for it."""
        for row, (_, place) in zip(scores, asked, strict=True):
            allowed = self.script.allowed(place)
            if place.slot not in self._forced and allowed is not None:
                self._expected[place.slot] = choose(row, allowed).token_id
