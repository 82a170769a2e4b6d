"""The lean way through a decoder is transformers' own way, whatever is cached, cropped, masked, shared or padded."""

from itertools import pairwise

import pytest
import torch
from transformers import DynamicCache, Qwen2Config, Qwen2Model

from inspire_vla.backbones import lean

HIDDEN = 24


def decoder(seed: int, key_value_heads: int = 3, dtype: torch.dtype = torch.float32) -> Qwen2Model:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=11,
        hidden_size=HIDDEN,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=key_value_heads,
        attn_implementation="sdpa",
    )
    model = Qwen2Model(config).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 1)
    return model.to(dtype)


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("key_value_heads", [3, 1])
def test_it_is_the_decoder_of_transformers(seed: int, key_value_heads: int) -> None:
    model = decoder(seed, key_value_heads)
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = lean.LeanCache(), DynamicCache(config=model.config)
    for new, crop in ((9, 9), (1, 10), (5, 12), (1, 13), (4, 15), (3, 18)):
        past = ours.get_seq_length()
        elements = torch.randn(2, new, HIDDEN, generator=generator)
        positions = torch.randint(0, 40, (2, new), generator=generator)
        attention_mask = torch.rand(2, new, past + new, generator=generator) < 0.6
        attention_mask[..., past:] |= torch.eye(new, dtype=torch.bool)
        expected = model(
            inputs_embeds=elements,
            position_ids=positions,
            attention_mask={"full_attention": attention_mask[:, None]},
            past_key_values=theirs,
            use_cache=True,
        ).last_hidden_state
        found = lean.extend(model, elements, ours, positions=positions, attention_mask=attention_mask)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        ours.crop(crop)
        theirs.crop(crop)
        assert ours.get_seq_length() == theirs.get_seq_length() == crop


@torch.inference_mode()
def test_without_mask_and_positions_it_is_causal() -> None:
    model, cache = decoder(0), lean.LeanCache()
    elements = torch.randn(2, 2 * lean.ROOM + 9, HIDDEN)  # the buffers grow twice
    expected = model(inputs_embeds=elements).last_hidden_state
    cuts = [0, 1, 7, lean.ROOM + 3, lean.ROOM + 4, elements.shape[1]]
    pieces = [lean.extend(model, elements[:, a:b], cache) for a, b in pairwise(cuts)]
    torch.testing.assert_close(torch.cat(pieces, 1), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_bfloat16_is_normalised_in_float32_as_in_transformers() -> None:
    model = decoder(1, dtype=torch.bfloat16)
    elements = torch.randn(1, 12, HIDDEN, dtype=torch.bfloat16)
    expected = model(inputs_embeds=elements).last_hidden_state
    found = lean.extend(model, elements, lean.LeanCache())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


def test_cropping_never_grows() -> None:
    cache = lean.LeanCache()
    cache.crop(5)
    assert cache.get_seq_length() == 0
