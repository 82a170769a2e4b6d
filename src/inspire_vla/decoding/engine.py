"""Speculative decoding of a dialogue: answer where each object is, then act (arXiv 2505.13888, section III).

    images  Q1 answer  Q2 answer  instruction  code code …

Each token passes through the backbone once, over one growing key-value cache. Answers rarely change between two
control steps, so the last answers are the draft. One forward pass takes the images and the whole draft (draft). The
model's scores then accept draft tokens up to the first mismatch (verify, accept), and the rest is drafted again. If
every draft is accepted, reasoning costs no forward pass of its own. The result is that of decoding without drafts.

A policy with a flow expert has no action codes. The text behind the last answer goes through the backbone as well, and
the expert turns noise into the action chunk over the keys and values in the cache.

Axes of tensors:
    B  rows of the batch, one robot each      P  prefix: the elements that encode images and state
    T  new tokens of a pass, padded           C  columns of the cache: prefix and all tokens so far
    S  scored slots of a row                  V  allowed token ids: all answers' tokens and all action codes
    H  hidden size
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.flow import FlowContext, FlowExpert, denoise
from inspire_vla.decoding.grammar import AllowedTokens, DecodeState, Grammar, PromptPlan, Token
from inspire_vla.dialogue import Dialogue, TokenType
from inspire_vla.errors import InspireError


@dataclass(frozen=True)
class Decision:
    """The outcome of one control step. The tuples about answers run parallel to `mentions`.

    Attributes:
        actions: (horizon, action_dim). `decode` returns normalised actions, an agent those of the robot. None if the
            codes decode to no action; the caller counts and reports that. A flow expert always returns actions.
        mentions: the objects asked about, in order; () for the base model.
        answers: the answer about each object: the model's, or the caller's override.
        confidences: the model's probability of the answer among the allowed answers.
        overridden: whether the caller set the answer.
        accepted: whether the answer was drafted and the model accepted the draft.
        token_ids: all decoded tokens in order: answers, then action codes; a flow expert has none.
        forward_passes: forward passes of the backbone; all rows of a batch share them. The steps of a flow expert,
            which is small, are not counted.
    """

    actions: Float[np.ndarray, "horizon action_dim"] | None
    mentions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    overridden: tuple[bool, ...] = ()
    accepted: tuple[bool, ...] = ()
    token_ids: tuple[int, ...] = ()
    forward_passes: int = 0

    @property
    def decodable(self) -> bool:
        """Whether the codes decode to actions."""
        return self.actions is not None

    @property
    def answers_by_mention(self) -> dict[str, str]:
        """{mention: answer}: the draft of the next control step."""
        return dict(zip(self.mentions, self.answers, strict=True))

    def followed_by(self, action: "Decision") -> "Decision":
        """The answers of this decision and the action of another one, which was decoded without them."""
        return replace(
            self,
            actions=action.actions,
            token_ids=self.token_ids + action.token_ids,
            forward_passes=self.forward_passes + action.forward_passes,
        )


@dataclass(frozen=True)
class FlowHead:
    """A flow expert and the noise that it starts from.

    Attributes:
        action_dim: numbers of the robot's actions; the expert may take more.
        steps: Euler steps.
    """

    expert: FlowExpert
    noise: Float[Tensor, "B horizon expert_dim"]
    action_dim: int
    steps: int

    def denoise(self, context: FlowContext) -> Float[np.ndarray, "B horizon action_dim"]:
        """The normalised actions of each row. Raises InspireError where they are not finite."""
        actions = denoise(self.expert, context, self.noise, self.steps)[..., : self.action_dim]
        chunks = actions.float().cpu().numpy()
        if not np.isfinite(chunks).all():
            raise InspireError("The model's actions are NaN or infinite: weights or inputs are broken.")
        return chunks


@torch.inference_mode()
def decode(
    backbone: Backbone,
    prefix: Float[Tensor, "B P H"],
    dialogues: Sequence[Dialogue],
    grammar: Grammar,
    *,
    drafts: Sequence[Mapping[str, str]] | None = None,
    overrides: Sequence[Mapping[str, str]] | None = None,
    temperature: float = 0.0,
    generator: np.random.Generator | None = None,
    hide: Collection[TokenType] = (),
    states: Float[Tensor, "B state_tokens H"] | None = None,
    flow: FlowHead | None = None,
) -> list[Decision]:
    """Answer the questions of each dialogue, then decode its action chunk; none for `Dialogue.questions_alone`.

    Answers are constrained to the answer set, action codes to what the action tokenizer allows. Drafts never change
    the outcome, except by the rounding of the backbone's arithmetic, which may differ between one long forward pass
    and several short ones.

    Args:
        prefix: the encoded observation.
        dialogues: one per row; answers that they hold are ignored.
        drafts: per row {mention: answer} expected, usually the answers of the previous control step.
        overrides: per row {mention: answer} to use instead of the model's answers.
        temperature: 0 takes the token with the highest score; above 0, answers and codes are sampled.
        generator: the source of the samples. Drafts do not change the samples.
        hide: token types that the action must not attend to (see `make_attention_mask`); for models trained so.
        states: `Backbone.encode_state` of each row.
        flow: the expert that makes the actions, for a grammar without action codes.

    Raises:
        InspireError: an override that is no answer or whose object is not asked about, a wrong number of rows,
            a temperature below 0, scores or actions that are not finite.
    """
    assert grammar.has_codes == (flow is None), "either action codes or a flow expert"
    rows = _start_rows(len(prefix), dialogues, grammar, drafts, overrides, temperature, generator)
    decoder = BatchedKVDecoder(backbone, prefix, hide=hide, states=states)
    allowed = torch.from_numpy(grammar.allowed_token_ids).to(prefix.device)
    while not all(row.done for row in rows):
        new_tokens, slots = zip(*(row.build_draft() for row in rows), strict=True)
        hidden = decoder.extend(new_tokens)
        scores = _score(backbone, hidden, slots, allowed)
        decoder.truncate([row.verify(row_scores) for row, row_scores in zip(rows, scores, strict=True)])
    if flow is None:
        return [row.decision(decoder.forward_passes) for row in rows]
    chunks = flow.denoise(decoder.context(flow.expert.horizon))
    return [row.decision(decoder.forward_passes, chunk) for row, chunk in zip(rows, chunks, strict=True)]


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


class Sample(NamedTuple):
    """A token and its probability among the allowed tokens."""

    token_id: int
    probability: float


def sample(
    scores: Float[np.ndarray, " V"],
    allowed: AllowedTokens,
    override: int | None = None,
    temperature: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Sample:
    """Return one of the `allowed` tokens: `override`, else the best one, or a random one at a temperature above 0.

    The probability is the softmax over `allowed` at temperature 1: tokens that are not allowed are left out of the
    softmax. The first of equal scores wins. Raises InspireError for scores that are not finite.
    """
    logits = scores[allowed.columns].astype(np.float64)
    if not np.isfinite(logits).all():
        raise InspireError("The model's scores are NaN or infinite: weights or inputs are broken.")
    logits -= logits.max()
    weights = np.exp(logits)
    if override is not None:
        index = int(np.flatnonzero(allowed.token_ids == override)[0])
    elif temperature > 0:
        tempered = np.exp(logits / temperature)
        index = int((rng or np.random.default_rng()).choice(len(logits), p=tempered / tempered.sum()))
    else:
        index = int(logits.argmax())
    return Sample(int(allowed.token_ids[index]), float(weights[index] / weights.sum()))


class BatchedKVDecoder:
    """Rows of different length over one key-value cache. Each token passes through the backbone once.

    New tokens are padded on the right. No row attends to a padded column, so each row equals the row computed alone:

        column    0   1   2 | 3  4  5 | 6
        row 0     img img img Q  Q  Q   a
        row 1     img img img Q  ·  ·   a      ·  padding: in the cache, but masked

    Attributes:
        token_types: (B, C) the `TokenType` of each column of the cache, or PREFIX or PAD.
        forward_passes: how often the backbone ran.
    """

    def __init__(
        self,
        backbone: Backbone,
        prefix: Float[Tensor, "B P H"],
        *,
        hide: Collection[TokenType] = (),
        states: Float[Tensor, "B state_tokens H"] | None = None,
    ) -> None:
        self.backbone, self.hide, self.states = backbone, hide, states
        self.cache = backbone.new_cache(len(prefix))
        self.token_types: np.ndarray = np.full((len(prefix), 0), PAD, dtype=np.int64)
        self.forward_passes = 0
        self._prefix = prefix  # goes through the backbone together with the first tokens
        self._start = 0  # the column where the newest tokens begin

    def extend(self, new_tokens: Sequence[Sequence[Token]]) -> Float[Tensor, "B T H"]:
        """Append tokens to each row (none is possible) and return their hidden states; those of padding are junk."""
        padded = np.zeros((len(new_tokens), max(map(len, new_tokens)), 2), dtype=np.int64)
        padded[..., 1] = PAD
        for row, tokens in enumerate(new_tokens):
            padded[row, : len(tokens)] = np.array(tokens, dtype=np.int64).reshape(-1, 2)
        token_ids, token_types = padded[..., 0], padded[..., 1]
        device = self._prefix.device
        ids, types = (torch.from_numpy(array).to(device) for array in (token_ids, token_types))
        embeddings = self.backbone.embed_sequence(ids, types, self.states)
        past = self._start = self.token_types.shape[1]
        if self.forward_passes == 0:
            self._start = self._prefix.shape[1]
            embeddings = torch.cat([self._prefix.to(embeddings.dtype), embeddings], dim=1)
            prefix_types = np.full(self._prefix.shape[:2], PREFIX)
            token_types = np.concatenate([prefix_types, token_types], axis=1)
        self.token_types = np.concatenate([self.token_types, token_types], axis=1)
        positions = np.maximum(np.cumsum(self.token_types != PAD, axis=1) - 1, 0)[:, past:]
        mask = make_attention_mask(
            torch.from_numpy(self.token_types),
            past=past,
            bidirectional_prefix=self.backbone.bidirectional_prefix,
            hide=self.hide,
        )
        hidden = self.backbone.extend(
            embeddings,
            positions=torch.from_numpy(positions).to(device),
            attention_mask=None if mask is None else mask.to(device),
            cache=self.cache,
        )
        self.forward_passes += 1
        return hidden[:, self._start - past :]

    def context(self, horizon: int) -> FlowContext:
        """What a flow expert reads: the keys and values of all columns."""
        token_types = torch.from_numpy(self.token_types).to(self._prefix.device)
        return FlowContext.of(self.backbone.key_values(self.cache), token_types, horizon, self.hide)

    def truncate(self, counts: Sequence[int]) -> None:
        """Keep the first `counts[row]` of each row's newest tokens and remove the others."""
        columns = np.arange(self.token_types.shape[1]) - self._start
        self.token_types[columns >= np.array(counts)[:, None]] = PAD
        used = self._start + max(counts)
        if used < self.token_types.shape[1]:  # no row uses the last columns
            self.cache.crop(used)
            self.token_types = self.token_types[:, :used]


