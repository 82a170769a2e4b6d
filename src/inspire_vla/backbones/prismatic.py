"""OpenVLA and MiniVLA: Prismatic VLMs (arXiv 2402.07865) with fused DINOv2 and SigLIP encoders.

    image ─┬─ DINOv2 ─┬─ channels concatenated ─ projector ─▶ Llama-2 or Qwen2.5 decoder
           └─ SigLIP ─┘

Tensor axes: batch; image; prefix = first text token and patches of all images; patch; channel; hidden = width of the
decoder.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from inspire_vla.backbones.base import LINEAR_LAYERS, token_grid
from inspire_vla.backbones.hf_decoder import HFBackbone
from inspire_vla.dialogue import OPENVLA_TEMPLATE, QWEN_TEMPLATE, Template, TextTokenizer
from inspire_vla.errors import InspireError, did_you_mean

MEANS = {"dino": (0.485, 0.456, 0.406), "siglip": (0.5, 0.5, 0.5)}
DEVIATIONS = {"dino": (0.229, 0.224, 0.225), "siglip": (0.5, 0.5, 0.5)}


SENTENCEPIECE_SPACE = "▁"
"""OpenVLA was trained with a lone space token (id 29871) between the prompt and the action."""

MINIVLA = replace(
    QWEN_TEMPLATE,
    name="minivla",
    # The images follow the very first token, <|im_start|>, so `encode_observation` adds that token.
    start="system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n",
    action_end="<|im_end|><|endoftext|>",
    supervise_ends=True,
    lowercase=True,
)
OPENVLA = replace(
    OPENVLA_TEMPLATE,
    action_prompt=SENTENCEPIECE_SPACE,
    action_prompt_after="Out:" + SENTENCEPIECE_SPACE,
    lowercase=True,
)
FAMILIES: dict[str, tuple[type, type, str, Template]] = {
    "qwen2": (Qwen2Model, Qwen2Config, "<|im_start|>", MINIVLA),
    "llama": (LlamaModel, LlamaConfig, "<s>", OPENVLA),
}
"""Decoder, its configuration, first token and template of each language family."""


@dataclass
class LanguageConfig:
    """Size of a Qwen2 or Llama decoder. The default is Qwen2.5-0.5B, as in MiniVLA.

    Attributes:
        family: "qwen2" or "llama".
        vocabulary_size: rows of the embedding, padding rows included.
        longest: longest sequence the positions allow (`max_position_embeddings`).
        tied: the head is tied to the token embedding.
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


def llama_2_7b() -> LanguageConfig:
    """Llama-2-7B, as in OpenVLA."""
    return LanguageConfig(
        family="llama",
        vocabulary_size=32064,
        hidden_size=4096,
        mlp_size=11008,
        layers=32,
        heads=32,
        key_value_heads=32,
        rope_theta=10000.0,
        norm_eps=1e-6,
        longest=2048,
        tied=False,
    )


@dataclass
class TowerConfig:
    """Size of a vision transformer.

    Attributes:
        blocks: number of blocks that run. Prismatic takes the output of the second-to-last block, so this is one less
            than in the published encoder.
        registers: register tokens. DINOv2 has them together with a class token; SigLIP has neither (0).
    """

    width: int
    blocks: int
    heads: int
    mlp_size: int
    registers: int = 0


@dataclass
class PrismaticConfig:
    """Size of a Prismatic VLM. The default is MiniVLA. `inspire convert` reads the sizes from the weights.

    Attributes:
        dino, siglip: by default DINOv2 ViT-L/14 with four registers and SigLIP So400m/14, without their last blocks.
        image_size: side in pixels of the square that images are resized to.
        action_ids_end: action codes take the token ids below this one, in descending order.
    """

    language: LanguageConfig = field(default_factory=LanguageConfig)
    dino: TowerConfig = field(default_factory=lambda: TowerConfig(1024, 23, 16, 4096, registers=4))
    siglip: TowerConfig = field(default_factory=lambda: TowerConfig(1152, 26, 16, 4304))
    image_size: int = 224
    patch_size: int = 14
    action_ids_end: int = 151921


