"""A VLA small enough to train on a laptop's CPU: convolution stem, robot state, small Qwen2 decoder."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import Qwen2Config, Qwen2Model

from inspire_vla.backbones import lean
from inspire_vla.backbones.base import Backbone, KeyValueCache
from inspire_vla.backbones.last_layer import can_narrow
from inspire_vla.dialogue import NANO_TEMPLATE, TextTokenizer
from inspire_vla.errors import InspireError

STRIDE = 16  # pixels per visual token and side
GROUPS = 8  # of channels that a residual block normalises together


@dataclass
class NanoConfig:
    """Size of the nano backbone. The default has about two million parameters."""

    hidden_size: int = 192
    layers: int = 4
    heads: int = 4
    mlp_size: int = 512
    stem_width: int = 32
    deep_stem: bool = False
    """A stem with residual blocks: what the grounding pre-training teaches to see. Without, five thin layers."""


def stem(config: NanoConfig) -> nn.Sequential:
    """Image → one vector per 16 × 16 pixels. Starts with stride 4, which is what a CPU can afford."""
    width, hidden = config.stem_width, config.hidden_size
    if not config.deep_stem:
        return nn.Sequential(
            nn.Conv2d(3, width, 4, stride=4),
            nn.GELU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(4 * width, hidden, 1),
        )
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=4),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        Residual(2 * width),
        nn.GELU(),
        nn.Conv2d(2 * width, hidden, 3, stride=2, padding=1),
        Residual(hidden),
    )


class Residual(nn.Module):
    """x + convolution(ReLU(convolution(normalised x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(torch.relu(self.inner(self.norm(x))))


class Nano(Backbone):
    """Visual tokens of every camera, then one token for the robot state (if it has one), then text."""

    name: ClassVar[str] = "nano"
    template = NANO_TEMPLATE

    def __init__(
        self,
        config: NanoConfig,
        *,
        text_tokenizer: TextTokenizer,
        vocabulary_size: int,
        cameras: int,
        image_size: tuple[int, int],
        state_dim: int,
    ) -> None:
        """
        Args:
            vocabulary_size: text tokens and action codes together.
            cameras: images of an observation; with a history, each moment's count.
            image_size: height, width in pixels, multiples of 16.
            state_dim: numbers in the robot state; 0: the model does not feel, it only sees.
        """
        super().__init__()
        height, width = image_size
        if height % STRIDE or width % STRIDE:
            raise InspireError(
                f"nano takes images whose sides are multiples of {STRIDE}, found {height}×{width}."
            )
        if config.hidden_size % config.heads:
            raise InspireError(f"hidden_size {config.hidden_size} is not a multiple of heads {config.heads}.")
        if config.deep_stem and (2 * config.stem_width % GROUPS or config.hidden_size % GROUPS):
            raise InspireError(
                f"With deep_stem, hidden_size and twice stem_width must be multiples of {GROUPS}, found "
                f"{config.hidden_size} and {2 * config.stem_width}."
            )
        self.hidden_size, self.vocabulary_size = config.hidden_size, vocabulary_size
        self.text_tokenizer = text_tokenizer
        self.image_size = image_size
        self.stem = stem(config)
        patches = (height // STRIDE) * (width // STRIDE)
        self.place = nn.Parameter(torch.randn(cameras, patches, config.hidden_size) * 0.02)
        self.state = nn.Linear(state_dim, config.hidden_size) if state_dim else None
        self.decoder = Qwen2Model(
            Qwen2Config(
                vocab_size=vocabulary_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.mlp_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                max_position_embeddings=2048,
                attn_implementation="sdpa",
            )
        )
        can_narrow(self.decoder)
        self.head = nn.Linear(config.hidden_size, vocabulary_size, bias=False)

    def encode_observation(
        self, images: Float[Tensor, "batch camera 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        batch, cameras = images.shape[:2]
        if cameras != len(self.place) or tuple(images.shape[-2:]) != tuple(self.image_size):
            raise InspireError(
                f"This model takes {len(self.place)} image(s) of {self.image_size[0]}×{self.image_size[1]} pixels, "
                f"found {cameras} of {images.shape[-2]}×{images.shape[-1]}."
            )
        pixels = (images.flatten(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last)
        features = self.stem(pixels).flatten(2).transpose(1, 2)
        prefix = (features.unflatten(0, (batch, cameras)) + self.place).flatten(1, 2)
        if self.state is None:
            return prefix
        if state is None:
            raise InspireError("This model was trained with the robot state; none is in the observation.")
        return torch.cat([prefix, self.state(state)[:, None]], dim=1)

    def freeze_vision(self) -> None:
        """Leave what sees as it is: only the decoder, the robot's state and the head go on learning."""
        self.stem.requires_grad_(False)
        self.place.requires_grad_(False)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute the decoder's activations in the backward pass instead of keeping them."""
        self.decoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        rows, columns = (side // STRIDE for side in self.image_size)
        each = rows * columns
        return range(index * each, (index + 1) * each), (rows, columns)

    def embed(self, token_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        return self.decoder.embed_tokens(token_ids)

    def extend(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        attention_mask: Bool[Tensor, "batch time total"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        if isinstance(cache, lean.LeanCache):
            return lean.extend(
                self.decoder, embeddings, cache, positions=positions, attention_mask=attention_mask
            )
        return self._run(embeddings, attention_mask=attention_mask, position_ids=positions)

    def forward(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
    ) -> Float[Tensor, "supervised vocabulary"]:
        return self.logits(self._run(embeddings, attention_mask=attention_mask, loss_mask=loss_mask))

    def _run(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None,
        **more: Tensor | None,
    ) -> Tensor:
        return self.decoder(
            inputs_embeds=embeddings,
            # As a dictionary it is taken as it is; transformers would spend a tenth of a pass on making its own.
            attention_mask={"full_attention": None if attention_mask is None else attention_mask[:, None]},
            use_cache=False,
            **more,
        ).last_hidden_state

    def logits(
        self, hidden: Float[Tensor, "*batch hidden"], among: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch scored"]:
        return self.head(hidden) if among is None else linear(hidden, self.head.weight[among])

    def new_cache(self, rows: int = 1) -> KeyValueCache:
        return lean.LeanCache()
