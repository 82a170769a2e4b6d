"""π0.5 (arXiv 2504.16054) as LeRobot and openpi have it: PaliGemma, and an expert that denoises actions.

    cameras · <bos>Task: …, State: …;\\nAction:  · [actions]
    └──────────── one block ────────────┘   └ one block

Questions and answers stand between <bos> and "Task:".

Each layer of the expert attends to the keys and values of PaliGemma's layer of the same number, and to the actions,
which all attend to each other. The time enters through the norms (adaRMS), not with the actions.

Tensor axes: batch; horizon = actions of a chunk; dim = numbers of an action; width of the expert; columns = of
PaliGemma's sequence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, silu

from inspire_vla.backbones import paligemma
from inspire_vla.backbones.flow import FlowContext, FlowExpert, embed_time
from inspire_vla.backbones.flow_layers import GatedMLP, Rotary, attend, heads_of, rotary_tables, rotate
from inspire_vla.backbones.paligemma import GemmaSize, PaliGemma, PaliGemmaConfig
from inspire_vla.backbones.published_weights import RenamedWeights, rename_weights
from inspire_vla.dialogue import Template
from inspire_vla.errors import InspireError

TEMPLATE = Template(
    "pi05",
    start="<bos>",
    question="{question}",
    answer=" {answer}",
    answer_end="\n",
    instruction="Task: {instruction}, State: {state};\nAction: ",
    instruction_first="Task: {instruction}, State: {state};\n",
    action_prompt_after="Action: ",
)


@dataclass
class GemmaExpertSize:
    """The action expert of π0.5, "gemma_300m". Depth and heads are those of the language model.

    Attributes:
        action_dim: numbers of an action; those of a robot are padded with zeros.
    """

    hidden_size: int = 1024
    mlp_size: int = 4096
    action_dim: int = 32


class Pi05(PaliGemma):
    """PaliGemma with the prompt of π0.5, which attends to itself whole."""

    name: ClassVar[str] = "pi05"
    lora_targets = rf"{PaliGemma.lora_targets}|.*expert\.(layers\..*_proj|action_\w+|time_\w+)"
    fsdp_units: tuple[str, ...] = (*PaliGemma.fsdp_units, "Pi05ExpertLayer")

    def __init__(self, config: PaliGemmaConfig, *, text_tokenizer: Any, num_images: int = 1) -> None:
        super().__init__(config, text_tokenizer=text_tokenizer, num_images=num_images)
        self.template = TEMPLATE


class Pi05Expert(FlowExpert):
    """Predicts the velocity of π0.5's action chunk."""

    loss_on_padding: ClassVar[bool] = True

    def __init__(self, size: GemmaExpertSize, language: GemmaSize, *, horizon: int) -> None:
        super().__init__()
        self.horizon, self.action_dim = horizon, size.action_dim
        self.width, self.head_size = size.hidden_size, language.head_size
        self.action_in_proj = nn.Linear(size.action_dim, self.width)
        self.action_out_proj = nn.Linear(self.width, size.action_dim)
        self.time_mlp_in = nn.Linear(self.width, self.width)
        self.time_mlp_out = nn.Linear(self.width, self.width)
        self.layers = nn.ModuleList(Pi05ExpertLayer(size, language) for _ in range(language.layers))
        self.norm = AdaptiveNorm(self.width)

    def prepare(self, context: FlowContext) -> "_Prepared":
        count = context.positions.shape[1]
        mask = pad(context.visible, (0, count), value=True)[:, None, None].expand(-1, -1, count, -1)
        return _Prepared(context, mask, rotary_tables(context.positions, self.head_size))

    def velocity(
        self,
        noisy_actions: Float[Tensor, "batch horizon dim"],
        time: Float[Tensor, " batch"],
        prepared: "_Prepared",
    ) -> Float[Tensor, "batch horizon dim"]:
        dtype = self.action_in_proj.weight.dtype
        x = self.action_in_proj(noisy_actions.to(dtype))
        times = embed_time(time, self.width).to(dtype)
        condition = silu(self.time_mlp_out(silu(self.time_mlp_in(times))))
        for layer, (keys, values) in zip(self.layers, prepared.context.key_values, strict=True):
            x = layer(x, condition, keys, values, prepared)
        return self.action_out_proj(self.norm(x, condition)[0]).float()


@dataclass(frozen=True)
class _Prepared:
    context: FlowContext
    mask: Tensor
    tables: Rotary


