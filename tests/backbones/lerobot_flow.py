"""LeRobot's own SmolVLA and π0.5, small and with random weights, and one pass of theirs on given inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from lerobot.policies import PreTrainedPolicy, make_pre_post_processors
from lerobot.policies.pi05 import PI05Config, PI05Policy, modeling_pi05
from lerobot.policies.pi05.modeling_pi05 import GemmaConfig
from lerobot.policies.smolvla import SmolVLAConfig, SmolVLAPolicy
from lerobot.processor import tokenizer_processor
from tests.backbones.texts import gemma_text
from tests.backbones.vlms import CHAT, VISION, with_tokens
from tokenizers.processors import TemplateProcessing
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

CAMERAS, STATE, ACTION, HORIZON = ("front", "wrist"), 6, 6, 5
IMAGE = (3, 40, 56)
FEATURES = tuple(f"observation.images.{name}" for name in CAMERAS)
GEMMA_HEADS = 8  # a number in LeRobot's source


def features(
    cameras: tuple[str, ...] = CAMERAS, state: int = STATE, action: int = ACTION
) -> dict[str, dict[str, PolicyFeature]]:
    """Inputs and outputs of a robot, for the configuration of either policy."""
    images = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, IMAGE) for name in cameras}
    return {
        "input_features": images | {"observation.state": PolicyFeature(FeatureType.STATE, (state,))},
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (action,))},
    }


def smol_text() -> PreTrainedTokenizerFast:
    """A tokenizer with SmolVLM2's tokens around images."""
    return with_tokens(
        gemma_text(),
        "<end_of_utterance>",
        "<video>",
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
    )


def write_smolvlm(folder: Path, *, layers: int = 3) -> Path:
    """Configuration and processor of a tiny SmolVLM2, of whose layers SmolVLA keeps the first."""
    text = smol_text()
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(
            size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
        ),
        text,
        SmolVLMVideoProcessor(),
        image_seq_len=1,
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = SmolVLMConfig(
        text_config={
            "model_type": "llama", "vocab_size": len(text) + 20, "hidden_size": 48, "intermediate_size": 56,
            "num_hidden_layers": layers, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16,
            "rms_norm_eps": 1e-5, "rope_theta": 100_000, "pad_token_id": None,
        },
        vision_config=VISION | {"image_size": 56},
        image_token_id=text.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=False,
        pad_token_id=0,
    )  # fmt: skip
    processor.save_pretrained(folder)
    config.save_pretrained(folder)
    return folder


def smolvla(folder: Path, seed: int = 0, **changes: Any) -> SmolVLAPolicy:
    """LeRobot's policy over the SmolVLM2 that `write_smolvlm` has written to `folder`."""
    options: dict[str, Any] = features() | {
        "num_vlm_layers": 2, "train_expert_only": False, "resize_imgs_with_padding": (56, 56), "chunk_size": HORIZON,
        "n_action_steps": HORIZON, "max_action_dim": 9, "max_state_dim": 8, "num_steps": 4, "device": "cpu",
    }  # fmt: skip
    config = SmolVLAConfig(vlm_model_name=str(folder), **options | changes)
    return _random(SmolVLAPolicy(config), seed)


def pi05(seed: int = 0, **changes: Any) -> PI05Policy:
    """LeRobot's policy with tiny sizes in place of the two that it knows."""
    sizes = {
        "gemma_2b": GemmaConfig(32, 2, 48, GEMMA_HEADS, 1, 8),
        "gemma_300m": GemmaConfig(24, 2, 40, GEMMA_HEADS, 1, 8),
    }
    options: dict[str, Any] = features() | {
        "image_resolution": (28, 28), "chunk_size": HORIZON, "n_action_steps": HORIZON, "max_action_dim": 9,
        "num_inference_steps": 4, "device": "cpu",
    }  # fmt: skip
    config = PI05Config(**options | changes)
    with (
        patch.object(modeling_pi05, "get_gemma_config", sizes.__getitem__),
        _with_config("PaliGemmaForConditionalGenerationWithPiGemma", _shrink_paligemma),
        _with_config("PiGemmaForCausalLM", lambda config: setattr(config, "vocab_size", 7)),
    ):
        return _random(PI05Policy(config), seed)


def _shrink_paligemma(config: Any) -> None:
    config.text_config.vocab_size = len(gemma_text()) + 5
    for name, value in (VISION | {"image_size": 28, "projection_dim": 32}).items():
        setattr(config.vision_config, name, value)
    config.projection_dim = 32


def _with_config(name: str, change: Callable[[Any], None]) -> Any:
    """Change the configuration that LeRobot hands to a class of its module."""
    original = getattr(modeling_pi05, name)

    def made(config: Any) -> Any:
        change(config)
        return original(config=config)

    return patch.object(modeling_pi05, name, made)


def _random[P: PreTrainedPolicy](policy: P, seed: int) -> P:
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.15, generator=generator)
    return policy.eval()


def bos_text() -> PreTrainedTokenizerFast:
    """A tokenizer that begins a text with <bos>, as PaliGemma's does."""
    text = gemma_text()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(text._tokenizer).from_str(text._tokenizer.to_str()), unk_token="<unk>",
        bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
    )  # fmt: skip
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    return tokenizer


def save(policy: PreTrainedPolicy, folder: Path, statistics: dict[str, Any] | None = None) -> Path:
    """Write policy and processors by LeRobot's own `save_pretrained`. π0.5's tokenizer is `bos_text`."""
    with patch.object(tokenizer_processor.AutoTokenizer, "from_pretrained", _tokenizer):
        processors = make_pre_post_processors(policy.config, dataset_stats=statistics)
    for part in (policy, *processors):
        part.save_pretrained(folder)
    return folder


def preprocessor(folder: Path) -> Any:
    """The preprocessor of a checkpoint that `save` has written."""
    with patch.object(tokenizer_processor.AutoTokenizer, "from_pretrained", _tokenizer):
        config = PreTrainedConfig.from_pretrained(folder)
        return make_pre_post_processors(config, pretrained_path=str(folder))[0]


def _tokenizer(name: str, **options: Any) -> PreTrainedTokenizerFast:
    return bos_text() if name.startswith("google/") else smol_text()


def weights(policy: PreTrainedPolicy) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def batch(rows: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    """Normalised observations and actions."""
    generator = torch.Generator().manual_seed(seed)
    images = {key: torch.rand(rows, *IMAGE, generator=generator) for key in FEATURES}
    return images | {
        "observation.state": torch.rand(rows, STATE, generator=generator) * 2 - 1,
        "action": torch.randn(rows, HORIZON, ACTION, generator=generator),
        "action_is_pad": torch.arange(HORIZON).expand(rows, -1) >= torch.tensor([[5], [2], [4]])[:rows],
    }


def noise_and_time(config: PreTrainedConfig, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(rows, HORIZON, config.max_action_dim, generator=generator)
    return noise, torch.rand(rows, generator=generator)
