"""Models of transformers as backbones: each passes the backbone laws and has the logits of the model itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.backbones import vlms
from tests.backbones.backbone_laws import ROWS, BackboneLaws
from tests.backbones.vlms import MODELS, randomised

from inspire_vla.backbones.chat_template import ChatTemplate, save_chat
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.dialogue import build_dialogue
from inspire_vla.errors import InspireError


def save(model: ImageText, folder: Path) -> None:
    """Write what `from_folder` reads: configuration, processor and chat template."""
    model.processor.save_pretrained(folder)
    save_chat(model.chat, folder)
    model.model.config.save_pretrained(folder)


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
    found = ours.logits(ours.extend(torch.cat([prefix, ours.embed(ids)], 1)))
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


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


def test_the_dialogue_uses_the_chat_template_of_the_model() -> None:
    model = vlms.idefics3(2)
    dialogue = build_dialogue("open the drawer", ["left"], template=model.template)
    said = model.chat.opening + "".join(s.text or "" for s in dialogue.segments)
    assert said == (
        "user: <image><image>In which direction is the drawer relative to the robot?\nassistant: left\n"
        "user: What action should the robot take to open the drawer?\nassistant: "
    )
    assert ChatTemplate.of(vlms.paligemma2().processor, 2).opening == "<image><image>"


def test_the_dialogue_is_kept_without_the_file_that_lerobot_does_not_upload(tmp_path: Path) -> None:
    model = vlms.idefics3(2)
    save(model, tmp_path)
    assert ImageText.from_folder(tmp_path, num_images=1).template == model.template
    (tmp_path / "chat_template.jinja").unlink()
    again = ImageText.from_folder(tmp_path, num_images=2)
    assert again.chat == model.chat
    with pytest.raises(InspireError, match=r"made for 2 image.*now gets 1: .*chat_template\.jinja"):
        ImageText.from_folder(tmp_path, num_images=1)
    (tmp_path / "dialogue_template.json").write_text('{"images": 2}')
    with pytest.raises(InspireError, match=r"dialogue_template\.json does not fit: opening: Field required"):
        ImageText.from_folder(tmp_path, num_images=2)


def test_the_state_is_part_of_the_instruction_and_survives_saving(tmp_path: Path) -> None:
    model = vlms.idefics3(1)
    plain = model.chat
    with_state = plain.with_state(True)
    assert with_state.template.needs_state
    assert not plain.template.needs_state
    assert with_state.with_state(True) == with_state
    assert with_state.with_state(False) == plain
    model.chat = with_state
    save(model, tmp_path)
    for images in (1, 2):
        again = ImageText.from_folder(tmp_path, num_images=images, state=True)
        assert again.template == with_state.template
    assert ImageText.from_folder(tmp_path, num_images=1).template == plain.template


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
