"""Models of transformers as backbones: each passes the backbone laws and has the logits of the model itself."""

from typing import Any

import pytest
import torch
from tests.backbones import vlms
from tests.backbones.backbone_laws import ROWS, BackboneLaws
from tests.backbones.vlms import MODELS, randomised

from inspire_vla.backbones.image_text import ImageText
from inspire_vla.errors import InspireError


class ImageTextLaws(BackboneLaws):
    """Two images for each row, wider than high."""

    kind: str
    seeds = 1

    def make(self, seed: int) -> tuple[ImageText, torch.Tensor, None]:
        return randomised(MODELS[self.kind](2), seed), torch.rand(ROWS, 2, 3, 56, 84), None


class TestPaliGemma2(ImageTextLaws):
    kind = "paligemma2"
    static_cache = False


class TestIdefics3(ImageTextLaws):
    kind = "idefics3"


class TestSmolVLM2(ImageTextLaws):
    kind = "smolvlm2"


class TestQwen25VL(ImageTextLaws):
    kind = "qwen25_vl"
    static_cache = False


class TestQwen3VL(ImageTextLaws):
    kind = "qwen3_vl"
    static_cache = False


class TestGemma3(ImageTextLaws):
    kind = "gemma3"
    static_cache = False


@torch.no_grad()
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "paligemma2"])
def test_logits_are_those_of_the_model_itself(kind: str) -> None:
    """Text behind the images, in one pass of ours and in the model's own forward.

    PaliGemma 2 is left out: it has no dialogue of its own to compare with, and its mask is tested with pi0-FAST's.
    """
    ours = randomised(MODELS[kind](2), 0)
    images = torch.rand(2, 2, 3, 56, 84)
    text = ours.chat.opening + "open the drawer"
    inputs = ours.processor(
        images=[list(row.unbind(0)) for row in images], text=[text] * 2, images_kwargs={"do_rescale": False},
        return_tensors="pt", add_special_tokens=False,
    )  # fmt: skip
    expected = ours.model(**inputs).logits
    prefix = ours.encode_observation(images, None)
    ids = inputs["input_ids"][:, prefix.shape[1] :]
    logits = ours.logits(ours.extend(torch.cat([prefix, ours.embed(ids)], 1)))
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_the_layout_of_images_is_that_of_the_model() -> None:
    qwen, gemma, idefics = (randomised(MODELS[kind](1), 0) for kind in ("qwen25_vl", "gemma3", "idefics3"))
    images = torch.rand(1, 1, 3, 56, 84)  # 2 x 3 merged patches
    for model in (qwen, gemma, idefics):
        model.encode_observation(images, None)
    table = qwen._layout.positions
    assert table is not None
    first = int((table[1] != table[2]).nonzero()[0]) - 1
    corner = int(table[0, first])
    grid = (table[:, first : first + 6] - corner).tolist()
    assert grid == [[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    positions = torch.tensor([[table.shape[1], table.shape[1] + 1]])
    following = int(table.max()) + 1  # text continues after the largest position
    assert qwen._layout.model_positions(positions).tolist() == [[[following, following + 1]]] * 3
    mask = gemma._layout.mask
    assert mask is not None
    later = mask & ~torch.ones_like(mask).tril()
    assert int(later.sum()) == 6  # the pairs of the four elements of an image
    assert idefics._layout.positions is idefics._layout.mask is None


def test_wrong_input_is_refused() -> None:
    model = vlms.paligemma2()
    with pytest.raises(InspireError, match="takes 1 image"):
        model.encode_observation(torch.rand(1, 2, 3, 28, 28), None)
    with pytest.raises(InspireError, match="as text, in its prompt only"):
        model.encode_observation(torch.rand(1, 1, 3, 28, 28), torch.zeros(1, 3))
    with pytest.raises(InspireError, match="has no tokenizer"):
        ImageText(model.model, object())


def test_a_sequence_beyond_the_window_of_some_layers_is_refused() -> None:
    model = randomised(vlms.gemma3(), 0)
    elements: Any = torch.randn(1, 513, 32)
    with pytest.raises(InspireError, match="513 elements is longer than the attention window of 512"):
        model.extend(elements)


@pytest.mark.parametrize("kind", MODELS)
def test_special_ids_are_those_with_a_meaning(kind: str) -> None:
    model = MODELS[kind]()
    text, special = model.text_tokenizer, model.special_ids
    images = {
        v for k, v in model.model.config.to_dict().items() if k in ("image_token_id", "image_token_index")
    }
    assert images
    assert images <= special
    assert {text.eos_token_id, text.pad_token_id} <= special
    words = set(text.encode("open the top drawer of the cabinet", add_special_tokens=False))
    assert words
    assert not words & special
