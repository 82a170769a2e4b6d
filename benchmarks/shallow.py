"""Families of published weights at their own widths but few layers deep, with random weights, for timing.

Images, hidden sizes and heads are the published ones; depth is cut in the same proportion in towers and decoder, so
that their shares of the time stay about what they are. The vocabulary is small (an embedding of 257,152 rows says
nothing about a step), the text that of our own tokenizer, in which a word is a token as it mostly is in theirs.
"""

import tempfile
from pathlib import Path

import numpy as np
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature

from inspire_vla.action_tokenizers import ActionTokenizer, Fast, ResidualVQ
from inspire_vla.backbones.paligemma import GemmaSize, PaliGemmaConfig, SiglipSize
from inspire_vla.backbones.prismatic import LanguageConfig, PrismaticConfig, TowerConfig
from inspire_vla.backbones.text_tokenizer import build_text_tokenizer
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy

FAMILIES = ("minivla", "pi0fast")
VOCABULARY = 8192
WORDS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<bos>", "<eos>", "system", "user", "assistant", "You are", " Qwen",
    ", created by", " Alibaba Cloud", ". You are", " a helpful", " assistant", "Task:", ", State:", "Action:",
)  # fmt: skip


def shallow(family: str, depth: int) -> InspireVLAPolicy:
    """A policy of the family, `depth` layers deep, that learns seven numbers a step and looks through two cameras
    (pi0-FAST) or at two images of one (MiniVLA)."""
    chunks = np.cumsum(np.random.default_rng(0).uniform(-0.2, 0.2, (256, 10, 7)), axis=1).clip(-1, 1)
    actions: ActionTokenizer
    cameras = ("image", "image2")
    config = InspireVLAConfig(
        backbone=family, device="cpu", use_state=family == "pi0fast",
        input_features={f"observation.images.{c}": PolicyFeature(FeatureType.VISUAL, (3, 224, 224)) for c in cameras},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))},
        normalization_mapping=dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY),
    )  # fmt: skip
    if family == "pi0fast":
        config.input_features["observation.state"] = PolicyFeature(FeatureType.STATE, (8,))
        actions = Fast.fit(chunks, vocabulary_size=1024)
        config.reasoning.question_position = "after"
        config.paligemma = PaliGemmaConfig(
            language=GemmaSize(vocabulary_size=VOCABULARY, layers=depth),
            vision=SiglipSize(layers=max(1, round(depth * 27 / 18))),
        )
    else:
        actions = ResidualVQ.fit(chunks, codes_per_level=16, levels=7)  # MiniVLA's VQ says seven codes
        config.prismatic = PrismaticConfig(
            language=LanguageConfig(vocabulary_size=VOCABULARY, layers=depth),
            dino=TowerConfig(1024, depth, 16, 4096, registers=4), siglip=TowerConfig(1152, depth, 16, 4304),
            action_ids_end=VOCABULARY,
        )  # fmt: skip
    config.action_tokenizer, config.chunk_size, config.n_action_steps = actions.name, 10, 10
    with tempfile.TemporaryDirectory() as folder:
        text = build_text_tokenizer()
        text.add_tokens(list(WORDS), special_tokens=True)
        text.save_pretrained(folder)
        return InspireVLAPolicy(config, action_tokenizer=actions, text_tokenizer_folder=Path(folder))
