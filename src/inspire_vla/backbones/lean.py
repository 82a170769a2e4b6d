"""A Qwen2 decoder of transformers, run by bare tensor operations: the same numbers without the machinery.

A short pass of a small model spends a good part of its time on module calls, dictionaries, masks and caches that are
concatenated anew. Decoding takes many short passes, so it goes this way; training and
attention maps take transformers' own. The two agree to rounding: tests/backbones/test_lean.py.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import Qwen2Model
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

ROOM = 128  # columns at first; doubled when they are full


class LeanCache:
    """Keys and values of every layer in buffers with room to grow. Cropping forgets a length and moves nothing."""

    def __init__(self) -> None:
        self.length = 0
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def get_seq_length(self) -> int:
        """How many columns every layer holds."""
        return self.length

    def crop(self, length: int) -> None:
        """Keep the first `length` columns."""
        self.length = min(length, self.length)

    def put(
        self,
        layer: int,
        keys: Float[Tensor, "batch head new dim"],
        values: Float[Tensor, "batch head new dim"],
    ) -> tuple[Float[Tensor, "batch head total dim"], Float[Tensor, "batch head total dim"]]:
        """Write behind the columns that are held; returns all of the layer's. `length` moves after the last layer."""
        stop = self.length + keys.shape[2]
        if layer == len(self._buffers):
            self._buffers.append((_room(keys, stop), _room(values, stop)))
        held = self._buffers[layer]
        if held[0].shape[2] < stop:
            held = self._buffers[layer] = (self._grown(held[0], stop), self._grown(held[1], stop))
        for buffer, new in zip(held, (keys, values), strict=True):
            buffer[:, :, self.length : stop] = new
        return held[0][:, :, :stop], held[1][:, :, :stop]

    def _grown(self, buffer: Tensor, columns: int) -> Tensor:
        bigger = _room(buffer, columns)
        bigger[:, :, : self.length] = buffer[:, :, : self.length]
        return bigger


def _room(like: Tensor, columns: int) -> Tensor:
    size = ROOM
    while size < columns:
        size *= 2
    return like.new_empty(*like.shape[:2], size, like.shape[3])


def extend(
    decoder: Qwen2Model,
    embeddings: Float[Tensor, "batch new hidden"],
    cache: LeanCache,
    *,
    positions: Int[Tensor, "batch new"] | None = None,
    attention_mask: Bool[Tensor, "batch new total"] | None = None,
) -> Float[Tensor, "batch new hidden"]:
    """What `decoder` makes of `embeddings` behind what `cache` holds, see `Backbone.extend`."""
    batch, new, _ = embeddings.shape
    past, heads = cache.length, (batch, new, -1, decoder.layers[0].self_attn.head_dim)
    if positions is None:
        positions = torch.arange(past, past + new, device=embeddings.device)[None]
    if attention_mask is None and past and new > 1:
        attention_mask = torch.ones(1, new, past + new, dtype=torch.bool, device=embeddings.device).tril(past)
    mask = None if attention_mask is None else attention_mask[:, None]
    causal = attention_mask is None and new > 1
    cos, sin = decoder.rotary_emb(embeddings, positions)
    left, right = sin.chunk(2, dim=-1)
    rotation = cos[:, :, None], torch.cat([-left, right], dim=-1)[:, :, None]
    hidden = embeddings
    for number, layer in enumerate(decoder.layers):
        attention, mlp = layer.self_attn, layer.mlp
        x = _normed(hidden, layer.input_layernorm)
        query = _turned(attention.q_proj(x).view(heads), *rotation)
        key = _turned(attention.k_proj(x).view(heads), *rotation)
        keys, values = cache.put(number, key, attention.v_proj(x).view(heads).transpose(1, 2))
        mixed = scaled_dot_product_attention(
            query, keys, values, mask, is_causal=causal, enable_gqa=query.shape[1] != keys.shape[1]
        )
        hidden = hidden + attention.o_proj(mixed.transpose(1, 2).reshape(batch, new, -1))
        x = _normed(hidden, layer.post_attention_layernorm)
        hidden = hidden + mlp.down_proj(silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    cache.length = past + new
    return _normed(hidden, decoder.norm)


def _normed(x: Float[Tensor, "*batch hidden"], norm: Qwen2RMSNorm) -> Float[Tensor, "*batch hidden"]:
    return rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _turned(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Queries or keys (batch, new, head, dim) turned by their positions → (batch, head, new, dim)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), signed_sin).transpose(1, 2)
