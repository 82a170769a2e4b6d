"""A VLA that trains on the CPU of a laptop: convolutional stem, robot state, small Qwen2 decoder.

Tensor axes: batch; camera; prefix = patches of all cameras and one token for the state; hidden = width of the decoder.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2Model

from inspire_vla.backbones import efficientnet
from inspire_vla.backbones.base import KeyValueCache
from inspire_vla.backbones.hf_decoder import ATTENTION, HFBackbone, supervised_states
from inspire_vla.dialogue import NANO_TEMPLATE, TextTokenizer
from inspire_vla.errors import InspireError, counted, did_you_mean

VISION_ENCODERS = ("stem", efficientnet.NAME)
STRIDE = 16
"""Side of a patch in pixels. Each patch becomes one token."""
GROUPS = 8
"""Groups of the group normalisation in residual blocks."""


@dataclass
class NanoConfig:
    """Size of the nano backbone. The default has about two million parameters."""

    hidden_size: int = 192
    layers: int = 4
    heads: int = 4
    mlp_size: int = 512
    stem_width: int = 32
    deep_stem: bool = False
    """A stem with residual blocks, for the grounding pre-training. False: four thin layers."""
    vision: str = "stem"
    """The vision encoder. "stem": nano's own. "efficientnet_lite0": trained on ImageNet, see efficientnet.py; the other
    options of the stem have no effect."""


def stem(config: NanoConfig) -> nn.Sequential:
    """Image → one vector per patch. The first layer has stride 4 to save time on a CPU."""
    width, hidden = config.stem_width, config.hidden_size
    if config.vision == efficientnet.NAME:
        channels = efficientnet.CHANNELS  # whose standard deviation is about 8, hence the normalisation
        projection = (nn.GroupNorm(1, channels), nn.Conv2d(channels, hidden, 1))
        return nn.Sequential(efficientnet.EfficientNetLite0(), *projection)
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
    """x + convolution(ReLU(convolution(group norm of x))), for x (batch, channels, rows, columns)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(torch.relu(self.inner(self.norm(x))))


class Nano(HFBackbone):
    """Patches of every camera, then one token for the robot state (if the model has one), then text."""

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
            cameras: images of an observation; with n_obs_steps > 1, the images of all steps.
            image_size: height and width in pixels, multiples of 16.
            state_dim: length of the robot state; 0: the model takes no state.

        Raises:
            InspireError: sizes that do not fit together.
        """
        super().__init__()
        height, width = image_size
        if height % STRIDE or width % STRIDE:
            raise InspireError(
                f"nano takes images whose sides are multiples of {STRIDE}, found {height}×{width}."
            )
        if config.hidden_size % config.heads:
            raise InspireError(f"hidden_size {config.hidden_size} is not a multiple of heads {config.heads}.")
        if config.vision not in VISION_ENCODERS:
            raise InspireError(
                f"Unknown vision encoder {config.vision!r}.{did_you_mean(config.vision, VISION_ENCODERS)}"
            )
        if config.deep_stem and (2 * config.stem_width % GROUPS or config.hidden_size % GROUPS):
            raise InspireError(
                f"With deep_stem, hidden_size and twice stem_width must be multiples of {GROUPS}, found "
                f"{config.hidden_size} and {2 * config.stem_width}."
            )
        self.hidden_size, self.vocabulary_size = config.hidden_size, vocabulary_size
        self.text_tokenizer = text_tokenizer
        self.num_images, self.image_size = cameras, image_size
        self.stem = stem(config)
        patches = (height // STRIDE) * (width // STRIDE)
        # The position embedding of the patches. Published weights, whose hash is on record, name it so.
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
                attn_implementation=ATTENTION,
            )
        )
        self.head = nn.Linear(config.hidden_size, vocabulary_size, bias=False)

    def encode_observation(
        self, images: Float[Tensor, "batch camera 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        batch, cameras = images.shape[:2]
        if cameras != self.num_images or tuple(images.shape[-2:]) != tuple(self.image_size):
            raise InspireError(
                f"This model takes {counted(self.num_images, 'image')} of "
                f"{self.image_size[0]}×{self.image_size[1]} pixels, "
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
        """Train only the decoder, the embedding of the robot state, and the head.

        With several images also the position embedding of the patches, which is new for all but the first. Behind a
        foreign encoder that and its projection.
        """
        super().freeze_vision()
        if self.foreign_encoder is None and self.num_images == 1:
            self.place.requires_grad_(False)

    @property
    def foreign_encoder(self) -> efficientnet.EfficientNetLite0 | None:
        """A vision encoder that others trained; None: nano's own stem."""
        first = self.stem[0]
        return first if isinstance(first, efficientnet.EfficientNetLite0) else None

    def vision(self) -> tuple[nn.Module, ...]:
        return (self.foreign_encoder or self.stem,)

    def supervised_states(
        self,
        embeddings: Float[Tensor, "batch time hidden"],
        loss_mask: Bool[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time time"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "supervised hidden"]:
        return supervised_states(self.decoder, embeddings, loss_mask, attention_mask, cache)

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        rows, columns = (side // STRIDE for side in self.image_size)
        each = rows * columns
        return range(index * each, (index + 1) * each), (rows, columns)
