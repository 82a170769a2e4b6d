"""PaliGemma of π0-FAST equals LeRobot's module; known faults of LeRobot's policy do not occur."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lerobot.policies.common.vla_utils import resize_with_pad_torch
from lerobot.policies.pi_gemma import PaliGemmaForConditionalGenerationWithPiGemma
from tests.backbones.backbone_laws import ROWS, BackboneLaws
from tests.backbones.texts import gemma_text
from transformers import PaliGemmaConfig as HFConfig

from inspire_vla.backbones.attention import PREFIX, make_attention_mask
from inspire_vla.backbones.paligemma import PaliGemma, map_weights, read_config, resize_with_pad, state_texts
from inspire_vla.dialogue import TokenType, build_dialogue, render
from inspire_vla.errors import InspireError

VOCABULARY = len(gemma_text()) + 5
KNOWN = {"head_size": 16, "vision_heads": 2}


def original(seed: int = 0) -> PaliGemmaForConditionalGenerationWithPiGemma:
    """LeRobot's module, small, with random weights."""
    config = HFConfig(
        text_config={
            "model_type": "gemma", "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
            "hidden_activation": "gelu_pytorch_tanh", "pad_token_id": None,
        },
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 32,
            "vision_use_head": False,
        },
        image_token_index=VOCABULARY - 1, projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = PaliGemmaForConditionalGenerationWithPiGemma(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {f"model.paligemma_with_expert.paligemma.{k}": v.clone() for k, v in model.state_dict().items()}


def converted(model: torch.nn.Module, num_images: int = 1, prompt: str = "openpi") -> PaliGemma:
    source = state(model)
    ours = PaliGemma(
        read_config(source, prompt=prompt, **KNOWN), text_tokenizer=gemma_text(), num_images=num_images
    )
    mapped = map_weights(source)
    assert mapped.unknown == ()
    ours.load_state_dict(mapped.state, strict=True)
    return ours.eval()


class TestPaliGemma(BackboneLaws):
    def make(self, seed: int) -> tuple[PaliGemma, torch.Tensor, None]:
        model = converted(original(seed), num_images=2)
        # The laws use dialogues without a state.
        model.template = replace(model.template, instruction="Task: {instruction};\n")
        return model, torch.rand(ROWS, 2, 3, 28, 28), None


@torch.no_grad()
def test_logits_are_those_of_lerobots_own_module() -> None:
    model = original()
    ours = converted(model, num_images=2)
    images, prompt, action = (
        torch.rand(2, 2, 3, 28, 28),
        torch.randint(5, 90, (2, 7)),
        torch.randint(5, 90, (2, 4)),
    )
    patches = [model.model.get_image_features(images[:, i] * 2 - 1).pooler_output for i in range(2)]
    embed = model.model.language_model.get_input_embeddings()
    elements = torch.cat([*patches, embed(prompt), embed(action)], 1)
    given, total = elements.shape[1] - 4, elements.shape[1]
    sees = torch.zeros(2, total, total, dtype=torch.bool)  # as in embed_prefix_fast, without padding
    sees[:, :, :given] = True
    sees[:, given:, given:] = torch.ones(4, 4).tril().bool()
    hidden = model.model.language_model(
        inputs_embeds=elements,
        attention_mask=torch.where(sees, 0.0, -1e9)[:, None],
        position_ids=torch.arange(total).expand(2, -1),
    ).last_hidden_state
    expected = model.lm_head(hidden)

    prefix = ours.encode_observation(images, None)
    token_types = torch.tensor(
        [[PREFIX] * prefix.shape[1] + [TokenType.INSTRUCTION] * 7 + [TokenType.ACTION] * 4] * 2
    )
    mask = make_attention_mask(token_types, bidirectional_prefix=ours.bidirectional_prefix)
    logits = ours.logits(
        ours.extend(torch.cat([prefix, ours.embed(torch.cat([prompt, action], 1))], 1), attention_mask=mask)
    )
    assert expected.abs().max() > 0.5
    # In both, the input attends to no action, so all rows can be compared.
    assert (logits - expected).abs().max() < 1e-4


def test_weights_load_with_and_without_the_prefix_of_the_wrapper() -> None:
    model = original()
    whole, bare = map_weights(state(model)), map_weights(dict(model.state_dict()))
    assert whole.state.keys() == bare.state.keys()
    headless = {k: v for k, v in state(model).items() if "embed_tokens" not in k}
    assert torch.equal(map_weights(headless).state["decoder.embed_tokens.weight"], model.lm_head.weight)
    assert "head.weight" in whole.state  # untied, as LeRobot's own training leaves them
    tied = state(model)
    tied["model.paligemma_with_expert.paligemma.lm_head.weight"] = tied[
        "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
    ].clone()
    assert "head.weight" not in map_weights(tied).state
    assert read_config(tied, **KNOWN).tied


def test_the_prompt_is_that_of_openpi_or_lerobot() -> None:
    tokenizer = gemma_text()
    for prompt, before in (("openpi", "Action: "), ("lerobot", "<bos>Action: ")):
        model = converted(original(), prompt=prompt)
        dialogue = build_dialogue(
            "Open the Drawer", reasoning=False, template=model.template, state_text="12 200"
        )
        text = "".join(s.text or "" for s in dialogue.segments)
        task = "open the drawer" if prompt == "openpi" else "Open the Drawer"
        assert text == f"<bos>Task: {task}, State: 12 200;\n{before}|<eos>"
        rendered = render(dialogue, tokenizer, [7, 8])
        token_types = torch.tensor([[PREFIX] * 4 + rendered.token_types.tolist()])
        mask = make_attention_mask(token_types, bidirectional_prefix=True)[0]
        given = 4 + rendered.segment_spans[1][1]
        assert mask[:given, :given].all()  # images and prompt with <bos> attend to each other
        behind = mask[given:, given:]
        assert torch.equal(behind, torch.ones_like(behind).tril())  # a <bos> before the action is causal


def test_the_first_action_code_is_supervised() -> None:
    """LeRobot's loss has no term for the first token of an action; here the prompt predicts it."""
    model = converted(original())
    dialogue = build_dialogue("open the drawer", reasoning=False, template=model.template, state_text="1")
    rendered = render(dialogue, gemma_text(), [7, 8])
    start, stop = rendered.action_span
    assert rendered.loss_mask[start:stop].all()
    assert start > 0


def test_states_are_written_in_the_bins_of_openpi() -> None:
    state = np.array([[-1.0, 0.0, 0.999, 2.0, -3.0]])
    assert state_texts(state) == ["0 128 255 255 -1"]


def test_images_are_resized_as_in_lerobot() -> None:
    images = torch.rand(2, 3, 40, 60)
    expected = resize_with_pad_torch(images, 28, 28) * 2 - 1
    torch.testing.assert_close(resize_with_pad(images * 2 - 1, 28), expected, atol=1e-5, rtol=0)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InspireError, match="no PaliGemma"):
        read_config({"a.weight": torch.zeros(1)})
    with pytest.raises(InspireError, match="prompt is one of"):
        converted(original(), prompt="opnepi")
    with pytest.raises(InspireError, match="takes 1 image"):
        converted(original()).encode_observation(torch.rand(1, 2, 3, 28, 28), None)
