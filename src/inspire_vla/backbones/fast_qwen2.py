"""A training pass of a Qwen2 decoder whose last layer runs only where the loss needs it.

Most elements of a sequence are image tokens and questions, which have no loss. The last layer needs keys and values of
every element, but queries, output projection and MLP only of the supervised ones. For the four layers of nano this
saves 16 to 19 % of the CPU time of a whole training step, data included (480 steps of recipe nano_tabletop each, base
and InSpire, interleaved with the plain forward). It could save at most one of the 18 layers or more of the published
models, so they use the plain forward of transformers.

Under bfloat16 autocast on a CPU attention stays in float32. There the backward pass of PyTorch's attention has no fast
kernel for bfloat16, and takes three times as long. Everything else is faster in bfloat16.

Written for transformers 5.5, whose layers it calls; tests/backbones/test_fast_qwen2.py compares it with Qwen2Model.

Tensor axes: batch; time; supervised = elements where `loss_mask` is true; most = supervised elements of the row with
the most; hidden; head; dim of a head.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, Qwen2Model
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from inspire_vla.backbones.hf_decoder import rotated

ATTENTION = "inspire_vla_sdpa"
"""Name under which transformers finds `attention`."""


def attention(
    module: nn.Module,
    query: Float[Tensor, "batch head time dim"],
    key: Float[Tensor, "batch head total dim"],
    value: Float[Tensor, "batch head total dim"],
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Float[Tensor, "batch time head dim"], None]:
    """PyTorch's attention as transformers calls it; in float32 under autocast on a CPU.

    Returns:
        The mixed values and no weights.
    """
    if query.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **options
        )


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def supervised_states(
    decoder: Qwen2Model,
    embeddings: Float[Tensor, "batch time hidden"],
    loss_mask: Bool[Tensor, "batch time"],
    attention_mask: Bool[Tensor, "batch time time"] | None = None,
    cache: Any = None,
) -> Float[Tensor, "supervised hidden"]:
    """The last hidden states where `loss_mask` is true, row by row.

    Args:
        attention_mask: None: causal.
        cache: of transformers; gets the keys and values of all elements, with their gradient.
    """
    mask = None if attention_mask is None else attention_mask[:, None]
    time = embeddings.shape[1]
    rotary = decoder.rotary_emb(embeddings, torch.arange(time, device=embeddings.device)[None])
    hidden = embeddings
    for layer in decoder.layers[:-1]:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary, past_key_values=cache)

    layer, last = decoder.layers[-1], decoder.layers[-1].self_attn
    count = loss_mask.sum(1, keepdim=True)
    # Columns of the supervised elements; rows with fewer than the most are padded with other columns.
    columns = loss_mask.int().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]
    is_real = torch.arange(columns.shape[1], device=columns.device) < count
    row = torch.arange(len(hidden), device=hidden.device)[:, None]
    cos, sin = (table.expand(len(hidden), -1, -1) for table in rotary)
    x = layer.input_layernorm(hidden)

    def heads(flat: Tensor) -> Float[Tensor, "batch head time dim"]:
        return flat.unflatten(-1, (-1, last.head_dim)).transpose(1, 2)

    keys, values = rotated(heads(last.k_proj(x)), cos, sin), heads(last.v_proj(x))
    if cache is not None:
        cache.update(keys, values, last.layer_idx)
    if not columns.shape[1]:  # no element has a loss: only keys and values are wanted
        return hidden[loss_mask]
    queries = rotated(heads(last.q_proj(x[row, columns])), cos[row, columns], sin[row, columns])
    if mask is None:
        mask = (torch.arange(time, device=columns.device) <= columns[:, :, None])[:, None]
    else:
        mask = mask[:, 0].expand(len(hidden), -1, -1)[row, columns][:, None]
    mixed, _ = attention(last, queries, keys, values, mask)
    hidden = hidden[loss_mask] + last.o_proj(mixed[is_real].flatten(1))
    hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return decoder.norm(hidden)
