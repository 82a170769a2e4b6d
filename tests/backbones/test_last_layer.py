"""The last layer works only where it is asked, and says there what it says everywhere.

That each backbone's scores and gradients stay the same is a law of backbone_laws.py.
"""

import copy
import pickle

import pytest
import torch
from transformers import GemmaConfig, GemmaModel, LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from inspire_vla.backbones.last_layer import can_narrow

MODELS = {
    "qwen2": (Qwen2Model, Qwen2Config),
    "llama": (LlamaModel, LlamaConfig),
    "gemma": (GemmaModel, GemmaConfig),
}
ROWS, TIME, HIDDEN = 3, 9, 24
LEARNED = torch.zeros(ROWS, TIME, dtype=torch.bool)
LEARNED[0, [0, 4, 8]] = LEARNED[1, [7]] = True  # and nothing in the third row


def decoder(kind: str, key_value_heads: int = 3) -> Qwen2Model | LlamaModel | GemmaModel:
    torch.manual_seed(0)
    model, config = MODELS[kind]
    made = model(
        config(
            vocab_size=11, hidden_size=HIDDEN, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=key_value_heads, head_dim=8, pad_token_id=None, attn_implementation="sdpa",
        )
    )  # fmt: skip
    for parameter in made.parameters():
        parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 1)
    return made


def mask() -> torch.Tensor:
    sees = torch.rand(ROWS, 1, TIME, TIME) < 0.5
    return sees | torch.eye(TIME, dtype=torch.bool)


@pytest.mark.parametrize("key_value_heads", [3, 1])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_it_says_there_what_it_says_everywhere(kind: str, masked: bool, key_value_heads: int) -> None:
    model = decoder(kind, key_value_heads)
    elements = torch.randn(ROWS, TIME, HIDDEN)
    options = {
        "inputs_embeds": elements,
        "attention_mask": mask() if masked else None,
        "position_ids": torch.randint(0, 40, (ROWS, TIME)) if masked else None,
        "use_cache": False,
    }
    before = model(**options).last_hidden_state
    can_narrow(model)
    assert torch.equal(model(**options).last_hidden_state, before)
    found = model(**options, loss_mask=LEARNED).last_hidden_state
    torch.testing.assert_close(found, before[LEARNED], rtol=1e-5, atol=1e-5)


def test_only_the_learned_elements_pass_through_the_last_layer() -> None:
    model = decoder("qwen2")
    can_narrow(model)
    passed: list[int] = []
    for layer in model.layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs: passed.append(inputs[0].numel() // HIDDEN))
    model(inputs_embeds=torch.randn(ROWS, TIME, HIDDEN), use_cache=False, loss_mask=LEARNED)
    assert passed == [ROWS * TIME, int(LEARNED.sum())]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_narrows_its_own_layer(copied) -> None:
    model = decoder("qwen2")
    names = list(model.state_dict())
    can_narrow(model)
    other = copied(model)
    assert list(other.state_dict()) == names
    options = {"inputs_embeds": torch.randn(ROWS, TIME, HIDDEN), "use_cache": False, "loss_mask": LEARNED}
    expected = model(**options).last_hidden_state
    for parameter in model.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(other(**options).last_hidden_state, expected)
