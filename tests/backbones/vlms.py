"""Small image-text models of transformers with random weights, with their own configurations and processors."""

from collections.abc import Callable
from typing import Any

import torch
from tests.backbones.texts import gemma_text, qwen_text
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ImageProcessor,
    Idefics3Processor,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipImageProcessor,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from inspire_vla.backbones.image_text import ImageText

CHAT = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "pad_token_id": None,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip


def with_tokens(text: PreTrainedTokenizerFast, *tokens: str, **named: str) -> PreTrainedTokenizerFast:
    """A copy of a tokenizer with more special tokens; `named` ones are attributes as well."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(text._tokenizer).from_str(text._tokenizer.to_str()), bos_token=text.bos_token,
        eos_token=text.eos_token, pad_token=text.pad_token, extra_special_tokens=named,
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": [*tokens, *named.values()]})
    return tokenizer


def built(config: PretrainedConfig, processor: Any, num_images: int, vocabulary: int) -> ImageText:
    assert config.get_text_config().vocab_size == vocabulary
    return ImageText(AutoModelForImageTextToText.from_config(config), processor, num_images=num_images)


def paligemma2(num_images: int = 1) -> ImageText:
    text = with_tokens(gemma_text(), "<image>")
    images = SiglipImageProcessor(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    vocabulary = len(text) + 20
    config = PaliGemmaConfig(
        text_config=TEXT | {"model_type": "gemma2", "vocab_size": vocabulary, "head_dim": 16},
        vision_config=VISION | {"model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=text.convert_tokens_to_ids("<image>"), projection_dim=32,
    )  # fmt: skip
    return built(config, PaliGemmaProcessor(images, text), num_images, vocabulary)


def idefics3(num_images: int = 1) -> ImageText:
    text = with_tokens(
        gemma_text(), "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"
    )
    sizes = {
        "size": {"longest_edge": 28},
        "max_image_size": {"longest_edge": 28},
        "do_image_splitting": False,
    }
    chat = CHAT.replace("IMAGE", "<image>")
    processor = Idefics3Processor(Idefics3ImageProcessor(**sizes), text, image_seq_len=1, chat_template=chat)
    vocabulary = len(text) + 20
    config = Idefics3Config(
        text_config=TEXT | {"model_type": "llama", "vocab_size": vocabulary}, vision_config=VISION,
        image_token_id=text.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=False, pad_token_id=0,
    )  # fmt: skip
    return built(config, processor, num_images, vocabulary)


def smolvlm2(num_images: int = 1) -> ImageText:
    text = with_tokens(
        gemma_text(), "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>"
    )
    sizes = {
        "size": {"longest_edge": 28},
        "max_image_size": {"longest_edge": 28},
        "do_image_splitting": False,
    }
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(**sizes), text, SmolVLMVideoProcessor(), image_seq_len=1,
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )  # fmt: skip
    vocabulary = len(text) + 20
    config = SmolVLMConfig(
        text_config=TEXT | {"model_type": "llama", "vocab_size": vocabulary}, vision_config=VISION,
        image_token_id=text.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=False, pad_token_id=0,
    )  # fmt: skip
    return built(config, processor, num_images, vocabulary)


QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def _qwen_ids(text: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = dict(
        zip(
            ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"),
            text.convert_tokens_to_ids(list(QWEN_TOKENS)),
            strict=True,
        )
    )
    return ids | {"tie_word_embeddings": True}


def qwen25_vl(num_images: int = 1) -> ImageText:
    text = with_tokens(qwen_text(), *QWEN_TOKENS)
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 8), text, Qwen2VLVideoProcessor(),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )  # fmt: skip
    vocabulary = len(text) + 20
    config = Qwen2_5_VLConfig(
        text_config=TEXT | {
            "vocab_size": vocabulary, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1],
        },
        **_qwen_ids(text),
    )  # fmt: skip
    return built(config, processor, num_images, vocabulary)


def qwen3_vl(num_images: int = 1) -> ImageText:
    text = with_tokens(qwen_text(), *QWEN_TOKENS)
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 8), text, Qwen3VLVideoProcessor(),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )  # fmt: skip
    vocabulary = len(text) + 20
    config = Qwen3VLConfig(
        text_config=TEXT | {
            "vocab_size": vocabulary, "head_dim": 16, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1],
        },
        **_qwen_ids(text),
    )  # fmt: skip
    return built(config, processor, num_images, vocabulary)


def gemma3(num_images: int = 1) -> ImageText:
    text = with_tokens(
        gemma_text(),
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 28, "width": 28}), text, image_seq_length=4,
        chat_template="<bos>" + CHAT.replace("IMAGE", "<start_of_image>"),
    )  # fmt: skip
    vocabulary = len(text) + 20
    config = Gemma3Config(
        text_config=TEXT | {
            "vocab_size": vocabulary, "head_dim": 16, "sliding_window": 512,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config=VISION | {"vision_use_head": False},
        mm_tokens_per_image=4, boi_token_index=text.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=text.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=text.convert_tokens_to_ids("<image_soft_token>"),
    )  # fmt: skip
    return built(config, processor, num_images, vocabulary)


MODELS: dict[str, Callable[..., ImageText]] = {
    "paligemma2": paligemma2,
    "idefics3": idefics3,
    "smolvlm2": smolvlm2,
    "qwen25_vl": qwen25_vl,
    "qwen3_vl": qwen3_vl,
    "gemma3": gemma3,
}


def randomised(model: ImageText, seed: int) -> ImageText:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()
