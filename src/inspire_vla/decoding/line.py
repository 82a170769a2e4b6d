"""One row of a batch while it is decoded: what is settled, what is expected, what the model then says."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from inspire_vla.decoding.choices import Choice, ClosedSet, choose
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.grammar import Place, Script, Token

Chooser = Callable[..., Choice]
"""(scores of what is sayable, the closed set, forced=token id or None) → the choice; see `choose`."""


class Asked(NamedTuple):
    """A choice that the scores after a proposed token decide."""

    at: int
    """Which token of the piece."""
    place: Place
    allowed: ClosedSet
    expected: int | None
    """The token that was proposed behind it; None: the piece ends here."""


class Line:
    """`propose` gives the tokens of the next pass: what is settled, and behind it what is expected to be said.
    `hear` compares that with what the model says, and keeps it as far as the two agree.

        settled     expected
        Q1 …        left  Q2 …  down  task …
              ^                ^            ^      asked: the scores here decide left?, down?, first code

    Expected are forced words, guessed words and, after a wrong guess, what the model said behind it: one other answer
    changes few of the later ones, and often not even the first code. With none of these this is plain greedy decoding.

    Attributes:
        done: all has been said.
    """

    def __init__(
        self, script: Script, pick: Chooser, *, drafts: Mapping[str, str], overrides: Mapping[str, str]
    ) -> None:
        self.script, self.pick = script, pick
        self.drafts, self.overrides = drafts, overrides
        self.done = False
        self._forced = script.spell(overrides)
        self._expected = script.spell(drafts) | self._forced
        self._place = Place()
        self._settled: Sequence[Token] = script.texts[0]
        self._asked: list[Asked] = []
        self._said: list[tuple[Place, Choice]] = []

    def propose(self) -> tuple[list[Token], list[int]]:
        """The tokens of the next pass, and those among them after which the scores are asked for."""
        tokens: list[Token] = []
        self._asked = []
        place, spoken = self._place, self._settled
        while (allowed := self.script.allowed(place)) is not None:
            tokens += spoken
            expected = self._expected.get(place.slot)
            if expected not in allowed.token_ids:
                expected = None
            self._asked.append(Asked(len(tokens) - 1, place, allowed, expected))
            if expected is None:
                break
            place, spoken = self.script.say(place, expected)
        return tokens, [asked.at for asked in self._asked]  # the very last token never passes through

    def hear(self, scores: Float[np.ndarray, "asked sayable"]) -> int:
        """Say the next tokens by their scores, on to the first that was not expected.

        Returns how many of the proposed tokens stand.
        """
        stands = 0
        for number, (at, place, allowed, expected) in enumerate(self._asked):
            choice = self.pick(scores[number], allowed, forced=self._forced.get(place.slot))
            self._said.append((place, choice))
            self._place, self._settled = self.script.say(place, choice.token_id)
            stands = at + 1
            if choice.token_id != expected:
                self._expect_what_was_said(scores[number + 1 :], self._asked[number + 1 :])
                break
        self.done = self.script.allowed(self._place) is None
        return stands

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
            overridden=tuple(mention in self.overrides for mention in mentions),
            accepted=tuple(m not in self.overrides and self.drafts.get(m) == answer for m, answer in told),
            token_ids=tuple(choice.token_id for _, choice in self._said),
            forward_passes=passes,
        )

    def _expect_what_was_said(self, scores: np.ndarray, asked: Sequence[Asked]) -> None:
        """Take what the model says behind a wrong guess for the next guess. No die is thrown for it."""
        for row, (_, place, allowed, _) in zip(scores, asked, strict=True):
            if place.slot not in self._forced:
                self._expected[place.slot] = choose(row, allowed).token_id
