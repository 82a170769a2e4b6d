"""The action expert of SmolVLA: denoises a chunk over the keys and values of the language model.

It has as many layers as the language model. Every second of them attends to the model's keys and values and to the
actions; the others attend to the model's alone, projected to keys and values of their own.

Tensor axes: batch; horizon = actions of a chunk; dim = numbers of an action; width of the expert; columns = of the
language model's sequence.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from inspire_vla.backbones.flow import FlowContext, FlowExpert, embed_time
from inspire_vla.backbones.flow_layers import GatedMLP, Rotary, attend, heads_of, rotary_tables, rotate
from inspire_vla.backbones.smolvla import SmolExpertSize, SmolLMSize, SmolVLAConfig


class SmolVLAExpert(FlowExpert):
    """Predicts the velocity of SmolVLA's action chunk. Actions attend to those before them and to themselves."""

    def __init__(self, config: SmolVLAConfig, *, horizon: int) -> None:
        super().__init__()
        language, size = config.language, config.expert
        self.horizon, self.action_dim = horizon, size.action_dim
        self.width, self.head_size = size.hidden_size, language.head_size
        self.action_in_proj = nn.Linear(size.action_dim, self.width)
        self.action_time_mlp_in = nn.Linear(2 * self.width, self.width)
        self.action_time_mlp_out = nn.Linear(self.width, self.width)
        self.action_out_proj = nn.Linear(self.width, size.action_dim)
        joint = [layer % size.joint_every == 0 for layer in range(language.layers)]
        self.layers = nn.ModuleList(SmolVLAExpertLayer(language, size, joint=each) for each in joint)
        # Outside the layers, because they run once for all denoising steps.
        self.readers = nn.ModuleDict(
            {str(layer): _Reader(language) for layer, each in enumerate(joint) if not each}
        )
        self.norm = RMSNorm(self.width, eps=language.norm_eps)

    def prepare(self, context: FlowContext) -> "_Prepared":
        read = [
            self.readers[str(layer)](keys, values) if str(layer) in self.readers else (keys, values)
            for layer, (keys, values) in enumerate(context.key_values)
        ]
        count = context.positions.shape[1]
        causal = torch.ones(count, count, dtype=torch.bool, device=context.visible.device).tril()
        visible = context.visible[:, None, None].expand(-1, -1, count, -1)
        start = context.positions.min(dim=1, keepdim=True).values
        return _Prepared(
            read,
            visible,
            torch.cat([visible, causal.expand(len(visible), 1, -1, -1)], dim=-1),
            rotary_tables(context.positions, self.head_size),
            rotary_tables(context.positions - start, self.head_size),
        )

    def velocity(
        self,
        noisy_actions: Float[Tensor, "batch horizon dim"],
        time: Float[Tensor, " batch"],
        prepared: "_Prepared",
    ) -> Float[Tensor, "batch horizon dim"]:
        actions = self.action_in_proj(noisy_actions.to(self.action_in_proj.weight.dtype))
        times = embed_time(time, self.width).to(actions.dtype)[:, None].expand_as(actions)
        x = self.action_time_mlp_out(silu(self.action_time_mlp_in(torch.cat([actions, times], dim=-1))))
        for layer, (keys, values) in zip(self.layers, prepared.key_values, strict=True):
            x = layer(x, keys, values, prepared)
        return self.action_out_proj(self.norm(x)).float()


@dataclass(frozen=True)
class _Prepared:
    """Attributes:
    key_values: of each layer, those of the language model or what the layer's reader makes of them.
    visible, joint: the columns that actions attend to; `joint` with the actions.
    tables, own_tables: rotary tables of the actions' positions in the sequence, and in the chunk.
    """

    key_values: list[tuple[Tensor, Tensor]]
    visible: Tensor
    joint: Tensor
    tables: Rotary
    own_tables: Rotary


class _Reader(nn.Module):
    """The language model's keys and values → those of a layer that attends to nothing else."""

    def __init__(self, language: SmolLMSize) -> None:
        super().__init__()
        features = language.key_value_heads * language.head_size
        self.head_size = language.head_size
        self.k_proj, self.v_proj = (nn.Linear(features, features, bias=False) for _ in range(2))

    def forward(
        self,
        keys: Float[Tensor, "batch kv_head columns head_dim"],
        values: Float[Tensor, "batch kv_head columns head_dim"],
    ) -> tuple[Tensor, Tensor]:
        dtype = self.k_proj.weight.dtype
        flat = (x.transpose(1, 2).flatten(2).to(dtype) for x in (keys, values))
        made = (project(x) for project, x in zip((self.k_proj, self.v_proj), flat, strict=True))
        keys, values = (heads_of(x, self.head_size) for x in made)
        return keys, values


class RMSNorm(nn.RMSNorm):
    """Takes bfloat16 with float32 weights, too, as autocast gives them. torch has no kernel for both and warns."""

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        exact = torch.promote_types(x.dtype, self.weight.dtype)
        normed = rms_norm(x.to(exact), self.normalized_shape, self.weight.to(exact), self.eps)
        return normed.to(x.dtype)


class SmolVLAExpertLayer(nn.Module):
    """A layer of Llama. `joint`: it has keys and values of its own, and attends to the actions as well.

    The keys and values that it is given are (batch, kv_head, columns, head_dim), see `KeyValues`.
    """

    def __init__(self, language: SmolLMSize, size: SmolExpertSize, *, joint: bool) -> None:
        super().__init__()
        width, self.head_size, self.joint = size.hidden_size, language.head_size, joint
        features = language.key_value_heads * language.head_size
        self.input_layernorm = RMSNorm(width, eps=language.norm_eps)
        self.q_proj = nn.Linear(width, language.heads * language.head_size, bias=False)
        if joint:
            self.k_proj, self.v_proj = (nn.Linear(width, features, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(language.heads * language.head_size, width, bias=False)
        self.post_attention_layernorm = RMSNorm(width, eps=language.norm_eps)
        self.mlp = GatedMLP(width, size.mlp_size, silu)

    def forward(
        self, x: Float[Tensor, "batch horizon width"], keys: Tensor, values: Tensor, prepared: _Prepared
    ) -> Float[Tensor, "batch horizon width"]:
        normed = self.input_layernorm(x)
        tables, mask = (
            (prepared.tables, prepared.joint) if self.joint else (prepared.own_tables, prepared.visible)
        )
        queries = rotate(heads_of(self.q_proj(normed), self.head_size), tables)
        keys, values = keys.to(queries.dtype), values.to(queries.dtype)
        if self.joint:
            keys_of_actions = rotate(heads_of(self.k_proj(normed), self.head_size), tables)
            keys = torch.cat([keys, keys_of_actions], dim=2)
            values = torch.cat([values, heads_of(self.v_proj(normed), self.head_size)], dim=2)
        x = x + self.o_proj(attend(queries, keys, values, mask))
        return x + self.mlp(self.post_attention_layernorm(x))
