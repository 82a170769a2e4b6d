"""Attention maps of a policy: over the image, for each answer and for the action (figure 4 of the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inspire_vla.backbones.attention import (
    METHODS,
    PREFIX,
    attention_rollout,
    gradient_rollout,
    make_attention_mask,
)
from inspire_vla.backbones.hf_decoder import attention_weights
from inspire_vla.decoding import Decision
from inspire_vla.dialogue import Rendered, render
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.lerobot_plugin.agent import Agent, Observation
from inspire_vla.lerobot_plugin.checkpoints import check_attention
from inspire_vla.lerobot_plugin.tokenizer import DIALOGUES


@dataclass(frozen=True)
class AttentionMap:
    """A policy's attention over the image of its first camera, for one answer or for the action.

    Attributes:
        doing: "answering" the question about `mention`, or "acting", where `mention` is None.
        answer: "" for the action.
        weights: (h, w) over the image's tokens, ≥ 0, summing to 1.
    """

    doing: Literal["answering", "acting"]
    mention: str | None
    answer: str
    weights: Float[np.ndarray, "h w"]


def attention_maps(
    agent: Agent, observation: Observation, instruction: str, *, method: str = "rollout"
) -> tuple[AttentionMap, ...]:
    """Decide, and return the attention maps of that decision: one for each answer, then one for the action.

    method: see `backbones.attention`. "gradient" weights by the gradient of the log-probability of the decoded tokens.

    Raises InspireError for an unknown method, a backbone without readable attention, a policy that acts by a flow
    expert or asks its questions apart, or an undecodable action.
    """
    if method not in METHODS:
        raise InspireError(f"Unknown method {method!r}.{did_you_mean(method, METHODS)}")
    check_attention(has_codes=agent.config.has_codes, asks_apart=agent.config.reasoning.asks_apart)
    decision = agent.act([observation], [instruction])[0]
    if decision.actions is None:
        raise InspireError(
            f"tokens {decision.token_ids} stand for no action, so the action has no attention map."
        )
    policy = agent.policy
    batch = agent.preprocessor(agent.batch([observation], [instruction]))
    rendered = _rendered_decision(policy, batch, decision)
    with torch.no_grad():  # not inference_mode, whose tensors have no gradient
        prefix = policy.encode_observation(batch)
    answered = [("answering", m, a) for m, a in zip(decision.mentions, decision.answers, strict=True)]
    assert rendered.action_span is not None
    spans = [*rendered.answer_spans, rendered.action_span]
    with torch.set_grad_enabled(method == "gradient"), attention_weights(policy.backbone) as layers:
        hidden = _pass(policy, prefix, rendered)
        plain = attention_rollout(layers)
        maps = []
        for (doing, mention, answer), span in zip([*answered, ("acting", None, "")], spans, strict=True):
            rows = [prefix.shape[1] + t - 1 for t in range(*span)]  # the state before token t predicts it
            mixed = plain
            if method == "gradient":
                mixed = gradient_rollout(layers, _log_probability(policy, hidden[0, rows], rendered, span))
            weights = _over_image(policy, mixed[0, rows].mean(0), prefix.shape[1])
            maps.append(AttentionMap(doing, mention, answer, weights))  # type: ignore[arg-type]
    return tuple(maps)


def _rendered_decision(policy: Any, batch: dict[str, Any], decision: Decision) -> Rendered:
    """The sequence of the decision, with its answers and its action."""
    (dialogue,) = batch[DIALOGUES]
    if dialogue.mentions:
        dialogue = dialogue.with_answers(list(decision.answers))
    answered = sum(len(policy.answer_set.token_ids_of[word]) for word in decision.answers)
    return render(
        dialogue, policy.tokenizer.prompt_builder.tokenizer, np.array(decision.token_ids[answered:])
    )


def _pass(policy: Any, prefix: Tensor, rendered: Rendered) -> Float[Tensor, "1 total hidden"]:
    """The hidden states of the sequence in one pass, with the mask that training and decoding have."""
    backbone = policy.backbone
    ids = torch.from_numpy(rendered.ids)[None].to(prefix.device)
    token_types = torch.from_numpy(rendered.token_types.astype(np.int64))[None].to(prefix.device)
    token_types = torch.cat([token_types.new_full(prefix.shape[:2], PREFIX), token_types], dim=1)
    attention_mask = make_attention_mask(
        token_types, bidirectional_prefix=backbone.bidirectional_prefix, hide=policy.config.reasoning.hidden
    )
    if attention_mask is None:
        total = token_types.shape[1]
        attention_mask = torch.ones(1, total, total, dtype=torch.bool, device=prefix.device).tril()
    with torch.no_grad():
        embeddings = torch.cat([prefix, backbone.embed(ids).to(prefix.dtype)], dim=1)
    embeddings.requires_grad_(torch.is_grad_enabled())  # so that there is a gradient where all is frozen
    return backbone.extend(embeddings, attention_mask=attention_mask)


def _log_probability(
    policy: Any, hidden: Float[Tensor, "decoded hidden"], rendered: Rendered, span: Sequence[int]
) -> Float[Tensor, ""]:
    ids = torch.from_numpy(rendered.ids[slice(*span)]).to(hidden.device)
    scores = policy.backbone.logits(hidden).float().log_softmax(-1)
    return scores.gather(-1, ids[:, None]).sum()


def _over_image(policy: Any, row: Float[Tensor, " total"], prefix_length: int) -> Float[np.ndarray, "h w"]:
    """The weights of the first camera's latest image, summing to 1."""
    cameras, history = len(policy.config.image_features), policy.config.n_obs_steps
    columns, shape = policy.backbone.image_tokens(prefix_length, cameras * history, cameras * (history - 1))
    values = row.cpu().double().numpy()  # in this order: Apple's GPUs have no float64
    weights = values[list(columns)]
    if not weights.sum() > 0:  # a gradient may leave the image out altogether
        return np.full(shape, 1 / len(weights))
    return (weights / weights.sum()).reshape(shape)
