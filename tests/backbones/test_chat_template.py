"""A dialogue is written in the model's own chat template, which a checkpoint keeps."""

from pathlib import Path

import pytest
from tests.backbones import vlms

from inspire_vla.backbones.chat_template import ChatTemplate, save_chat
from inspire_vla.backbones.image_text import ImageText
from inspire_vla.dialogue import build_dialogue
from inspire_vla.errors import InspireError


def save(model: ImageText, folder: Path) -> None:
    """Write what `from_folder` reads: configuration, processor and chat template."""
    model.processor.save_pretrained(folder)
    save_chat(model.chat, folder)
    model.model.config.save_pretrained(folder)


def test_the_dialogue_uses_the_chat_template_of_the_model() -> None:
    model = vlms.idefics3(2)
    dialogue = build_dialogue("open the drawer", ["left"], template=model.template)
    text = model.chat.opening + "".join(s.text or "" for s in dialogue.segments)
    assert text == (
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