class AdaptiveNorm(nn.Module):
    """RMS norm with scale, shift and gate of the residual computed from a condition (adaRMS)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.dense = nn.Linear(width, 3 * width)

    def forward(
        self, x: Float[Tensor, "batch time width"], condition: Float[Tensor, "batch width"]
    ) -> tuple[Float[Tensor, "batch time width"], Float[Tensor, "batch 1 width"]]:
        scale, shift, gate = self.dense(condition)[:, None].chunk(3, dim=-1)
        normed = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return (normed * (1 + scale.float()) + shift.float()).to(x.dtype), gate.to(x.dtype)


class Pi05ExpertLayer(nn.Module):
    """A layer of Gemma with adaptive norms, over the language model's keys and values and its own.

    The language model's are (batch, kv_head, columns, head_dim), see `KeyValues`.
    """

    def __init__(self, size: GemmaExpertSize, language: GemmaSize) -> None:
        super().__init__()
        width, self.head_size = size.hidden_size, language.head_size
        features = language.key_value_heads * language.head_size
        self.input_layernorm = AdaptiveNorm(width)
        self.q_proj = nn.Linear(width, language.heads * language.head_size, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(width, features, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(language.heads * language.head_size, width, bias=False)
        self.post_attention_layernorm = AdaptiveNorm(width)
        self.mlp = GatedMLP(width, size.mlp_size, partial(gelu, approximate="tanh"))

    def forward(
        self,
        x: Float[Tensor, "batch horizon width"],
        condition: Float[Tensor, "batch width"],
        keys: Tensor,
        values: Tensor,
        prepared: _Prepared,
    ) -> Float[Tensor, "batch horizon width"]:
        normed, gate = self.input_layernorm(x, condition)
        made = (
            heads_of(project(normed), self.head_size) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        queries, own_keys, own_values = made
        queries, own_keys = rotate(queries, prepared.tables), rotate(own_keys, prepared.tables)
        keys = torch.cat([keys.to(own_keys.dtype), own_keys], dim=2)
        values = torch.cat([values.to(own_values.dtype), own_values], dim=2)
        x = x + gate * self.o_proj(attend(queries, keys, values, prepared.mask))
        normed, gate = self.post_attention_layernorm(x, condition)
        return x + gate * self.mlp(normed)


def map_weights(source: Mapping[str, Tensor]) -> RenamedWeights:
    """Rename the weights of LeRobot's π0.5 for `Pi05`; those of the expert begin with `expert.`.

    The head of the expert's own Gemma is never run.
    """
    start = r"(?:model\.)?"
    expert = start + r"paligemma_with_expert\.gemma_expert\."
    rules: list[tuple[str, str | None]] = [
        (expert + r"lm_head\..*", None),
        (expert + r"model\.(layers\.\d+)\.self_attn\.(.*)", r"expert.\1.\2"),
        (expert + r"model\.(.*)", r"expert.\1"),
        (start + r"(action_(?:in|out)_proj\..*)", r"expert.\1"),
        (start + r"(?:action_)?(time_mlp_.*)", r"expert.\1"),
    ]
    rest = _of_paligemma(source)
    language = paligemma.map_weights(rest)
    expert_weights = rename_weights({name: t for name, t in source.items() if name not in rest}, rules)
    return RenamedWeights(
        language.state | expert_weights.state,
        language.dropped + expert_weights.dropped,
        language.unknown + expert_weights.unknown,
    )


def read_config(source: Mapping[str, Tensor], **given: Any) -> tuple[PaliGemmaConfig, GemmaExpertSize]:
    """Read the sizes of language model and expert from the shapes of the tensors.

    Args:
        given: see `paligemma.read_config`.

    Raises:
        InspireError: the tensors are not those of a π0.5.
    """
    mapped = map_weights(source).state
    try:
        actions, gate = mapped["expert.action_in_proj.weight"], mapped["expert.layers.0.mlp.gate_proj.weight"]
    except KeyError as error:
        raise InspireError(f"This is no π0.5: it lacks {error}; found {sorted(source)[:5]}.") from None
    if "expert.layers.0.input_layernorm.dense.weight" not in mapped:
        raise InspireError("The expert has no adaptive norms: this is a π0, not a π0.5.")
    expert = GemmaExpertSize(
        hidden_size=actions.shape[0], mlp_size=gate.shape[0], action_dim=actions.shape[1]
    )
    return paligemma.read_config(_of_paligemma(source), **given), expert


def _of_paligemma(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in source.items() if "paligemma." in name and "gemma_expert." not in name}
