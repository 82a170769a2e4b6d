"""OpenVLA and MiniVLA: patches of two towers, through a projector, into a Llama-2 or Qwen2.5 decoder."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from inspire_vla.backbones.base import square_grid
from inspire_vla.backbones.hf_decoder import HFBackbone, LanguageConfig, resized
from inspire_vla.backbones.last_layer import can_narrow
from inspire_vla.backbones.prismatic.config import PrismaticConfig
from inspire_vla.backbones.prismatic.towers import FusedTowers
from inspire_vla.dialogue import OPENVLA_TEMPLATE, QWEN_TEMPLATE, Template, TextTokenizer
from inspire_vla.errors import InspireError, did_you_mean

PIECE_SPACE = "▁"
"""SentencePiece's space. OpenVLA was trained with a lone one (id 29871) between the prompt and the action."""

MINIVLA = replace(
    QWEN_TEMPLATE,
    name="minivla",
    # The images stand behind the very first token, <|im_start|>, which `encode_observation` therefore brings along.
    start="system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n",
    action_end="<|im_end|><|endoftext|>",
    supervise_ends=True,
    lowercase=True,
)
OPENVLA = replace(
    OPENVLA_TEMPLATE, action_prompt=PIECE_SPACE, action_prompt_after="Out:" + PIECE_SPACE, lowercase=True
)


class LlamaText:
    """A Llama tokenizer in which a trailing `▁` is the lone space token, which plain text cannot ask for."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.space = tokenizer.convert_tokens_to_ids(PIECE_SPACE)
        if self.space is None or self.space == getattr(tokenizer, "unk_token_id", None):
            raise InspireError(f"The tokenizer has no token {PIECE_SPACE!r}: it is not a Llama tokenizer.")

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        spaces = len(text) - len(text.rstrip(PIECE_SPACE))
        text = text[: len(text) - spaces]
        ids = self.tokenizer.encode(text, add_special_tokens=add_special_tokens) if text else []
        return [*ids, *[self.space] * spaces]

    def decode(self, token_ids: Any, **options: Any) -> str:
        return self.tokenizer.decode(token_ids, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


FAMILIES: dict[str, tuple[type, type, str, Template]] = {
    "qwen2": (Qwen2Model, Qwen2Config, "<|im_start|>", MINIVLA),
    "llama": (LlamaModel, LlamaConfig, "<s>", OPENVLA),
}


class Projector(nn.Module):
    """Patch features → embeddings of the decoder: three layers, the first one four times as wide."""

    def __init__(self, channels: int, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, hidden_size)
        self.fc3 = nn.Linear(hidden_size, hidden_size)
        self.gelu = nn.GELU()

    def forward(self, patches: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch hidden"]:
        return self.fc3(self.gelu(self.fc2(self.gelu(self.fc1(patches)))))


class Prismatic(HFBackbone):
    """The first token of the text, then the patches of every image in order, then the rest of the text.

    Several images (a wrist camera, or history) are simply more patches; MiniVLA interleaves them by time:
    t−1 agent view, t−1 wrist, t agent view, t wrist. The robot's state is not an input of these models.
    """

    name: ClassVar[str] = "prismatic"
    narrows = True
    lora_targets = r".*backbone\.(decoder|towers|projector)\..*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|qkv|attn\.proj|fc1|fc2|fc3)"  # noqa: E501  as OpenVLA's own fine-tuning: all linear layers
    fsdp_units = ("Qwen2DecoderLayer", "LlamaDecoderLayer", "Block", "Projector")

    def __init__(self, config: PrismaticConfig, *, text_tokenizer: Any, num_images: int = 1) -> None:
        """
        Args:
            text_tokenizer: the language model's, of transformers.
            num_images: how many are looked at at once.

        Raises:
            InspireError: unknown language family, or a tokenizer that does not belong to it.
        """
        super().__init__()
        language = config.language
        if language.family not in FAMILIES:
            hint = did_you_mean(language.family, FAMILIES)
            raise InspireError(f"Unknown language family {language.family!r}.{hint}")
        _, _, first, self.template = FAMILIES[language.family]
        self.text_tokenizer: TextTokenizer = (
            LlamaText(text_tokenizer) if language.family == "llama" else text_tokenizer
        )
        self.first_id = text_tokenizer.convert_tokens_to_ids(first)
        if self.first_id is None or text_tokenizer.encode(first, add_special_tokens=False) != [self.first_id]:
            raise InspireError(
                f"The tokenizer has no token {first!r}: it does not belong to {language.family}."
            )
        self.config, self.num_images = config, num_images
        self.hidden_size, self.vocabulary_size = language.hidden_size, language.vocabulary_size
        self.towers = FusedTowers(config)
        self.projector = Projector(config.dino.width + config.siglip.width, language.hidden_size)
        self.decoder = make_decoder(language)
        can_narrow(self.decoder)
        size = language.hidden_size, language.vocabulary_size
        self.head = None if language.tied else nn.Linear(*size, bias=False)

    def vision(self) -> tuple[nn.Module, ...]:
        return self.towers.dino, self.towers.siglip

    def encode_observation(
        self, images: Float[Tensor, "batch image 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        if state is not None:
            raise InspireError("MiniVLA and OpenVLA do not feel the robot's state: set use_state to false.")
        batch, num_images = images.shape[:2]
        if num_images != self.num_images:
            raise InspireError(f"This model looks at {self.num_images} image(s), found {num_images}.")
        patches = self.projector(self.towers(resized(images.flatten(0, 1), self.config.image_size)))
        prefix = patches.unflatten(0, (batch, num_images)).flatten(1, 2)
        first = self.embed(torch.full((batch, 1), self.first_id, device=prefix.device))
        return torch.cat([first, prefix], dim=1)

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        each = (prefix_length - 1) // num_images  # behind the text's first token
        return square_grid(range(1 + index * each, 1 + (index + 1) * each))


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
