"""What the flow experts of SmolVLA and π0.5 have in common: attention with grouped heads, rotary tables, a gated MLP.

Tensor axes: batch; head = query heads; kv_head = heads of keys and values, each shared by a group of query heads;
time = actions of the chunk; total = columns that they attend to; dim = size of a head; width of the expert.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from inspire_vla.backbones.hf_decoder import rotated

ROPE_THETA = 10_000.0
"""Base of the rotary wavelengths of Gemma, and of SmolVLA, which runs SmolLM2 with it in place of its own 100,000."""

Rotary = tuple[Float[Tensor, "batch time dim"], Float[Tensor, "batch time dim"]]


def rotary_tables(positions: Int[Tensor, "batch time"], dim: int) -> Rotary:
    """Cosines and sines of the rotary position embedding, float32."""
    exponents = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None].float() * ROPE_THETA ** (-exponents / dim)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Float[Tensor, "batch head time dim"], tables: Rotary) -> Float[Tensor, "batch head time dim"]:
    """Apply the rotary position embedding in float32; the result has the dtype of `x`."""
    return rotated(x.float(), *tables).to(x.dtype)


def heads_of(x: Float[Tensor, "batch time features"], dim: int) -> Float[Tensor, "batch head time dim"]:
    """Split features into heads of size `dim`."""
    return x.unflatten(-1, (-1, dim)).transpose(1, 2)


def attend(
    queries: Float[Tensor, "batch head time dim"],
    keys: Float[Tensor, "batch kv_head total dim"],
    values: Float[Tensor, "batch kv_head total dim"],
    mask: Bool[Tensor, "batch 1 time total"],
) -> Float[Tensor, "batch time features"]:
    """Attention of each query head to the keys and values of its group."""
    groups = queries.shape[1] // keys.shape[1]
    keys, values = (x.repeat_interleave(groups, dim=1) for x in (keys, values))
    return scaled_dot_product_attention(queries, keys, values, mask).transpose(1, 2).flatten(2)


class GatedMLP(nn.Module):
    """down(activation(gate(x)) · up(x)), as in Llama and Gemma."""

    def __init__(self, width: int, inner: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))
