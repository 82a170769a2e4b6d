"""What backbones share whose text side is a decoder of transformers."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear
from transformers import DynamicCache, PreTrainedModel

from inspire_vla.backbones.base import Backbone, KeyValueCache
from inspire_vla.backbones.static_cache import FixedCache, Pass, StaticSteps


class HFBackbone(Backbone):
    """Runs embeddings through `decoder`. A subclass makes them from images in `encode_observation`.

    Attributes:
        decoder: a text model of transformers that takes `inputs_embeds` and returns `last_hidden_state`.
        head: scores of the next token; None where they are read off the token embeddings (tied).
    """

    lora_targets: ClassVar[str]
    """Regular expression of the linear layers that LoRA adapts by default."""
    fsdp_units: tuple[str, ...]
    """Class names of the blocks that FSDP shards as one."""
    decoder: PreTrainedModel
    head: nn.Linear | None
    static_cache: StaticSteps | None = None
    narrows: ClassVar[bool] = False
    """Whether `decoder` went through `last_layer.can_narrow`."""

    @abstractmethod
    def vision(self) -> tuple[nn.Module, ...]:
        """The vision towers, without the projector: what `freeze_vision` freezes."""

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.dtype

    def tie(self) -> None:
        """Have head and embedding share their weights again, where a copy of one was learned."""

    def freeze_vision(self) -> None:
        """Take the vision towers out of training."""
        for tower in self.vision():
            tower.requires_grad_(False)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations in the backward pass: about a third more time for a fraction of the memory."""
        options = {"use_reentrant": False}
        for model in (self.decoder, *self.vision()):
            if hasattr(model, "gradient_checkpointing_enable"):
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
            elif hasattr(model, "set_grad_checkpointing"):  # timm
                model.set_grad_checkpointing()

    def use_static_cache(self, columns: int, compiler: Callable[[Pass], Pass] | None = None) -> None:
        """Decode in static shapes from now on, see `StaticSteps`. Training does not change."""
        self.static_cache = StaticSteps(self.decoder, columns=columns, compiler=compiler)

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
        if isinstance(cache, FixedCache):
            assert self.static_cache is not None, "the cache is not of this backbone"
            return self.static_cache.extend(
                embeddings, cache, positions=positions, attention_mask=attention_mask
            )
        return self.decoder(
            inputs_embeds=embeddings,
            position_ids=positions,
            # Four dimensions: transformers takes such a mask as it is.
            attention_mask=None if attention_mask is None else attention_mask[:, None],
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def forward(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
    ) -> Float[Tensor, "supervised vocabulary"]:
        if not self.narrows:
            return super().forward(embeddings, loss_mask, attention_mask=attention_mask)
        hidden = self.decoder(
            inputs_embeds=embeddings,
            attention_mask=None if attention_mask is None else attention_mask[:, None],
            use_cache=False,
            loss_mask=loss_mask,
        ).last_hidden_state
        return self.logits(hidden)

    def logits(
        self, hidden: Float[Tensor, "*batch hidden"], among: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch scored"]:
        if self.head is None:
            weight = self.decoder.get_input_embeddings().weight
        elif among is None or type(self.head) is not nn.Linear:  # LoRA may have wrapped it
            scores = self.head(hidden)
            return scores if among is None else scores[..., among]
        else:
            weight = self.head.weight
        return linear(hidden, weight if among is None else weight[among])

    def new_cache(self, rows: int = 1) -> KeyValueCache:
        return DynamicCache() if self.static_cache is None else self.static_cache.new_cache(rows)


@dataclass
class LanguageConfig:
    """Size of a Qwen2 or Llama decoder. The default is Qwen2.5-0.5B, as MiniVLA has it.

    Attributes:
        family: "qwen2" or "llama".
        vocabulary_size: rows of the embedding, padding rows included.
        tied: the head is the token embedding.
    """

    family: str = "qwen2"
    vocabulary_size: int = 151936
    hidden_size: int = 896
    mlp_size: int = 4864
    layers: int = 24
    heads: int = 14
    key_value_heads: int = 2
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    longest: int = 32768
    tied: bool = True


def resized(images: Float[Tensor, "batch 3 height width"], side: int) -> Float[Tensor, "batch 3 side side"]:
    """Images in [0, 1] at side × side, bicubic with antialiasing; the aspect ratio is not kept."""
    if tuple(images.shape[-2:]) == (side, side):
        return images
    return interpolate(images.float(), (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The named parameters that are trained."""
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)
