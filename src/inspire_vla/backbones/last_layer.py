"""The last layer of a decoder, computed only where the next token is loss_mask.

Of what a sequence says in training only answers and action codes are learned: a few dozen elements at most, while the
images alone are hundreds. All layers but the last need every element, since later ones look at them. The last layer
needs every element's key and value, but queries, output projection and MLP only of those whose score is asked for.

    layers 1 … n−1    all elements
    layer n           keys, values: all     queries, MLP, norm, head: the learned ones
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import GemmaModel, LlamaModel, Qwen2Model


def can_narrow(decoder: Qwen2Model | LlamaModel | GemmaModel) -> None:
    """Have `decoder(…, loss_mask=…)` return the last hidden states where the mask is true, (supervised, hidden).

    `loss_mask` is (batch, time) bool; the states come row by row, in order. Without it nothing changes, and neither do
    the names of parameters. It is the layer itself that narrows, so that recomputed activations, FSDP and LoRA, which
    all work on whole layers or on the linear ones within, find what they expect.
    """
    layer = decoder.layers[-1]
    layer.forward = partial(_forward, layer)


def _forward(
    layer: nn.Module,
    hidden: Float[Tensor, "batch time hidden"],
    *,
    loss_mask: Bool[Tensor, "batch time"] | None = None,
    **options: Any,
) -> Tensor:
    if loss_mask is None:
        return type(layer).forward(layer, hidden, **options)
    attention = layer.self_attn
    columns, real = _places(loss_mask)
    row = torch.arange(len(hidden), device=hidden.device)[:, None]
    x = layer.input_layernorm(hidden)
    cos, sin = (table.expand(*hidden.shape[:2], -1) for table in options["position_embeddings"])

    def heads(flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    queries = _turned(heads(attention.q_proj(x[row, columns])), cos[row, columns], sin[row, columns])
    keys = _turned(heads(attention.k_proj(x)), cos, sin)
    mixed = scaled_dot_product_attention(
        queries,
        keys,
        heads(attention.v_proj(x)),
        _mask(options.get("attention_mask"), columns, hidden.shape[1]),
        dropout_p=attention.attention_dropout if layer.training else 0.0,
        scale=attention.scaling,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    said = hidden[loss_mask] + attention.o_proj(mixed.transpose(1, 2)[real].flatten(1))
    return said + layer.mlp(layer.post_attention_layernorm(said))


def _places(
    loss_mask: Bool[Tensor, "batch time"],
) -> tuple[Int[Tensor, "batch most"], Bool[Tensor, "batch most"]]:
    """The columns of the learned elements, rows with fewer filled up with others; and which are not such filling."""
    count = loss_mask.sum(1, keepdim=True)
    most = int(count.max())
    columns = loss_mask.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return columns, torch.arange(most, device=loss_mask.device) < count


def _mask(attention_mask: Tensor | None, columns: Int[Tensor, "batch most"], time: int) -> Tensor:
    """The rows of a (batch, 1, time, time) mask at `columns`; None is plain causal attention."""
    if attention_mask is None:
        return (torch.arange(time, device=columns.device) <= columns[:, :, None])[:, None]
    row = torch.arange(len(columns), device=columns.device)[:, None]
    return attention_mask[:, 0].expand(len(columns), -1, -1)[row, columns][:, None]


def _turned(
    x: Float[Tensor, "batch head time dim"],
    cos: Float[Tensor, "batch time dim"],
    sin: Float[Tensor, "batch time dim"],
) -> Float[Tensor, "batch head time dim"]:
    """Queries or keys turned by their positions."""
    left, right = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-right, left], dim=-1) * sin[:, None]
