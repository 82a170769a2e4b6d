"""SmolVLA (arXiv 2506.01844): SmolVLM2's image encoder and first layers. Its expert is in smolvla_flow.py.

    cameras · instruction\\n · state · [actions]          with reasoning:  cameras · questions, answers · instruction …
    └────── one block ─────┘   └ each element sees those before it

The vision-language model has the first 16 of SmolLM2's 32 layers. Embeddings of images and words are scaled by the root
of the width, and positions turn with the base 10,000: both as in LeRobot, and both unlike SmolVLM2.

Tensor axes: batch; camera; prefix = image tokens of all cameras; hidden = width of the language model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from transformers import LlamaConfig, LlamaModel, SmolVLMVisionTransformer
from transformers.models.smolvlm import SmolVLMVisionConfig

from inspire_vla.backbones.base import LINEAR_LAYERS, token_grid
from inspire_vla.backbones.flow_layers import ROPE_THETA
from inspire_vla.backbones.hf_decoder import HFBackbone
from inspire_vla.backbones.published_weights import RenamedWeights, count_layers, rename_weights
from inspire_vla.dialogue import Template, TextTokenizer
from inspire_vla.errors import InspireError, counted

TEMPLATE = Template(
    "smolvla",
    question="{question}",
    answer=" {answer}",
    answer_end="\n",
    instruction="{instruction}\n",
    state_tokens=1,
)


@dataclass
class SmolLMSize:
    """The first half of SmolLM2-360M, as in SmolVLM2-500M."""

    vocabulary_size: int = 49280
    hidden_size: int = 960
    mlp_size: int = 2560
    layers: int = 16
    heads: int = 15
    key_value_heads: int = 5
    head_size: int = 64
    norm_eps: float = 1e-5


@dataclass
class SmolSiglipSize:
    """SigLIP base, as in SmolVLM2-500M."""

    width: int = 768
    mlp_size: int = 3072
    layers: int = 12
    heads: int = 12
    image_size: int = 512
    patch_size: int = 16


@dataclass
class SmolExpertSize:
    """The action expert of `smolvla_base`: three quarters of the language model's width.

    Attributes:
        joint_every: each so-many-th layer, the first included, attends to the actions as well; 1: every layer.
        state_dim, action_dim: numbers of states and actions; those of a robot are padded with zeros.
    """

    hidden_size: int = 720
    mlp_size: int = 2048
    joint_every: int = 2
    state_dim: int = 32
    action_dim: int = 32


@dataclass
class SmolVLAConfig:
    """SmolVLA with SmolVLM2-500M.

    Attributes:
        shuffle: so many patches in a row and a column become one image token.
        image_tokens: whether special tokens stand around each image (`add_image_special_tokens`).
    """

    language: SmolLMSize = field(default_factory=SmolLMSize)
    vision: SmolSiglipSize = field(default_factory=SmolSiglipSize)
    expert: SmolExpertSize = field(default_factory=SmolExpertSize)
    shuffle: int = 4
    image_tokens: bool = False


class SmolVLA(HFBackbone):
    """Image tokens of every camera, the text, one token of the robot's state.

    The head has weights of its own. SmolVLM2's belongs to its last layer, which SmolVLA leaves out. LeRobot freezes
    head, norm and the last layer that is left, because its loss does not reach them; answers are read from all three.
    """

    name: ClassVar[str] = "smolvla"
    pads_images: ClassVar[bool] = True
    bidirectional_prefix = True
    lora_targets = (
        r".*(backbone\.(decoder|tower)|expert)\..*"
        rf"({LINEAR_LAYERS})"
        r"|.*backbone\.(projector|state_proj)|.*expert\.action_\w+"
    )
    fsdp_units = ("LlamaDecoderLayer", "SmolVLMEncoderLayer", "SmolVLAExpertLayer")
    trained_whole = ("backbone.head", "backbone.decoder.norm")
    """The answers' readout, which SmolVLA's own training leaves out."""

    def __init__(self, config: SmolVLAConfig, *, text_tokenizer: Any, num_images: int = 1) -> None:
        """Raises InspireError for sizes that do not go together, and for a tokenizer without SmolVLM2's image tokens
        where the model has them."""
        super().__init__()
        self.config, self.num_images, self.template = config, num_images, TEMPLATE
        self.text_tokenizer: TextTokenizer = text_tokenizer
        language, vision = config.language, config.vision
        side, rest = divmod(vision.image_size, vision.patch_size * config.shuffle)
        if rest or language.heads % language.key_value_heads:
            raise InspireError(
                f"The sizes of smolvla do not go together: an image of {vision.image_size} pixels in patches of "
                f"{vision.patch_size}, {config.shuffle} × {config.shuffle} of them a token; {language.heads} heads "
                f"with {language.key_value_heads} of keys and values."
            )
        self.hidden_size, self.vocabulary_size = language.hidden_size, language.vocabulary_size
        self.tokens_per_image = side * side
        self.around: tuple[list[int], list[int]] = ([], [])
        """Ids of the tokens before and behind each image."""
        if config.image_tokens:
            fake, first = (
                text_tokenizer.encode(token, add_special_tokens=False)
                for token in ("<fake_token_around_image>", "<global-img>")
            )
            if len(fake) != 1 or len(first) != 1:
                raise InspireError("The tokenizer has no tokens around images: it is not SmolVLM2's.")
            self.around = (fake + first, fake)
        self.tower = SmolVLMVisionTransformer(
            SmolVLMVisionConfig(
                hidden_size=vision.width,
                intermediate_size=vision.mlp_size,
                num_hidden_layers=vision.layers,
                num_attention_heads=vision.heads,
                image_size=vision.image_size,
                patch_size=vision.patch_size,
                attn_implementation="sdpa",
            )
        )
        self.projector = nn.Linear(vision.width * config.shuffle**2, language.hidden_size, bias=False)
        self.state_proj = nn.Linear(config.expert.state_dim, language.hidden_size)
        self.decoder = LlamaModel(
            LlamaConfig(
                vocab_size=language.vocabulary_size,
                hidden_size=language.hidden_size,
                intermediate_size=language.mlp_size,
                num_hidden_layers=language.layers,
                num_attention_heads=language.heads,
                num_key_value_heads=language.key_value_heads,
                head_dim=language.head_size,
                rms_norm_eps=language.norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
                pad_token_id=None,
                attn_implementation="sdpa",
            )
        )
        self.head = nn.Linear(language.hidden_size, language.vocabulary_size, bias=False)

    def vision(self) -> tuple[nn.Module, ...]:
        return (self.tower,)

    def freeze(self) -> None:
        super().freeze()
        self.state_proj.requires_grad_(True)

    def embed(self, token_ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        return super().embed(token_ids) * math.sqrt(self.hidden_size)

    def encode_observation(
        self, images: Float[Tensor, "batch camera 3 height width"], state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch prefix hidden"]:
        self.check_images(images)
        pixels = resize_with_pad(images.flatten(0, 1), self.config.vision.image_size) * 2 - 1
        patches = self.tower(pixels.to(self.dtype)).last_hidden_state
        tokens = self.projector(pixel_shuffle(patches, self.config.shuffle)) * math.sqrt(self.hidden_size)
        before, behind = (
            super(SmolVLA, self).embed(
                torch.tensor(ids, dtype=torch.long, device=images.device)
            )  # not scaled
            for ids in self.around
        )
        around = [each.to(tokens.dtype).expand(len(tokens), -1, -1) for each in (before, behind)]
        return torch.cat([around[0], tokens, around[1]], dim=1).unflatten(0, (len(images), -1)).flatten(1, 2)

    def encode_state(
        self, state: Float[Tensor, "batch dim"] | None
    ) -> Float[Tensor, "batch state_tokens hidden"]:
        """Raises InspireError for a robot without a state, or with more numbers than the model takes."""
        widest = self.config.expert.state_dim
        if state is None:
            raise InspireError("SmolVLA takes the robot's state: set use_state.")
        if state.shape[-1] > widest:
            raise InspireError(f"SmolVLA takes at most {widest} numbers of state, found {state.shape[-1]}.")
        padded = pad(state, (0, widest - state.shape[-1]))
        return self.state_proj(padded.to(self.state_proj.weight.dtype))[:, None]

    def image_tokens(
        self, prefix_length: int, num_images: int, index: int = 0
    ) -> tuple[range, tuple[int, int]]:
        before, behind = map(len, self.around)
        start = index * (before + self.tokens_per_image + behind) + before
        return token_grid(range(start, start + self.tokens_per_image))


def resize_with_pad(
    images: Float[Tensor, "batch 3 height width"], side: int
) -> Float[Tensor, "batch 3 side side"]:
    """Resize images in [0, 1] to side × side. Keeps the aspect ratio and pads with black above and on the left."""
    height, width = images.shape[-2:]
    if (height, width) == (side, side):
        return images
    ratio = max(height, width) / side
    new = int(height / ratio), int(width / ratio)
    resized = interpolate(images.float(), new, mode="bilinear", align_corners=False)
    return pad(resized, (side - new[1], 0, side - new[0], 0))


def pixel_shuffle(
    patches: Float[Tensor, "image patch width"], factor: int
) -> Float[Tensor, "image token features"]:
    """Join factor × factor neighbouring patches of a square image into one token, row by row."""
    side = math.isqrt(patches.shape[1])
    cells = patches.unflatten(1, (side // factor, factor, side // factor, factor))
    return cells.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)


def map_weights(source: Mapping[str, Tensor], joint_every: int) -> RenamedWeights:
    """Rename the weights of LeRobot's SmolVLA for `SmolVLA`; those of the expert begin with `expert.`.

    Where head and token embedding are one tensor, the file holds it under one name.
    """
    vlm, expert = (rf"(?:model\.)?vlm_with_expert\.{part}\." for part in ("vlm", r"lm_expert"))
    tensors = dict(source)
    head = next((name for name in source if name.endswith("vlm.lm_head.weight")), None)
    words = next((name for name in source if name.endswith("text_model.embed_tokens.weight")), None)
    if head and not words:
        tensors[head.replace("lm_head", "model.text_model.embed_tokens")] = source[head].clone()
    if words and not head:
        tensors[words.replace("model.text_model.embed_tokens", "lm_head")] = source[words].clone()
    layers = sum("lm_expert." in name and name.endswith("input_layernorm.weight") for name in source)
    reads = [str(layer) for layer in range(layers) if layer % joint_every]
    rules: list[tuple[str, str | None]] = [
        (vlm + r"lm_head\.(.*)", r"head.\1"),
        (vlm + r"model\.vision_model\.(.*)", r"tower.\1"),
        (vlm + r"model\.connector\.modality_projection\.proj\.(.*)", r"projector.\1"),
        (vlm + r"model\.text_model\.(.*)", r"decoder.\1"),
        (expert + rf"layers\.({'|'.join(reads) or '-'})\.self_attn\.([kv]_proj.*)", r"expert.readers.\1.\2"),
        (expert + r"layers\.(\d+)\.self_attn\.(.*)", r"expert.layers.\1.\2"),
        (expert + r"(.*)", r"expert.\1"),
        (r"(?:model\.)?(state_proj\..*)", r"\1"),
        (r"(?:model\.)?(action_.*)", r"expert.\1"),
    ]
    return rename_weights(tensors, rules)


def read_config(
    source: Mapping[str, Tensor], vlm: Any, *, joint_every: int, image_tokens: bool = False
) -> SmolVLAConfig:
    """Read the sizes from the tensors of LeRobot's SmolVLA, and from the configuration of its vision-language model.

    Args:
        vlm: the configuration of SmolVLM2 as transformers reads it; the tensors do not show its heads.

    Raises:
        InspireError: the tensors are not those of a SmolVLA, or not of one with this vision-language model.
    """
    mapped = map_weights(source, joint_every).state
    try:
        words, gate = mapped["decoder.embed_tokens.weight"], mapped["decoder.layers.0.mlp.gate_proj.weight"]
        queries, keys = (mapped[f"decoder.layers.0.self_attn.{x}_proj.weight"] for x in "qk")
        expert, inner = mapped["expert.action_in_proj.weight"], mapped["expert.layers.0.mlp.gate_proj.weight"]
        state, patch = mapped["state_proj.weight"], mapped["tower.embeddings.patch_embedding.weight"]
    except KeyError as error:
        raise InspireError(f"This is no SmolVLA: it lacks {error}; found {sorted(source)[:5]}.") from None
    layers = count_layers(mapped, "decoder.layers")
    if count_layers(mapped, "expert.layers") != layers:
        raise InspireError(
            f"The expert has {counted(count_layers(mapped, 'expert.layers'), 'layer')} and the language model "
            f"{layers}: only "
            "experts as deep as the language model (num_expert_layers 0 or -1) are known."
        )
    text, vision = vlm.text_config, vlm.vision_config
    sizes_of_weights = (queries.shape[0], keys.shape[0], words.shape[1], patch.shape[0], patch.shape[-1])
    expected = (
        text.num_attention_heads * text.head_dim,
        text.num_key_value_heads * text.head_dim,
        text.hidden_size,
        vision.hidden_size,
        vision.patch_size,
    )
    if sizes_of_weights != expected:
        raise InspireError(
            f"The weights are of another vision-language model than the configuration: queries, keys, width, image "
            f"width and patch are {sizes_of_weights} there and {expected} here."
        )
    return SmolVLAConfig(
        language=SmolLMSize(
            vocabulary_size=words.shape[0],
            hidden_size=words.shape[1],
            mlp_size=gate.shape[0],
            layers=layers,
            heads=text.num_attention_heads,
            key_value_heads=text.num_key_value_heads,
            head_size=text.head_dim,
            norm_eps=text.rms_norm_eps,
        ),
        vision=SmolSiglipSize(
            width=vision.hidden_size,
            mlp_size=vision.intermediate_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            image_size=vision.image_size,
            patch_size=vision.patch_size,
        ),
        expert=SmolExpertSize(
            hidden_size=expert.shape[0],
            mlp_size=inner.shape[0],
            joint_every=joint_every,
            state_dim=state.shape[1],
            action_dim=expert.shape[1],
        ),
        shuffle=vlm.scale_factor,
        image_tokens=image_tokens,
    )
