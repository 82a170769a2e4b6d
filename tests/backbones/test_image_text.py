"""Two models of transformers, one with a chat template, as backbones; nothing of them is rewritten."""

import pytest
import torch
from backbone_laws import ROWS, BackboneLaws
from texts import gemma_text
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipImageProcessor,
)

from inspire_vla.backbones.image_text import ImageText, chat
from inspire_vla.dialogue import build_dialogue
from inspire_vla.errors import InspireError

CHAT = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def paligemma(pictures: int = 1) -> ImageText:
    text = gemma_text()
    images = SiglipImageProcessor(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    processor = PaliGemmaProcessor(images, text)
    config = PaliGemmaConfig(
        text_config={
            "model_type": "gemma2", "vocab_size": len(text) + 20, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
            "pad_token_id": None,
        },
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "vision_use_head": False,
        },
        image_token_index=text.convert_tokens_to_ids("<image>"), projection_dim=32,
    )  # fmt: skip
    return ImageText(PaliGemmaForConditionalGeneration(config), processor, pictures=pictures)


def idefics(pictures: int = 1) -> ImageText:
    text = gemma_text()
    text.add_special_tokens(
        {
            "additional_special_tokens": [
                "<image>",
                "<fake_token_around_image>",
                "<global-img>",
                "<end_of_utterance>",
            ]
        }
    )
    processor = Idefics3Processor(
        Idefics3ImageProcessor(
            size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
        ),
        text, image_seq_len=1, chat_template=CHAT,
    )  # fmt: skip
    config = Idefics3Config(
        text_config={
            "model_type": "llama", "vocab_size": len(text) + 20, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": None,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 14,
        },
        image_token_id=text.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=False,
        pad_token_id=0,
    )  # fmt: skip
    return ImageText(Idefics3ForConditionalGeneration(config), processor, pictures=pictures)


def randomised(model: ImageText, seed: int) -> ImageText:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


class TestPaliGemma2(BackboneLaws):
    def make(self, seed: int) -> tuple[ImageText, torch.Tensor, None]:
        return randomised(paligemma(), seed), torch.rand(ROWS, 1, 3, 28, 28), None


class TestIdefics3(BackboneLaws):
    def make(self, seed: int) -> tuple[ImageText, torch.Tensor, None]:
        return randomised(idefics(2), seed), torch.rand(ROWS, 2, 3, 28, 28), None


@torch.no_grad()
def test_logits_are_those_of_the_model_itself() -> None:
    ours = randomised(idefics(), 0)
    images = torch.rand(2, 1, 3, 28, 28)
    text = ours.opening + "open the drawer"
    inputs = ours.processor(
        images=[list(row.unbind(0)) for row in images], text=[text] * 2, images_kwargs={"do_rescale": False},
        return_tensors="pt",
    )  # fmt: skip
    expected = ours.model(**inputs).logits
    ids = torch.tensor([ours.text_tokenizer.encode("open the drawer", add_special_tokens=False)] * 2)
    found = ours.logits(ours.extend(torch.cat([ours.observe(images, None), ours.embed(ids)], 1)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_dialogue_is_written_in_the_models_chat_template() -> None:
    model = idefics(2)
    dialogue = build_dialogue("open the drawer", ["left"], template=model.template)
    said = model.opening + "".join(s.text or "" for s in dialogue.segments)
    assert said == (
        "user: <image><image>In which direction is the drawer relative to the robot?\nassistant: left\n"
        "user: What action should the robot take to open the drawer?\nassistant: "
    )
    assert chat(paligemma().processor, 2)[0] == "<image><image>"


def test_wrong_input_is_told() -> None:
    model = paligemma()
    with pytest.raises(InspireError, match="looks at 1 picture"):
        model.observe(torch.rand(1, 2, 3, 28, 28), None)
    with pytest.raises(InspireError, match="use_state"):
        model.observe(torch.rand(1, 1, 3, 28, 28), torch.zeros(1, 3))
    with pytest.raises(InspireError, match="has no tokenizer"):
        ImageText(model.model, object())
