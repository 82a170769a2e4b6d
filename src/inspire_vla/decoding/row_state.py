"""One row of a batch while it is decoded: it drafts tokens, and accepts those that the model's scores confirm.

Axes: S scored slots of the row; V allowed token ids of all answers and action codes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.grammar import AllowedTokens, DecodeState, PromptPlan, Token
from inspire_vla.decoding.sampling import Sample, sample


class ScoredSlot(NamedTuple):
    """A slot that the scores after one new token decide."""

    position: int
    """Index of that token among the row's new tokens."""
    state: DecodeState
    allowed: AllowedTokens
    drafted: int | None
    """The draft token that follows; None where the draft ends."""


class RowState:
    """One row of the batch while it is decoded.

    `build_draft` returns the tokens of the next pass: the accepted tokens not yet in the cache, then the draft.
    `verify` compares the draft with the model's scores and accepts it up to the first mismatch.

        accepted    draft
        Q1 …        left  Q2 …  down  task …
              ^                ^            ^      scored: these positions decide left?, down?, first code

    The draft holds overrides, the caller's drafts and, after a rejected draft token, the model's own predictions behind
    it: one changed answer changes few later ones. Without any of these, this is plain greedy decoding.

    Attributes:
        done: whether answers and action codes are complete; for a flow expert, whether the last text is in the cache.
    """

    def __init__(
        self,
        plan: PromptPlan,
        *,
        drafts: Mapping[str, str],
        overrides: Mapping[str, str],
        temperature: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.plan, self.drafts, self.overrides = plan, drafts, overrides
        self.temperature, self.rng = temperature, rng
        self.done = False
        self.scored: list[ScoredSlot] = []
        self._new_tokens = 0
        self._override_tokens = plan.slot_tokens(overrides)
        self._draft_tokens = plan.slot_tokens(drafts) | self._override_tokens
        self._state = DecodeState()
        self._accepted: Sequence[Token] = plan.texts[0]
        self._samples: list[tuple[DecodeState, Sample]] = []

    def build_draft(self) -> tuple[list[Token], list[int]]:
        """Return the new tokens of the next pass and the positions among them whose scores are needed."""
        tokens: list[Token] = []
        self.scored = []
        if self.done:
            self._new_tokens = 0
            return [], []
        state, added = self._state, self._accepted
        while (allowed := self.plan.allowed(state)) is not None:
            tokens += added
            drafted = self._draft_tokens.get(state.slot)
            if drafted not in allowed.token_ids:
                drafted = None
            self.scored.append(ScoredSlot(len(tokens) - 1, state, allowed, drafted))
            if drafted is None:
                break
            state, added = self.plan.advance(state, drafted)
        else:  # the dialogue ends here; the very last action code never needs a pass
            if not self.plan.grammar.has_codes:
                tokens += added
        self._new_tokens = len(tokens)
        return tokens, [slot.position for slot in self.scored]

    def verify(self, scores: Float[np.ndarray, "S V"]) -> int:
        """Sample a token for each scored slot, up to the first that differs from the draft.

        Returns how many of the new tokens are accepted.
        """
        for number, (position, state, allowed, drafted) in enumerate(self.scored):
            override = self._override_tokens.get(state.slot)
            token = sample(scores[number], allowed, override, self.temperature, self.rng)
            self._samples.append((state, token))
            self._state, self._accepted = self.plan.advance(state, token.token_id)
            if token.token_id != drafted:
                self.redraft(scores[number + 1 :], self.scored[number + 1 :])
                self.done = self.plan.grammar.has_codes and self.plan.allowed(self._state) is None
                return position + 1
        self.done = True
        return self._new_tokens

    def redraft(self, scores: Float[np.ndarray, "S V"], slots: Sequence[ScoredSlot]) -> None:
        """Draft the model's best tokens for the slots behind a rejected draft token. Draws no random number."""
        for slot_scores, (_, state, allowed, _) in zip(scores, slots, strict=True):
            if state.slot not in self._override_tokens:
                self._draft_tokens[state.slot] = sample(slot_scores, allowed).token_id

    def decision(
        self, forward_passes: int, actions: Float[np.ndarray, "horizon action_dim"] | None = None
    ) -> Decision:
        """Return the outcome; call it when the row is done. `actions`: a flow expert's."""
        mentions, grammar = self.plan.mentions, self.plan.grammar
        answer_tokens: list[tuple[int, ...]] = [()] * len(mentions)
        confidences = [1.0] * len(mentions)
        for state, token in self._samples:
            if state.num_answered < len(mentions):
                answer_tokens[state.num_answered] += (token.token_id,)
                confidences[state.num_answered] *= token.probability
        answers = tuple(map(grammar.answers.word, answer_tokens))
        return Decision(
            grammar.actions(self._state.codes) if grammar.has_codes and self.plan.acts else actions,
            mentions=mentions,
            answers=answers,
            confidences=tuple(confidences),
            overridden=tuple(mention in self.overrides for mention in mentions),
            accepted=tuple(
                mention not in self.overrides and self.drafts.get(mention) == answer
                for mention, answer in zip(mentions, answers, strict=True)
            ),
            token_ids=tuple(token.token_id for _, token in self._samples),
            forward_passes=forward_passes,
        )
