"""Where a policy looks while it answers and while it acts: attention rolled out over layers and heads.

Attention rollout (Abnar & Zuidema 2020): per layer the mean over heads, half of it replaced by the identity for the
residual connection, multiplied from the first layer to the last. Row t then says from which inputs the state at
position t, which predicts the next token, was mixed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inspire_vla.dialogue import render
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.loading import Agent, Observation


@torch.inference_mode()
def attention_over_picture(agent: Agent, observation: Observation, instruction: str) -> dict[str, np.ndarray]:
    """Let the policy decide, and return where it looked on its first camera's picture.

    Returns:
        {"answering": (h, w), "acting": (h, w)} float64 over the visual tokens, each summing to 1; without
        "answering" for a base model.

    Raises InspireError for a backbone without readable attention, or an undecodable action.
    """
    policy = agent.policy
    decision = agent.act([observation], [instruction])[0]
    if decision.actions is None:
        raise InspireError(
            f"tokens {decision.token_ids} stand for no action, so there is no acting to look at."
        )
    dialogue = policy.writer.prompt(instruction)
    if dialogue.mentions:
        dialogue = dialogue.with_answers(list(decision.answers))
    said = len(decision.token_ids) - sum(
        len(policy.answer_set.token_ids_of[word]) for word in decision.answers
    )
    rendered = render(dialogue, policy.writer.tokenizer, np.array(decision.token_ids[-said:]))
    batch = agent.preprocessor(agent._batch([observation], [instruction]))
    seen = policy._observe(batch)
    ids = torch.from_numpy(rendered.ids)[None].to(seen.device)
    with _attention_of(policy.backbone) as layers:
        policy.backbone.extend(torch.cat([seen, policy.backbone.embed(ids)], dim=1))
    if not layers:
        raise InspireError(f"backbone {policy.backbone.name!r} shows no attention weights.")
    mixed = rollout(layers)[0]
    height, width = _grid(policy, seen.shape[1])
    looks = {"answering": rendered.answer_spans, "acting": (rendered.action_span,)}
    found = {}
    for doing, spans in looks.items():
        rows = [
            seen.shape[1] + t - 1 for span in spans if span for t in range(*span)
        ]  # what predicts token t
        if rows:
            weights = mixed[rows, : height * width].mean(0).double().cpu().numpy()
            found[doing] = (weights / weights.sum()).reshape(height, width)
    return found


def rollout(layers: list[Tensor]) -> Tensor:
    """(batch, heads, T, T) of each layer, first to last → (batch, T, T), rows summing to 1."""
    mixed = torch.eye(layers[0].shape[-1], device=layers[0].device).expand(layers[0].shape[0], -1, -1)
    for weights in layers:
        mean = weights.float().mean(1)
        mixed = (0.5 * mean + 0.5 * torch.eye(mean.shape[-1], device=mean.device)) @ mixed
    return mixed


@dataclass
class _Listener:
    layers: list[Tensor] = field(default_factory=list)

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if (
            isinstance(output, tuple)
            and len(output) > 1
            and torch.is_tensor(output[1])
            and output[1].ndim == 4
        ):
            self.layers.append(output[1])


@contextmanager
def _attention_of(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Within, every attention layer of transformers' models leaves its weights in the list, first to last."""
    models = [m for m in backbone.modules() if isinstance(m, PreTrainedModel)]
    listener = _Listener()
    before = [(model, model.config._attn_implementation) for model in models]
    layers = {m for model in models for name, m in model.named_modules() if name.endswith("self_attn")}
    hooks = [m.register_forward_hook(listener) for m in layers]
    try:
        for model in models:
            model.set_attn_implementation("eager")  # the others don't keep the weights
        yield listener.layers
    finally:
        for hook in hooks:
            hook.remove()
        for model, implementation in before:
            model.set_attn_implementation(implementation)


def _grid(policy: Any, seen: int) -> tuple[int, int]:
    """Rows and columns of the visual tokens of one picture."""
    cameras = len(policy.config.image_features)
    height, width = next(iter(policy.config.image_features.values())).shape[-2:]
    for stride in range(1, min(height, width) + 1):
        tokens = (height // stride) * (width // stride) * cameras
        if height % stride == 0 and width % stride == 0 and 0 <= seen - tokens <= 4:  # a few for the state
            return height // stride, width // stride
    raise InspireError(
        f"cannot tell which of {seen} observed tokens belong to {cameras} × {height}×{width} pixels."
    )
