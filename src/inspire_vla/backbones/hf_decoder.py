"""Backbones whose text model is a decoder of transformers.

All code that depends on the inside of transformers is in this file. It was written for transformers 5.5;
tests/backbones/test_hf_decoder.py checks each attribute and argument it uses, tests/backbones/test_supervised_states.py
the layers of Qwen2. docs/appendix/performance_gpu.md names the versions that `make gpu` ran with.

Tensor axes: batch; time = elements of this call; total = cached + new elements; hidden = width of the decoder.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache as memoized
from inspect import signature
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    PreTrainedModel,
    Qwen2Model,
    StaticCache,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm, Qwen2RotaryEmbedding

from inspire_vla.backbones.base import Backbone, KeyValueCache, KeyValues
from inspire_vla.errors import InspireError, counted


class HFBackbone(Backbone):
    """Runs embeddings through `decoder`. A subclass implements `encode_observation`.

    Attributes:
        decoder: a text model of transformers that takes `inputs_embeds` and returns `last_hidden_state`.
        head: the language-model head; None: it is tied to the token embedding.
        num_images: images of an observation.
    """

    decoder: PreTrainedModel
    head: nn.Linear | None
    num_images: int
    static_decoder: "StaticDecoder | None" = None
    recorded_attention: list[Tensor] | None = None

    @abstractmethod
    def vision(self) -> tuple[nn.Module, ...]:
        """The vision encoders, without the projector. `freeze_vision` freezes them."""

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.dtype

    def check_images(self, images: Float[Tensor, "batch image 3 height width"]) -> None:
        """Raise InspireError for another number of images than the model takes."""
        if images.shape[1] != self.num_images:
            raise InspireError(
                f"This model takes {counted(self.num_images, 'image')}, found {images.shape[1]}."
            )

    def tie(self) -> None:
        """Tie the head to the token embedding again, after an adapter with its own copy was merged."""

    def freeze_vision(self) -> None:
        for encoder in self.vision():
            encoder.requires_grad_(False)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations in the backward pass: less memory for about a third more time."""
        for model in (self.decoder, *self.vision()):
            if hasattr(model, "gradient_checkpointing_enable"):
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            elif hasattr(model, "set_grad_checkpointing"):  # timm
                model.set_grad_checkpointing()

    def use_static_cache(self, max_length: int, compiler: "Compiler | None" = None) -> None:
        """Decode with a static cache from now on, see `StaticDecoder`. Training does not change."""
        self.static_decoder = StaticDecoder(self.decoder, max_length, compiler)

    def embed(self, token_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        return self.decoder.get_input_embeddings()(token_ids)

    def extend(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        attention_mask: Bool[Tensor, "batch time total"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        if isinstance(cache, CroppableStaticCache):
            assert self.static_decoder is not None, "the cache belongs to another backbone"
            return self.static_decoder.extend(embeddings, cache, positions, attention_mask)
        return self._run_decoder(embeddings, positions, attention_mask, cache)

    def _run_decoder(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        positions: Tensor | None,
        attention_mask: Bool[Tensor, "batch time total"] | None,
        cache: KeyValueCache | None,
        **options: Any,
    ) -> Float[Tensor, "batch time hidden"]:
        mask = None if attention_mask is None else attention_mask[:, None]  # four axes: used as it is
        if self.recorded_attention is not None:
            assert mask is not None, "attention is recorded with an explicit mask"
            mask, options = additive_mask(mask, self.dtype), options | {"output_attentions": True}
        output = self.decoder(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=mask,
            use_cache=cache is not None,
            **{cache_argument(type(self.decoder).forward): cache},
            **options,
        )
        if self.recorded_attention is not None:
            self.recorded_attention += output.attentions
        return output.last_hidden_state

    def logits(
        self, hidden: Float[Tensor, "*batch hidden"], among: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch scored"]:
        if self.head is not None and type(self.head) is not nn.Linear:  # wrapped by LoRA
            scores = self.head(hidden)
            return scores if among is None else scores[..., among]
        weight = self.decoder.get_input_embeddings().weight if self.head is None else self.head.weight
        return linear(hidden, weight if among is None else weight[among])

    def forward_with_key_values(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
    ) -> tuple[Float[Tensor, "supervised vocabulary"], KeyValues]:
        if not (self.training and self.decoder.is_gradient_checkpointing):
            cache = GrowingCache()  # also where decoding has a static one, which has no gradient
            states = self.supervised_states(embeddings, loss_mask, attention_mask=attention_mask, cache=cache)
            return self.logits(states), self.key_values(cache)
        with recorded_projections(self.decoder) as projected:  # checkpointed layers take no cache
            hidden = self._run_decoder(embeddings, None, attention_mask, None)
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        rotary = self.decoder.rotary_emb(embeddings, positions)
        return self.logits(hidden[loss_mask]), [
            (rotated(keys, *rotary), values) for keys, values in projected
        ]

    def key_values(self, cache: KeyValueCache) -> KeyValues:
        length = cache.get_seq_length()
        if isinstance(cache, CroppableStaticCache):
            length = cache.length
        layers = cache.layers  # type: ignore[attr-defined]  # the caches of transformers
        return [(layer.keys[:, :, :length], layer.values[:, :, :length]) for layer in layers]

    def new_cache(self, rows: int = 1) -> KeyValueCache:
        return GrowingCache() if self.static_decoder is None else self.static_decoder.new_cache(rows)


class GrowingCache(DynamicCache):
    """A cache of transformers. Its own `crop` takes the new length up to 5.17, and later the number to remove."""

    def crop(self, length: int) -> None:
        """Forget all but the first `length` columns."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]


@memoized
def cache_argument(forward: Callable[..., Any]) -> str:
    """The name of the argument for the cache in a decoder's `forward`: "past_key_values", later "cache"."""
    return "cache" if "cache" in signature(forward).parameters else "past_key_values"


# Static cache. Experimental: its CUDA graphs never ran on a GPU.

Step = Callable[..., Tensor]
Compiler = Callable[[Step], Step]


class CroppableStaticCache(StaticCache):
    """A static cache of transformers that can be cropped. `length` is known without asking the device."""

    def __init__(self, config: Any, max_length: int) -> None:
        super().__init__(config=config, max_cache_len=max_length)
        if any(self.is_sliding):
            raise InspireError(
                "A decoder with sliding windows has no static cache; set static_cache to 'off'."
            )
        self.length = 0

    def crop(self, length: int) -> None:
        """Forget all but the first `length` columns. Later writes overwrite the rest."""
        self.length = min(length, self.length)
        for layer in self.layers:
            layer.cumulative_length.fill_(self.length)


class StaticDecoder:
    """Runs a decoder with one static cache per batch size, so that shapes and addresses never change.

    CUDA graphs need this to replay the pass of one token. The cache of a batch size is used again by the next
    decision, so only one decision per batch size may run at a time. The first pass of a decision is not compiled: its
    length differs each time.
    """

    def __init__(self, decoder: PreTrainedModel, max_length: int, compiler: Compiler | None = None) -> None:
        """
        Args:
            max_length: longest sequence in columns, observation and action included.
            compiler: compiles the pass of one token, for example `cuda_graphs`. None: not compiled.
        """
        self.decoder, self.max_length, self.compiled = decoder, max_length, compiler is not None
        self._cache_argument = cache_argument(type(decoder).forward)
        self._caches: dict[int, CroppableStaticCache] = {}
        self._one_token = self._step if compiler is None else compiler(self._step)

    def new_cache(self, rows: int) -> CroppableStaticCache:
        """The cache of this batch size, emptied."""
        if rows not in self._caches:
            self._caches[rows] = CroppableStaticCache(self.decoder.config, self.max_length)
        cache = self._caches[rows]
        cache.crop(0)
        return cache

    def extend(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        cache: CroppableStaticCache,
        positions: Int[Tensor, "batch time"] | None = None,
        attention_mask: Bool[Tensor, "batch time total"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """See `Backbone.extend`. Raises InspireError for a sequence longer than `max_length`."""
        batch, new, _ = embeddings.shape
        past, total, device = cache.length, cache.length + new, embeddings.device
        if total > self.max_length:
            raise InspireError(
                f"A sequence of {total} columns does not fit a static cache of {self.max_length}."
            )
        if positions is None:
            positions = torch.arange(past, total, device=device).expand(batch, -1)
        if attention_mask is None:
            attention_mask = torch.ones(1, new, total, dtype=torch.bool, device=device).tril(past)
        mask = pad(attention_mask, (0, self.max_length - total)).expand(batch, -1, -1)[:, None]
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        step = self._one_token if new == 1 and past else self._step
        hidden = step(embeddings, positions, mask.contiguous(), cache)
        cache.length = total
        return hidden.clone() if self.compiled else hidden  # the next replay overwrites a graph's output

    def _step(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, cache: CroppableStaticCache
    ) -> Tensor:
        return self.decoder(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=mask,
            use_cache=True,
            **{self._cache_argument: cache},
        ).last_hidden_state


def cuda_graphs(step: Step) -> Step:
    """Compile a pass with fused kernels that are launched as one CUDA graph."""
    return torch.compile(step, mode="reduce-overhead", fullgraph=True, dynamic=False)


# Attention weights


@contextmanager
def attention_weights(backbone: HFBackbone) -> Iterator[list[Float[Tensor, "batch head total total"]]]:
    """Collect the attention weights of every layer, first to last, of the passes made within the context.

    Such a pass needs an explicit mask.
    """
    implementation = backbone.decoder.config._attn_implementation
    backbone.decoder.set_attn_implementation("eager")  # the only one that returns its weights
    backbone.recorded_attention = []
    try:
        yield backbone.recorded_attention
    finally:
        backbone.recorded_attention = None
        backbone.decoder.set_attn_implementation(implementation)


@contextmanager
def recorded_projections(decoder: PreTrainedModel) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Record the keys (not rotated yet) and values of each layer of the pass inside, (batch, head, time, head_dim).

    For gradient checkpointing, whose layers take no cache. The recorded tensors keep their gradient.
    """
    recorded: dict[tuple[int, str], Tensor] = {}
    attentions = [layer.self_attn for layer in decoder.layers]

    def record(number: int, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            heads = output.unflatten(-1, (-1, attentions[number].head_dim)).transpose(1, 2)
            recorded[number, name] = heads

        return hook

    handles = [
        getattr(attention, name).register_forward_hook(record(number, name))
        for number, attention in enumerate(attentions)
        for name in ("k_proj", "v_proj")
    ]
    projected: list[tuple[Tensor, Tensor]] = []
    try:
        yield projected
    finally:
        for handle in handles:  # the backward pass runs the layers again
            handle.remove()
    projected += [
        (recorded[number, "k_proj"], recorded[number, "v_proj"]) for number in range(len(attentions))
    ]


def rotated(
    x: Float[Tensor, "batch head time dim"],
    cos: Float[Tensor, "batch time dim"],
    sin: Float[Tensor, "batch time dim"],
) -> Float[Tensor, "batch head time dim"]:
    """Rotary position embedding of queries or keys, as in Llama, Gemma and Qwen2."""
    left, right = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-right, left], dim=-1) * sin[:, None]


def additive_mask(mask: Bool[Tensor, "*batch total"], dtype: torch.dtype) -> Float[Tensor, "*batch total"]:
    """The mask as a term that eager attention adds to its scores: 0 where true, the lowest number where false."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


# The training pass of nano

RMSNorm, RotaryEmbedding = Qwen2RMSNorm, Qwen2RotaryEmbedding
ATTENTION = "inspire_vla_sdpa"
"""Name under which transformers finds `sdpa_attention`."""


def sdpa_attention(
    module: nn.Module,
    query: Float[Tensor, "batch head time dim"],
    key: Float[Tensor, "batch head total dim"],
    value: Float[Tensor, "batch head total dim"],
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Float[Tensor, "batch time head dim"], None]:
    """PyTorch's attention as transformers calls it; in float32 under autocast on a CPU.

    There the backward pass of PyTorch's attention has no fast kernel for bfloat16, and takes three times as long.
    Everything else is faster in bfloat16.

    Args:
        attention_mask: broadcasts to (batch, head, time, total): True where a row attends, or a term of the scores.

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


AttentionInterface.register(ATTENTION, sdpa_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def supervised_states(
    decoder: Qwen2Model,
    embeddings: Float[Tensor, "batch time hidden"],
    loss_mask: Bool[Tensor, "batch time"],
    attention_mask: Bool[Tensor, "batch time time"] | None = None,
    cache: Any = None,
) -> Float[Tensor, "supervised hidden"]:
    """The last hidden states where `loss_mask` is true, row by row; the last layer runs only there.

    Most elements of a sequence are image tokens and questions, which have no loss. The last layer needs keys and
    values of every element, but queries, output projection and MLP only of the supervised ones. For the four layers of
    nano this saves 16 to 19 % of the CPU time of a whole training step, data included (480 steps of recipe
    nano_tabletop each, base and InSpire, interleaved with the plain forward). It could save at most one of the 18
    layers or more of the published models, so they use the plain forward of transformers.

    Axes: supervised = elements where `loss_mask` is true; most = supervised elements of the row with the most.

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
    # Columns of the supervised elements; rows with fewer than the most are padded with other columns. In training there
    # is at least one, so that each parameter gets a gradient, if of zeros: see `InspireVLAPolicy.forward`.
    most = max(int(count.max()), int(torch.is_grad_enabled()))
    columns = loss_mask.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    is_real = torch.arange(columns.shape[1], device=columns.device) < count
    row = torch.arange(len(hidden), device=hidden.device)[:, None]
    cos, sin = (table.expand(len(hidden), -1, -1) for table in rotary)
    x = layer.input_layernorm(hidden)

    def heads(flat: Tensor) -> Float[Tensor, "batch head time dim"]:
        return flat.unflatten(-1, (-1, last.head_dim)).transpose(1, 2)

    keys, values = rotated(heads(last.k_proj(x)), cos, sin), heads(last.v_proj(x))
    if cache is not None:
        cache.update(keys, values, last.layer_idx)
    if not most:  # no element has a loss: only keys and values are wanted
        return hidden[loss_mask]
    queries = rotated(heads(last.q_proj(x[row, columns])), cos[row, columns], sin[row, columns])
    if mask is None:
        mask = (torch.arange(time, device=columns.device) <= columns[:, :, None])[:, None]
    else:
        mask = mask[:, 0].expand(len(hidden), -1, -1)[row, columns][:, None]
    mixed, _ = sdpa_attention(last, queries, keys, values, mask)
    hidden = hidden[loss_mask] + last.o_proj(mixed[is_real].flatten(1))
    hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return decoder.norm(hidden)


# Image-text-to-text models


def special_ids(tokenizer: Any) -> set[int]:
    """Ids of the special tokens of a tokenizer of transformers, those that were added to it included."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}


class _DecoderCalled(Exception):
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options


def decoder_call(
    model: PreTrainedModel, decoder: PreTrainedModel, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Run `model` up to the call of its decoder, and return the keyword arguments of that call.

    Raises:
        InspireError: the model did not call its decoder.
    """

    def stop(module: nn.Module, args: tuple, options: dict[str, Any]) -> None:
        raise _DecoderCalled(options)

    hook = decoder.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**inputs, use_cache=False)
    except _DecoderCalled as called:
        return called.options
    finally:
        hook.remove()
    raise InspireError(f"{type(model).__name__} did not call its decoder {type(decoder).__name__}.")


def vision_encoders(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """The vision encoder of an image-text-to-text model, as a tuple; empty where it is not found."""
    inner = getattr(model, "model", model)
    encoders = [getattr(inner, name, None) for name in ("vision_tower", "vision_model", "visual")]
    return tuple(encoder for encoder in encoders if encoder is not None)


def siglip_encoder(model: PreTrainedModel) -> nn.Module:
    """The encoder of a SiglipVisionModel: inside it in transformers 5.5, the model itself in later versions."""
    return getattr(model, "vision_model", model)


def no_split_modules(model: PreTrainedModel) -> tuple[str, ...]:
    """Class names of the blocks that must stay whole when a model is sharded."""
    return tuple(sorted(model._no_split_modules or ()))


def deepstack_layers(config: Any) -> int:
    """How many decoder layers image features are added to after the embedding (Qwen3-VL); 0 for other models."""
    vision_config = getattr(config, "vision_config", None)
    return len(getattr(vision_config, "deepstack_visual_indexes", ()) or ())


def uses_mrope(config: Any) -> bool:
    """Whether positions have three axes (Qwen-VL)."""
    return "mrope_section" in (getattr(config.get_text_config(), "rope_parameters", None) or {})


def sliding_window(config: Any) -> int | None:
    """The window of the layers with sliding attention; None where every layer attends to the whole sequence."""
    text_config = config.get_text_config()
    slides = "sliding_attention" in (getattr(text_config, "layer_types", None) or ())
    return getattr(text_config, "sliding_window", None) if slides else None
