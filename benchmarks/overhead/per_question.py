"""The baseline: one generation per question, as in the paper's released code. For comparison only.

Each question, and then the action, is a generation of its own, which encodes the images and all text again. Within
one generation keys and values are cached, as `generate` does.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from inspire_vla.backbones.base import Backbone
from inspire_vla.decoding import BatchedKVDecoder, Decision, DecodeState, FlowHead, Grammar, Token, sample
from inspire_vla.dialogue import Dialogue


@torch.inference_mode()
def decode_per_question(
    backbone: Backbone,
    observe: Callable[[], Tensor],
    dialogue: Dialogue,
    grammar: Grammar,
    states: Callable[[], Tensor | None] = lambda: None,
    flow: FlowHead | None = None,
) -> Decision:
    """One row. `observe` encodes the images; it is called once per question and once for the action."""
    plan = grammar.plan(dialogue)
    allowed_ids = torch.from_numpy(grammar.allowed_token_ids).to(
        backbone.device
    )  # for fairness: the head costs as much as ours
    state, text = DecodeState(), list(plan.texts[0])
    answers: list[str] = []
    token_ids: list[int] = []
    passes = 0
    actions = None
    for _ in range(len(dialogue.mentions) + 1):
        decoder = BatchedKVDecoder(backbone, observe(), states=states())
        acts = state.num_answered == len(dialogue.mentions)
        new_tokens: list[Token] = text
        answered = state.num_answered
        spelled: tuple[int, ...] = ()
        while (allowed := plan.allowed(state)) is not None and state.num_answered == answered:
            hidden = decoder.extend([new_tokens])
            token = sample(
                backbone.logits(hidden[0, -1], allowed_ids).float().cpu().numpy(), allowed
            ).token_id
            state, added = plan.advance(state, token)
            token_ids.append(token)
            spelled += (token,)
            new_tokens = [added[0]]
            text += added
        if acts and flow is not None:
            decoder.extend([text])
            actions = flow.denoise(decoder.context(flow.expert.horizon))[0]
        passes += decoder.forward_passes
        if state.num_answered > answered:
            answers.append(grammar.answers.word(spelled))
    return Decision(
        actions if flow is not None else grammar.actions(state.codes),
        dialogue.mentions,
        tuple(answers),
        token_ids=tuple(token_ids),
        forward_passes=passes,
    )