def _start_rows(
    count: int,
    dialogues: Sequence[Dialogue],
    grammar: Grammar,
    drafts: Sequence[Mapping[str, str]] | None,
    overrides: Sequence[Mapping[str, str]] | None,
    temperature: float,
    generator: np.random.Generator | None,
) -> list[RowState]:
    """Check what `decode` was given and return a state per row."""
    expected = len(dialogues)
    drafts, overrides = drafts or [{}] * expected, overrides or [{}] * expected
    counts = {"observations": count, "drafts": len(drafts), "overrides": len(overrides)}
    wrong = [f"{number} {name}" for name, number in counts.items() if number != expected]
    if wrong or not dialogues:
        raise InspireError(f"{' and '.join(wrong) or 'nothing'} for {expected} dialogues.")
    if not temperature >= 0:
        raise InspireError(f"A temperature is 0 (the best token) or above (samples); found {temperature}.")
    rngs: Sequence[np.random.Generator | None] = [None] * expected
    if (
        temperature > 0
    ):  # one per row, advanced once per decoded token: drafts and other rows change no sample
        rngs = (generator or np.random.default_rng()).spawn(expected)
    rows = []
    for dialogue, draft, override, rng in zip(dialogues, drafts, overrides, rngs, strict=True):
        grammar.check_overrides(dialogue, override)
        plan = grammar.plan(dialogue)
        rows.append(RowState(plan, drafts=draft, overrides=override, temperature=temperature, rng=rng))
    return rows


def _score(
    backbone: Backbone,
    hidden: Float[Tensor, "B T H"],
    slots: Sequence[Sequence[int]],
    allowed: Int[Tensor, " V"],
) -> list[Float[np.ndarray, "S V"]]:
    """Score the `allowed` token ids at the positions `slots` of each row, in one pass through the output head.

    Other token ids are not scored: π0-FAST would read 2 GiB of its output head for each code instead of 16 MiB.
    """
    rows = [row for row, positions in enumerate(slots) for _ in positions]
    if not rows:  # text alone
        return [np.empty((0, len(allowed)))] * len(slots)
    states = hidden[rows, [position for positions in slots for position in positions]]
    scores = backbone.logits(states, among=allowed).float().cpu().numpy()
    return np.split(scores, np.cumsum([len(positions) for positions in slots])[:-1])
