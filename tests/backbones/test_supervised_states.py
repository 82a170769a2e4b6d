"""The training pass equals Qwen2Model where it is supervised, and its last layer runs only there.

That scores and gradients of nano stay the same is tested in backbone_laws.py.
"""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2Config, Qwen2Model

from inspire_vla.backbones.hf_decoder import ATTENTION, sdpa_attention, supervised_states

ROWS, TIME, HIDDEN = 3, 9, 24
LOSS_MASK = torch.zeros(ROWS, TIME, dtype=torch.bool)
LOSS_MASK[0, [0, 4, 8]] = LOSS_MASK[1, [7]] = True  # and nothing in the third row


def decoder(key_value_heads: int = 3) -> Qwen2Model:
    torch.manual_seed(0)
    model = Qwen2Model(
        Qwen2Config(
            vocab_size=11, hidden_size=HIDDEN, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=key_value_heads, attn_implementation="sdpa",
        )
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 1)
    return model


@pytest.mark.parametrize("key_value_heads", [3, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_it_equals_the_whole_pass(masked: bool, key_value_heads: int) -> None:
    model, elements = decoder(key_value_heads), torch.randn(ROWS, TIME, HIDDEN)
    mask = (torch.rand(ROWS, TIME, TIME) < 0.5) | torch.eye(TIME, dtype=torch.bool) if masked else None
    expected = model(inputs_embeds=elements, attention_mask=None if mask is None else mask[:, None])
    states = supervised_states(model, elements, LOSS_MASK, mask)
    torch.testing.assert_close(states, expected.last_hidden_state[LOSS_MASK], rtol=1e-5, atol=1e-5)


def test_only_supervised_elements_pass_the_last_mlp() -> None:
    model = decoder()
    passed: list[int] = []
    for layer in model.layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs: passed.append(inputs[0].numel() // HIDDEN))
    supervised_states(model, torch.randn(ROWS, TIME, HIDDEN), LOSS_MASK)
    assert passed == [ROWS * TIME, int(LOSS_MASK.sum())]


def test_under_autocast_on_a_cpu_attention_is_computed_in_float32() -> None:
    query, key, value = torch.randn(3, 2, 3, 7, 8)
    mask = torch.randn(2, 1, 7, 7)
    expected = scaled_dot_product_attention(query, key, value, mask).transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        actual, _ = sdpa_attention(torch.nn.Module(), query, key, value, mask)
    assert torch.equal(actual, expected)


def test_training_under_autocast_on_a_cpu_has_nearly_the_same_gradient() -> None:
    model, elements = decoder(), torch.randn(ROWS, TIME, HIDDEN)
    model.set_attn_implementation(ATTENTION)
    gradients = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            supervised_states(model, elements, LOSS_MASK).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    exact, approximate = gradients
    assert (approximate - exact).norm() < 0.05 * exact.norm()
