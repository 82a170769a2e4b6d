"""PaliGemma as in π0-FAST (arXiv 2501.09747): input elements attend to each other, generated tokens are causal.

    cameras · <bos>Task: …, State: …;\\n · Action:  · codes · | <eos>
    └──────────── one block ──────────┘   └──────── causal ────────┘

Tensor axes: batch; camera; prefix = patches of all cameras; hidden = width of the decoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from transformers import GemmaConfig, GemmaModel, SiglipVisionConfig, SiglipVisionModel

from inspire_vla.backbones.base import LINEAR_LAYERS
from inspire_vla.backbones.hf_decoder import HFBackbone, siglip_encoder
from inspire_vla.backbones.published_weights import RenamedWeights, count_layers, rename_weights
from inspire_vla.dialogue import PI0_FAST_TEMPLATE, TextTokenizer
from inspire_vla.errors import InspireError

STATE_BINS = 256
SKIPPED_IDS = 128
"""The last ids of the vocabulary are segmentation tokens. Action codes take the ids below them."""

PI0_FAST = replace(PI0_FAST_TEMPLATE, lowercase=True)
"""The prompt of openpi, with which `pi0_fast_base` was trained."""
PI0_FAST_LEROBOT = replace(PI0_FAST_TEMPLATE, name="pi0_fast_lerobot", action_prompt="<bos>Action: ")
"""LeRobot trains with a second <bos> before "Action:". That token is causal, here as there."""
PROMPTS = {"openpi": PI0_FAST, "lerobot": PI0_FAST_LEROBOT}


@dataclass
class GemmaSize:
    """Gemma-2B."""

    vocabulary_size: int = 257152
    hidden_size: int = 2048
    mlp_size: int = 16384
    layers: int = 18
    heads: int = 8
    key_value_heads: int = 1
    head_size: int = 256


@dataclass
class SiglipSize:
    """SigLIP So400m/14."""

    width: int = 1152
    mlp_size: int = 4304
    layers: int = 27
    heads: int = 16


@dataclass
class PaliGemmaConfig:
    """PaliGemma-3B at 224 pixels.

    Attributes:
        prompt: "openpi" or "lerobot": origin of the checkpoint; LeRobot's has a <bos> before the action.
        tied: the head is tied to the token embedding.
    """

    language: GemmaSize = field(default_factory=GemmaSize)
    vision: SiglipSize = field(default_factory=SiglipSize)
    image_size: int = 224
    patch_size: int = 14
    prompt: str = "openpi"
    tied: bool = True


class PaliGemma(HFBackbone):
    """Patches of every camera, then the text. The text contains the robot state, see `state_texts`."""

    name: ClassVar[str] = "pi0fast"
    pads_images: ClassVar[bool] = True
    bidirectional_prefix = True
    lora_targets = rf".*backbone\.(decoder|tower)\..*({LINEAR_LAYERS})"
    fsdp_units: tuple[str, ...] = ("GemmaDecoderLayer", "SiglipEncoderLayer")

    def __init__(self, config: PaliGemmaConfig, *, text_tokenizer: Any, num_images: int = 1) -> None:
        """Raises InspireError for an unknown prompt, and for a tokenizer without <bos> and <eos>."""
        super().__init__()
        if config.prompt not in PROMPTS:
            raise InspireError(f"The prompt is one of {sorted(PROMPTS)}, found {config.prompt!r}.")
        for token in ("<bos>", "<eos>"):
            if len(text_tokenizer.encode(token, add_special_tokens=False)) != 1:
                raise InspireError(f"The tokenizer has no token {token!r}: it is not PaliGemma's.")
        self.config, self.num_images = config, num_images
        self.template = PROMPTS[config.prompt]
        self.text_tokenizer: TextTokenizer = text_tokenizer
        language, vision = config.language, config.vision
        self.hidden_size, self.vocabulary_size = language.hidden_size, language.vocabulary_size
        tower = SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=vision.width,
                intermediate_size=vision.mlp_size,
                num_hidden_layers=vision.layers,
                num_attention_heads=vision.heads,
                image_size=config.image_size,
                patch_size=config.patch_size,
                vision_use_head=False,
                attn_implementation="sdpa",
            )
        )
        self.tower = siglip_encoder(tower)
        self.projector = nn.Linear(vision.width, language.hidden_size)
        self.decoder = GemmaModel(
            GemmaConfig(
                vocab_size=language.vocabulary_size,
                hidden_size=language.hidden_size,
                intermediate_size=language.mlp_size,
                num_hidden_layers=language.layers,
                num_attention_heads=language.heads,
                num_key_value_heads=language.key_value_heads,
                head_dim=language.head_size,
                hidden_activation="gelu_pytorch_tanh",
                pad_token_id=None,
                attn_implementation="sdpa",
            )
        )
        size = language.hidden_size, language.vocabulary_size
        self.head = None if config.tied else nn.Linear(*size, bias=False)

    def vision(self) -> tuple[nn.Module, ...]:
        return (self.tower,)

    def encode_observation(
        self, images: Float[Tensor, "batch camera 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        self.check_images(images)
        pixels = resize_with_pad(images.flatten(0, 1) * 2 - 1, self.config.image_size)
        patches = self.projector(self.tower(pixels.to(self.dtype)).last_hidden_state)
        return patches.unflatten(0, images.shape[:2]).flatten(1, 2)


def resize_with_pad(
    pixels: Float[Tensor, "batch 3 height width"], side: int
) -> Float[Tensor, "batch 3 side side"]:
    """Resize pixels in [-1, 1] to side × side. Keeps the aspect ratio and pads with black, as LeRobot and openpi."""
    height, width = pixels.shape[-2:]
    if (height, width) == (side, side):
        return pixels
    ratio = max(height, width) / side
    new = int(height / ratio), int(width / ratio)
    pixels = interpolate(pixels.float(), new, mode="bilinear", align_corners=False).clamp(-1, 1)
    top, left = (side - new[0]) // 2, (side - new[1]) // 2
    return pad(pixels, (left, side - new[1] - left, top, side - new[0] - top), value=-1.0)


def state_texts(state: Float[np.ndarray, "batch dim"]) -> list[str]:
    """Normalised states → "12 200 …": the bin of each number, 256 bins over [-1, 1], as in openpi."""
    edges = np.linspace(-1, 1, STATE_BINS + 1)[:-1]
    return [" ".join(map(str, row)) for row in (np.digitize(state, edges) - 1).tolist()]


def map_weights(source: Mapping[str, Tensor]) -> RenamedWeights:
    """Rename the weights of LeRobot's π0-FAST (`lerobot/pi0fast-base`) or transformers' PaliGemma for `PaliGemma`.

    The head of PaliGemma is tied to the token embedding. LeRobot stores `lm_head.weight`, and the embedding sometimes
    not at all. LeRobot's training does not tie the two; where they differ, both are kept.
    """
    start = r"(?:model\.)?(?:paligemma_with_expert\.)?(?:paligemma\.)?(?:model\.)?"
    head = next((name for name in source if name.endswith("lm_head.weight")), None)
    embedding = next((name for name in source if name.endswith("embed_tokens.weight")), None)
    tensors = dict(source)
    tied = head is None or embedding is None or torch.equal(source[head], source[embedding])
    if head is not None and embedding is None:
        tensors[head.replace("lm_head", "language_model.embed_tokens")] = tensors[head]
    rules: list[tuple[str, str | None]] = [
        (r".*lm_head\.weight", None if tied else "head.weight"),
        (start + r"vision_tower\.(?:vision_model\.)?(?:head\..*)", None),
        (start + r"vision_tower\.(?:vision_model\.)?(.*)", r"tower.\1"),
        (start + r"multi_modal_projector\.linear\.(.*)", r"projector.\1"),
        (start + r"language_model\.(?:model\.)?(.*)", r"decoder.\1"),
    ]
    return rename_weights(tensors, rules)


def read_config(source: Mapping[str, Tensor], **given: Any) -> PaliGemmaConfig:
    """Read the sizes from the shapes of the tensors. Shapes do not show the number of heads.

    Args:
        given: known fields of the result; also `head_size` (default 256, Gemma-2B) and `vision_heads` (16, SigLIP).

    Raises:
        InspireError: the tensors are not those of a PaliGemma.
    """
    mapped = map_weights(source).state
    head_size, vision_heads = given.pop("head_size", None) or 256, given.pop("vision_heads", None) or 16
    try:
        embedding = mapped["decoder.embed_tokens.weight"]
        patch = next(t for name, t in mapped.items() if name.endswith("patch_embedding.weight"))
        positions = next(t for name, t in mapped.items() if name.endswith("position_embedding.weight"))
        vision_mlp = next(t for name, t in mapped.items() if name.endswith("layers.0.mlp.fc1.weight"))
        gate = mapped["decoder.layers.0.mlp.gate_proj.weight"]
        queries = mapped["decoder.layers.0.self_attn.q_proj.weight"]
        keys = mapped["decoder.layers.0.self_attn.k_proj.weight"]
    except (KeyError, StopIteration):
        raise InspireError(f"This is no PaliGemma model: found {sorted(source)[:5]}.") from None
    for option, value, sizes in (
        ("--head-size", head_size, (queries.shape[0], keys.shape[0])),
        ("--vision-heads", vision_heads, (patch.shape[0],)),
    ):
        if any(size % value for size in sizes):
            raise InspireError(
                f"{option} {value} does not divide {' and '.join(map(str, sizes))}: this PaliGemma has another size "
                f"than the published ones, and its weights do not show it. Give {option}."
            )
    return PaliGemmaConfig(
        language=GemmaSize(
            vocabulary_size=embedding.shape[0],
            hidden_size=embedding.shape[1],
            mlp_size=gate.shape[0],
            layers=count_layers(mapped, "decoder.layers"),
            heads=queries.shape[0] // head_size,
            key_value_heads=keys.shape[0] // head_size,
            head_size=head_size,
        ),
        vision=SiglipSize(
            width=patch.shape[0],
            mlp_size=vision_mlp.shape[0],
            layers=count_layers(mapped, "tower.encoder.layers"),
            heads=vision_heads,
        ),
        image_size=round(positions.shape[0] ** 0.5) * patch.shape[-1],
        patch_size=patch.shape[-1],
        tied="head.weight" not in mapped,
        **given,
    )
