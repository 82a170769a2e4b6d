"""From which elements a backbone's states were mixed: the attention of every layer, rolled out from last to first.

Two ways, both for any backbone whose decoder is a model of transformers:

    rollout    (Abnar & Zuidema 2020)  per layer the mean over heads, half of it replaced by the identity for the
               residual connection, multiplied from the first layer to the last: where it looks.
    gradient   (Chefer et al. 2021)    per layer the mean over heads of weight · d score / d weight, where positive,
               added to what came before: where it looks to say what it says.

Row t then belongs to the state at position t, which predicts the next token.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from inspire_vla.backbones.base import Backbone
from inspire_vla.errors import InspireError

METHODS = ("rollout", "gradient")


@contextmanager
def attention_weights(backbone: Backbone) -> Iterator[list[Tensor]]:
    """Within, every attention layer leaves its weights (batch, heads, T, T) in the list, first to last.

    A pass within needs an explicit mask: the layers compute attention the plain way, which takes none for "sees all".
    """
    models = [m for m in backbone.modules() if isinstance(m, PreTrainedModel)]
    before = [(model, model.config._attn_implementation) for model in models]
    layers = {m for model in models for name, m in model.named_modules() if name.endswith("self_attn")}
    found: list[Tensor] = []

    def listen(module: nn.Module, inputs: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if isinstance(weights, Tensor) and weights.ndim == 4:
            found.append(weights)

    def number(module: nn.Module, inputs: Any, options: dict[str, Any]) -> Any:
        mask = options.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dtype == torch.bool:  # the plain way would add it as 0 and 1
            options = {**options, "attention_mask": as_numbers(mask, next(module.parameters()).dtype)}
        return inputs, options

    hooks = [module.register_forward_hook(listen) for module in layers]
    hooks += [module.register_forward_pre_hook(number, with_kwargs=True) for module in layers]
    try:
        for model in models:
            model.set_attn_implementation("eager")  # the others don't keep the weights
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        for model, implementation in before:
            model.set_attn_implementation(implementation)


def as_numbers(
    attention_mask: Bool[Tensor, "batch new total"], dtype: torch.dtype
) -> Float[Tensor, "batch new total"]:
    """Return the mask as what is added to scores: 0 where an element sees, the least number where it doesn't."""
    nothing = torch.zeros(attention_mask.shape, dtype=dtype, device=attention_mask.device)
    return nothing.masked_fill(~attention_mask, torch.finfo(dtype).min)


def rollout(layers: Sequence[Float[Tensor, "batch heads t t"]]) -> Float[Tensor, "batch t t"]:
    """Mix the layers' weights, first to last. Rows sum to 1."""
    mixed = _identity(layers)
    for weights in layers:
        mixed = (0.5 * weights.detach().float().mean(1) + 0.5 * _identity(layers)) @ mixed
    return mixed


def gradient_rollout(
    layers: Sequence[Float[Tensor, "batch heads t t"]], score: Float[Tensor, ""]
) -> Float[Tensor, "batch t t"]:
    """Mix the layers' weights by what they did for `score`, such as the log-probability of what was said.

    Raises InspireError for a score that does not depend on the layers.
    """
    try:
        slopes = torch.autograd.grad(score, list(layers), retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InspireError(f"the score has no gradient with respect to the attention: {error}.") from error
    mixed = _identity(layers)
    for weights, slope in zip(layers, slopes, strict=True):
        if slope is not None:
            mixed = mixed + (weights.detach() * slope).clamp(min=0).float().mean(1) @ mixed
    return mixed


def _identity(layers: Sequence[Tensor]) -> Tensor:
    if not layers:
        raise InspireError("this backbone shows no attention weights.")
    batch, _, _, time = layers[0].shape
    return torch.eye(time, device=layers[0].device).expand(batch, -1, -1)
