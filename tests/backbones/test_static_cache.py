"""A static cache keeps its shapes and addresses, and keeps nothing of the decision before.

That it decides the same as a growing cache is tested in backbone_laws.py.
"""

import pytest
import torch
from torch import Tensor
from transformers import GemmaConfig, GemmaModel, Qwen2Config, Qwen2Model

from inspire_vla.backbones.hf_decoder import CroppableStaticCache, StaticDecoder
from inspire_vla.errors import InspireError

HIDDEN = 16
SIZE = {
    "vocab_size": 11,
    "hidden_size": HIDDEN,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def qwen() -> Qwen2Model:
    torch.manual_seed(0)
    return Qwen2Model(Qwen2Config(**SIZE)).eval()


def gemma() -> GemmaModel:
    torch.manual_seed(0)
    return GemmaModel(GemmaConfig(**SIZE, head_dim=8, pad_token_id=None)).eval()


def expected(model: torch.nn.Module, elements: Tensor) -> Tensor:
    return model(inputs_embeds=elements).last_hidden_state


def one_by_one(static: StaticDecoder, elements: Tensor, first: int) -> Tensor:
    """Hidden states: the first elements in one pass, the others one at a time."""
    cache = static.new_cache(len(elements))
    pieces = [static.extend(elements[:, :first], cache)]
    pieces += [static.extend(elements[:, [t]], cache) for t in range(first, elements.shape[1])]
    return torch.cat(pieces, 1)


@torch.inference_mode()
@pytest.mark.parametrize("make", [qwen, gemma])
def test_a_compiled_pass_gives_the_same(make) -> None:
    """It is traced without a graph break, and once for all lengths."""
    model, traces = make(), []

    def backend(graph, inputs):
        traces.append(len(inputs))
        return graph.forward

    def compiler(one_token):
        return torch.compile(one_token, backend=backend, fullgraph=True, dynamic=False)

    static = StaticDecoder(model, max_length=24, compiler=compiler)
    for seed, first in enumerate((5, 3, 9)):
        elements = torch.randn(2, 12, HIDDEN, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(
            one_by_one(static, elements, first), expected(model, elements), rtol=1e-4, atol=1e-5
        )
    assert len(traces) == 1
    one_by_one(static, torch.randn(3, 4, HIDDEN), 2)
    assert len(traces) == 2  # another batch size is another shape


@torch.inference_mode()
def test_it_compiles_ahead_of_time() -> None:
    model = qwen()

    def compiler(one_token):
        return torch.compile(one_token, backend="aot_eager", fullgraph=True, dynamic=False)

    elements = torch.randn(1, 7, HIDDEN)
    states = one_by_one(StaticDecoder(model, max_length=8, compiler=compiler), elements, 3)
    torch.testing.assert_close(states, expected(model, elements), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_addresses_stay_and_the_last_decision_is_forgotten() -> None:
    model = qwen()
    static = StaticDecoder(model, max_length=16)
    elements = torch.randn(1, 9, HIDDEN)
    once = one_by_one(static, elements, 4)
    before = [layer.keys.data_ptr() for layer in static.new_cache(1).layers]
    one_by_one(static, 100 * torch.randn(1, 14, HIDDEN), 6)
    torch.testing.assert_close(one_by_one(static, elements, 4), once)
    assert [layer.keys.data_ptr() for layer in static.new_cache(1).layers] == before


@torch.inference_mode()
def test_a_sequence_that_does_not_fit_is_refused() -> None:
    static = StaticDecoder(qwen(), max_length=6)
    with pytest.raises(InspireError, match="7 columns does not fit a static cache of 6"):
        one_by_one(static, torch.randn(1, 7, HIDDEN), 5)


def test_sliding_windows_are_refused() -> None:
    config = Qwen2Config(**SIZE, use_sliding_window=True, sliding_window=4, max_window_layers=0)
    with pytest.raises(InspireError, match="sliding windows"):
        CroppableStaticCache(config, 16)
