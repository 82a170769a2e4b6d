"""The flow expert of nano: a small transformer over the action chunk, as deep as the decoder.

As in π0, each layer attends to the keys and values of the decoder's layer of the same number and to the actions, which
all attend to each other; the time enters with the actions. On a CPU most of the time goes into calling operators, so
the layers are written in few of them.

Tensor axes: batch; horizon = actions of a chunk; dim = numbers of an action; width of the expert; head; head_dim and
columns of the decoder's keys and values; time = the horizon of all draws of noise.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import Qwen2Config

from inspire_vla.backbones.flow import FlowContext, FlowExpert, embed_time
from inspire_vla.backbones.hf_decoder import RMSNorm, RotaryEmbedding, additive_mask, rotated, sdpa_attention
from inspire_vla.errors import InspireError


@dataclass
class NanoFlowConfig:
    """Size of the expert. Depth and heads are those of the decoder."""

    hidden_size: int = 128
    mlp_size: int = 384


class NanoFlow(FlowExpert):
    """Predicts the velocity of nano's action chunk."""

    denoising_steps: ClassVar[int] = 5

    def __init__(
        self, config: NanoFlowConfig, *, decoder: Qwen2Config, horizon: int, action_dim: int
    ) -> None:
        """Raises InspireError for an odd width."""
        super().__init__()
        if config.hidden_size % 2:
            raise InspireError(f"nano_flow.hidden_size must be even, found {config.hidden_size}.")
        self.horizon, self.action_dim, self.width = horizon, action_dim, config.hidden_size
        self.rotary = RotaryEmbedding(decoder)
        self.action_in = nn.Linear(action_dim, self.width)
        self.action_place = nn.Parameter(torch.randn(horizon, self.width) * 0.02)
        self.action_time_in = nn.Linear(2 * self.width, self.width)
        self.action_time_out = nn.Linear(self.width, self.width)
        head_dim = decoder.hidden_size // decoder.num_attention_heads
        self.layers = nn.ModuleList(
            _Layer(self.width, config.mlp_size, decoder.num_attention_heads, head_dim)
            for _ in range(decoder.num_hidden_layers)
        )
        self.norm = RMSNorm(self.width)
        self.action_out = nn.Linear(self.width, action_dim)

    def prepare(self, context: FlowContext) -> Any:
        """Keys and values of each layer in one tensor, the rotary tables of the actions, and the attention mask."""
        return self.prepare_draws(context, 1)

    def prepare_draws(self, context: FlowContext, draws: int) -> Any:
        """All draws of a row stand in one sequence, where none attends to another. So they share keys and values."""
        past = [torch.stack(pair) for pair in context.key_values]
        tables = self.rotary(self.action_in.weight, context.positions.repeat(1, draws))
        draw = torch.arange(draws, device=context.visible.device).repeat_interleave(self.horizon)
        same = (draw[:, None] == draw).expand(len(context.visible), -1, -1)
        visible = context.visible[:, None].expand(-1, len(draw), -1)
        mask = additive_mask(torch.cat([visible, same], dim=2)[:, None], past[0].dtype)
        return past, tables, mask

    def velocity(
        self, noisy_actions: Float[Tensor, "batch horizon dim"], time: Float[Tensor, " batch"], prepared: Any
    ) -> Float[Tensor, "batch horizon dim"]:
        past, tables, mask = prepared
        actions = self.action_in(noisy_actions) + self.action_place
        times = embed_time(time, self.width)[:, None].expand_as(actions)
        x = self.action_time_out(silu(self.action_time_in(torch.cat([actions, times], dim=-1))))
        x = x.reshape(len(mask), -1, self.width)  # the draws of a row one after another
        for layer, of_layer in zip(self.layers, past, strict=True):
            x = layer(x, of_layer, tables, mask)
        return self.action_out(self.norm(x)).float().view_as(noisy_actions)


class _Layer(nn.Module):
    def __init__(self, width: int, mlp_size: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.qkv_proj = nn.Linear(width, 3 * heads * head_dim)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=False)
        self.gate_up_proj = nn.Linear(width, 2 * mlp_size, bias=False)
        self.down_proj = nn.Linear(mlp_size, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        past: Float[Tensor, "2 batch head columns head_dim"],
        tables: tuple[Tensor, Tensor],
        mask: Float[Tensor, "batch 1 time all"],
    ) -> Float[Tensor, "batch time width"]:
        projected = self.qkv_proj(self.attention_norm(x)).unflatten(-1, (3 * self.heads, self.head_dim))
        query_key, values = projected.transpose(1, 2).split([2 * self.heads, self.heads], dim=1)
        queries, keys = rotated(query_key, *tables).chunk(2, dim=1)
        all_keys, all_values = torch.cat([past, torch.stack([keys, values])], dim=3)
        mixed, _ = sdpa_attention(self, queries, all_keys, all_values, mask)
        x = x + self.o_proj(mixed.flatten(2))
        gate, up = self.gate_up_proj(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down_proj(silu(gate) * up)
