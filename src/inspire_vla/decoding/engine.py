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
    T  new tokens of a pass, padded           V  allowed token ids: all answers' tokens and all action codes
    S  scored slots of a row                  H  hidden size
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.flow import FlowContext, FlowExpert, denoise
from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.grammar import Grammar
from inspire_vla.decoding.kv_decoder import BatchedKVDecoder
from inspire_vla.decoding.row_state import RowState
from inspire_vla.dialogue import Dialogue, TokenType
from inspire_vla.errors import InspireError


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
    if temperature > 0:  # one per row, advanced once per token: drafts and other rows change no sample
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
