"""What `hf_decoder.py` relies on inside transformers. A failure here means that transformers has changed."""

import pytest
import torch
import transformers
from tests.backbones.vlms import MODELS
from transformers import (
    GemmaConfig,
    GemmaModel,
    LlamaConfig,
    LlamaModel,
    Qwen2Config,
    Qwen2Model,
    StaticCache,
)

from inspire_vla.backbones import hf_decoder

DECODERS = {
    "qwen2": (Qwen2Model, Qwen2Config),
    "llama": (LlamaModel, LlamaConfig),
    "gemma": (GemmaModel, GemmaConfig),
}
SIZE = {
    "vocab_size": 11, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": None,
}  # fmt: skip


def decoder(kind: str):
    model, config = DECODERS[kind]
    torch.manual_seed(0)
    return model(config(**SIZE, attn_implementation="sdpa")).eval()


def test_the_version_is_the_one_it_was_written_for() -> None:
    major, minor = map(int, transformers.__version__.split(".")[:2])
    assert (major, minor) in {(5, 4), (5, 5)}, (
        "check hf_decoder.py, then add the version here and in pyproject.toml"
    )


@pytest.mark.parametrize("kind", DECODERS)
def test_a_mask_with_four_axes_is_used_as_it_is(kind: str) -> None:
    """Bidirectional attention passes through, and so does a mask that hides the first column."""
    model = decoder(kind)
    elements = torch.randn(1, 4, 16)
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 1:, 0] = False
    changed = elements.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        a, b = (model(inputs_embeds=x, attention_mask=mask).last_hidden_state for x in (elements, changed))
        assert not torch.allclose(a[:, 1], b[:, 1])  # column 1 attends to column 3
        changed = elements.clone()
        changed[:, 0] += 1
        b = model(inputs_embeds=changed, attention_mask=mask).last_hidden_state
        assert torch.equal(a[:, 1:], b[:, 1:])


@pytest.mark.parametrize("kind", DECODERS)
def test_eager_attention_returns_its_weights_and_adds_its_mask(kind: str) -> None:
    model = decoder(kind)
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()
    output = model(
        inputs_embeds=torch.randn(1, 3, 16),
        attention_mask=hf_decoder.additive_mask(mask, torch.float32),
        output_attentions=True,
    )
    assert [weights.shape for weights in output.attentions] == [(1, 2, 3, 3)] * 2
    assert all((weights.triu(1) == 0).all() for weights in output.attentions)


def test_a_static_cache_counts_in_each_layer() -> None:
    cache = StaticCache(config=Qwen2Config(**SIZE), max_cache_len=8)
    assert list(cache.is_sliding) == [False, False]
    assert all(isinstance(layer.cumulative_length, torch.Tensor) for layer in cache.layers)


@pytest.mark.parametrize("kind", MODELS)
def test_models_call_their_decoder_with_these_arguments(kind: str) -> None:
    backbone = MODELS[kind](1)
    config, qwen = backbone.model.config, kind in ("qwen25_vl", "qwen3_vl")
    inputs = backbone.processor(
        images=[[torch.rand(3, 56, 84)]], text=[backbone.chat.opening], images_kwargs={"do_rescale": False},
        return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        call = hf_decoder.decoder_call(backbone.model, backbone.decoder, inputs)
    assert call["inputs_embeds"].ndim == 3
    positions = call["position_ids"]
    assert (positions is not None and positions.ndim == 3) == hf_decoder.uses_mrope(config) == qwen
    assert hf_decoder.deepstack_layers(config) == (2 if kind == "qwen3_vl" else 0)
    if kind == "qwen3_vl":
        assert len(call["deepstack_visual_embeds"]) == 2
        assert call["visual_pos_masks"].dtype == torch.bool
    assert (hf_decoder.sliding_window(config) is not None) == (kind in ("gemma3", "paligemma2"))
    assert hf_decoder.vision_encoders(backbone.model)
    assert hf_decoder.no_split_modules(backbone.model)
