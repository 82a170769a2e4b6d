"""Prismatic has the logits of the original modules for the same weights, pixels and ids, and passes the laws."""

import pytest
import torch
from tests.backbones.backbone_laws import ROWS, BackboneLaws
from tests.backbones.originals import Original
from tests.backbones.texts import llama_text, qwen_text

from inspire_vla.backbones.prismatic import Prismatic
from inspire_vla.backbones.prismatic_weights import flat_checkpoint, map_weights, read_config
from inspire_vla.dialogue import build_dialogue, render
from inspire_vla.errors import InspireError

TEXTS = {"qwen2": qwen_text, "llama": llama_text}
INSTRUCTION = "pick up the red cube and place it on the blue plate"


def converted(original: Original, family: str, layout: str, num_images: int = 1) -> Prismatic:
    source = flat_checkpoint(original.checkpoint()) if layout == "pt" else original.huggingface()
    text_config = original.language.config.to_dict()
    config = read_config(source, tower_heads=4, text_config=text_config)
    model = Prismatic(config, text_tokenizer=TEXTS[family](), num_images=num_images)
    mapped = map_weights(source, config)
    assert mapped.unknown == ()
    model.load_state_dict(mapped.state, strict=True)
    return model.eval()


class TestMiniVLA(BackboneLaws):
    family = "qwen2"

    def make(self, seed: int) -> tuple[Prismatic, torch.Tensor, None]:
        text = TEXTS[self.family]()
        original = Original.random(self.family, len(text), seed=seed, tied=self.family == "qwen2")
        return converted(original, self.family, "pt", num_images=2), torch.rand(ROWS, 2, 3, 28, 28), None


class TestOpenVLA(TestMiniVLA):
    family = "llama"


@pytest.mark.parametrize("layout", ["pt", "huggingface"])
@pytest.mark.parametrize(("family", "tied"), [("qwen2", True), ("qwen2", False), ("llama", False)])
@pytest.mark.parametrize("images", [1, 2])
def test_logits_are_those_of_the_original_modules(family, tied, layout, images) -> None:
    tokenizer = TEXTS[family]()
    original = Original.random(family, len(tokenizer) + 7, tied=tied)
    model = converted(original, family, layout, images)
    images = torch.rand(2, images, 3, 28, 28)
    ids = torch.randint(0, len(tokenizer), (2, 9))
    ids[:, 0] = model.first_id
    expected = original.logits(images, ids)
    with torch.no_grad():
        logits = model.logits(
            model.extend(torch.cat([model.encode_observation(images, None), model.embed(ids[:, 1:])], 1))
        )
    assert logits.shape == expected.shape
    assert expected.abs().max() > 0.5  # logits near zero would prove nothing
    assert (logits - expected).abs().max() < 1e-5


def test_a_base_prompt_has_the_ids_of_the_original_prompt() -> None:
    model = converted(Original.random("qwen2", len(qwen_text()), tied=True), "qwen2", "pt")
    ids = render(
        build_dialogue(INSTRUCTION, reasoning=False, template=model.template), model.text_tokenizer
    ).ids
    whole = (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\nWhat action should the robot take to {INSTRUCTION}?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [model.first_id, *ids.tolist()] == qwen_text().encode(whole, add_special_tokens=False)


def test_a_llama_prompt_starts_after_bos_and_ends_with_the_lone_space() -> None:
    tokenizer = llama_text()
    model = converted(Original.random("llama", len(tokenizer)), "llama", "pt")
    assert model.first_id == tokenizer.bos_token_id
    ids = render(
        build_dialogue(INSTRUCTION, reasoning=False, template=model.template), model.text_tokenizer
    ).ids
    plain = tokenizer.encode(
        f"In: What action should the robot take to {INSTRUCTION}?\nOut:", add_special_tokens=False
    )
    assert ids.tolist() == [*plain, tokenizer.convert_tokens_to_ids("▁")]


def test_each_encoder_normalises_in_its_own_way() -> None:
    model = converted(Original.random("qwen2", len(qwen_text()), tied=True), "qwen2", "pt")
    assert model.towers.dino_mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert model.towers.siglip_deviation.flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert not any("mean" in name for name in model.state_dict())


def test_images_of_any_size_are_resized() -> None:
    model = converted(Original.random("qwen2", len(qwen_text()), tied=True), "qwen2", "pt")
    image = torch.rand(1, 1, 3, 28, 28).round()
    large = image.repeat_interleave(4, -1).repeat_interleave(4, -2)
    with torch.no_grad():
        assert model.encode_observation(large, None).shape == (1, 1 + 4, 32)


def test_wrong_input_is_refused() -> None:
    original = Original.random("qwen2", len(qwen_text()), tied=True)
    with pytest.raises(InspireError, match="holds 'model' with"):
        flat_checkpoint({"state_dict": {}})
    with pytest.raises(InspireError, match="no Prismatic model"):
        read_config({"decoder.weight": torch.zeros(1)})
    model = converted(original, "qwen2", "pt")
    with pytest.raises(InspireError, match="takes 1 image"):
        model.encode_observation(torch.rand(1, 2, 3, 28, 28), None)
    with pytest.raises(InspireError, match="use_state"):
        model.encode_observation(torch.rand(1, 1, 3, 28, 28), torch.zeros(1, 8))
    with pytest.raises(InspireError, match="does not belong to qwen2"):
        Prismatic(model.config, text_tokenizer=llama_text())


def test_gradient_reaches_every_parameter_and_frozen_towers_get_none() -> None:
    model = converted(Original.random("llama", len(llama_text())), "llama", "huggingface").train()

    def backward() -> None:
        prefix = model.encode_observation(torch.rand(2, 1, 3, 28, 28), None)
        model.logits(
            model.extend(torch.cat([prefix, model.embed(torch.tensor([[5, 6], [7, 8]]))], 1))
        ).logsumexp(-1).sum().backward()

    backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    model.freeze_vision()
    model.gradient_checkpointing_enable()
    torch.manual_seed(0)
    backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None]
    assert untouched == [name for name in whole if name.startswith("towers.")]