class LlamaTokenizer:
    """A Llama tokenizer that encodes a trailing `▁` as the lone space token, which plain text cannot express."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.space = tokenizer.convert_tokens_to_ids(SENTENCEPIECE_SPACE)
        if self.space is None or self.space == getattr(tokenizer, "unk_token_id", None):
            raise InspireError(
                f"The tokenizer has no token {SENTENCEPIECE_SPACE!r}: it is not a Llama tokenizer."
            )

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        spaces = len(text) - len(text.rstrip(SENTENCEPIECE_SPACE))
        text = text[: len(text) - spaces]
        ids = self.tokenizer.encode(text, add_special_tokens=add_special_tokens) if text else []
        return [*ids, *[self.space] * spaces]

    def decode(self, token_ids: Any, **options: Any) -> str:
        return self.tokenizer.decode(token_ids, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


class FusedTowers(nn.Module):
    """DINOv2 with registers and SigLIP as timm modules, which have the parameter names of the checkpoints.

    Prismatic takes the output of the second-to-last block without the final norm. The later layers are not built: they
    would cost memory and get no gradient, which distributed training does not allow.
    """

    def __init__(self, config: PrismaticConfig) -> None:
        super().__init__()
        self.dino = _tower(config.dino, config)
        self.siglip = _tower(config.siglip, config)
        for name in ("dino", "siglip"):
            for what, values in (("mean", MEANS[name]), ("deviation", DEVIATIONS[name])):
                per_channel = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
                self.register_buffer(f"{name}_{what}", per_channel, persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch patch channel"]:
        """Images in [0, 1] → patch features: the channels of DINOv2, then those of SigLIP."""
        dtype = self.dino.patch_embed.proj.weight.dtype
        dino = self.dino.forward_features(((images - self.dino_mean) / self.dino_deviation).to(dtype))
        siglip = self.siglip.forward_features(((images - self.siglip_mean) / self.siglip_deviation).to(dtype))
        return torch.cat([dino[:, self.dino.num_prefix_tokens :], siglip], dim=2)


def _tower(size: TowerConfig, config: PrismaticConfig) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=size.width,
        depth=size.blocks,
        num_heads=size.heads,
        mlp_ratio=(size.mlp_size + 0.5) / size.width,  # timm rounds down
        class_token=size.registers > 0,
        reg_tokens=size.registers,
        no_embed_class=size.registers > 0,
        init_values=1e-5 if size.registers else None,
        num_classes=0,
        global_pool="",
        final_norm=False,
    )


class Projector(nn.Module):
    """Patch features → embeddings of the decoder: three linear layers; the first is four times as wide."""

    def __init__(self, channels: int, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, hidden_size)
        self.fc3 = nn.Linear(hidden_size, hidden_size)
        self.gelu = nn.GELU()

    def forward(self, patches: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch hidden"]:
        return self.fc3(self.gelu(self.fc2(self.gelu(self.fc1(patches)))))


class Prismatic(HFBackbone):
    """The first text token, the patches of every image, then the rest of the text.

    Several images (a wrist camera, or earlier steps) are more patches. MiniVLA orders them by time: t−1 agent view,
    t−1 wrist, t agent view, t wrist. The robot state is not an input of these models.
    """

    name: ClassVar[str] = "prismatic"
    lora_targets = rf".*backbone\.(decoder|towers|projector)\..*({LINEAR_LAYERS}|qkv|attn\.proj|fc3)"
    """All linear layers, as in OpenVLA's fine-tuning."""
    fsdp_units = ("Qwen2DecoderLayer", "LlamaDecoderLayer", "Block", "Projector")

    def __init__(self, config: PrismaticConfig, *, text_tokenizer: Any, num_images: int = 1) -> None:
        """
        Args:
            text_tokenizer: the tokenizer of the language model, from transformers.
            num_images: images of an observation.

        Raises:
            InspireError: an unknown language family, or a tokenizer that does not belong to it.
        """
        super().__init__()
        language = config.language
        if language.family not in FAMILIES:
            hint = did_you_mean(language.family, FAMILIES)
            raise InspireError(f"Unknown language family {language.family!r}.{hint}")
        _, _, first, self.template = FAMILIES[language.family]
        self.first_id = text_tokenizer.convert_tokens_to_ids(first)
        if self.first_id is None or text_tokenizer.encode(first, add_special_tokens=False) != [self.first_id]:
            raise InspireError(
                f"The tokenizer has no token {first!r}: it does not belong to {language.family}."
            )
        llama = language.family == "llama"
        self.text_tokenizer: TextTokenizer = LlamaTokenizer(text_tokenizer) if llama else text_tokenizer
        self.config, self.num_images = config, num_images
        self.hidden_size, self.vocabulary_size = language.hidden_size, language.vocabulary_size
        self.towers = FusedTowers(config)
        self.projector = Projector(config.dino.width + config.siglip.width, language.hidden_size)
        self.decoder = make_decoder(language)
        size = language.hidden_size, language.vocabulary_size
        self.head = None if language.tied else nn.Linear(*size, bias=False)

    def vision(self) -> tuple[nn.Module, ...]:
        return self.towers.dino, self.towers.siglip

    def encode_observation(
        self, images: Float[Tensor, "batch image 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        if state is not None:
            raise InspireError("MiniVLA and OpenVLA take no robot state: set use_state to false.")
        self.check_images(images)
        pixels = resize_to_square(images.flatten(0, 1), self.config.image_size)
        patches = self.projector(self.towers(pixels)).unflatten(0, images.shape[:2]).flatten(1, 2)
        first = self.embed(torch.full((len(images), 1), self.first_id, device=patches.device))
        return torch.cat([first, patches], dim=1)

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        each = (prefix_length - 1) // num_images  # the first text token comes before the images
        return token_grid(range(1 + index * each, 1 + (index + 1) * each))


def make_decoder(config: LanguageConfig) -> Qwen2Model | LlamaModel:
    """A Qwen2 or Llama decoder with fresh weights."""
    model, configuration, _, _ = FAMILIES[config.family]
    return model(
        configuration(
            vocab_size=config.vocabulary_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.mlp_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.longest,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            pad_token_id=None,
            attn_implementation="sdpa",
        )
    )


def resize_to_square(
    images: Float[Tensor, "batch 3 height width"], side: int
) -> Float[Tensor, "batch 3 side side"]:
    """Resize images in [0, 1] to side × side, bicubic with antialiasing. The aspect ratio is not kept."""
    if tuple(images.shape[-2:]) == (side, side):
        return images
    return interpolate(images.float(), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
