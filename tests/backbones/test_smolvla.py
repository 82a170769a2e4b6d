"""SmolVLA equals LeRobot's own: actions, loss, images; and its backbone obeys the laws of all."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.policies.common.vla_utils import resize_with_pad as lerobots_resize
from lerobot.policies.smolvla import SmolVLAPolicy
from tests.backbones import lerobot_flow
from tests.backbones.backbone_laws import ROWS, BackboneLaws
from tests.backbones.flow_laws import FlowLaws
from transformers import AutoConfig

from inspire_vla.backbones import smolvla, smolvla_flow
from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.flow import FlowContext, denoise, flow_loss
from inspire_vla.backbones.smolvla import SmolVLA
from inspire_vla.backbones.smolvla_flow import SmolVLAExpert
from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError

VISIBLE = torch.tensor([[9], [4], [6]])
"""Tokens of each row's instruction."""


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lerobot_flow.write_smolvlm(tmp_path_factory.mktemp("smolvlm"))


def converted(original: SmolVLAPolicy, vlm: Path, num_images: int = 2) -> tuple[SmolVLA, SmolVLAExpert]:
    source, every = lerobot_flow.weights(original), max(1, original.config.self_attn_every_n_layers)
    config = smolvla.read_config(
        source,
        AutoConfig.from_pretrained(vlm),
        joint_every=every,
        image_tokens=original.config.add_image_special_tokens,
    )
    backbone = SmolVLA(config, text_tokenizer=lerobot_flow.smol_text(), num_images=num_images)
    expert = SmolVLAExpert(config, horizon=lerobot_flow.HORIZON)
    mapped = smolvla.map_weights(source, every)
    assert mapped.unknown == ()
    ours = {name: t for name, t in mapped.state.items() if not name.startswith("expert.")}
    backbone.load_state_dict(ours)
    expert.load_state_dict({n.removeprefix("expert."): t for n, t in mapped.state.items() if n not in ours})
    return backbone.eval(), expert.eval()


class TestSmolVLA(BackboneLaws):
    @pytest.fixture(autouse=True)
    def _vlm(self, vlm: Path) -> None:
        self.vlm = vlm

    def make(self, seed: int) -> tuple[SmolVLA, torch.Tensor, None]:
        model, _ = converted(lerobot_flow.smolvla(self.vlm, seed), self.vlm)
        # The laws use dialogues without a state.
        model.template = replace(model.template, state_tokens=0)
        model.state_proj.requires_grad_(False)
        return model, torch.rand(ROWS, 2, 3, 56, 56), None


class TestSmolVLAFlow(FlowLaws):
    steps_to_overfit = 350

    @pytest.fixture(autouse=True)
    def _vlm(self, vlm: Path) -> None:
        self.vlm = vlm

    def make(self, seed: int) -> tuple[SmolVLA, SmolVLAExpert, torch.Tensor, torch.Tensor]:
        backbone, _ = converted(lerobot_flow.smolvla(self.vlm, seed), self.vlm)
        torch.manual_seed(seed)
        expert = SmolVLAExpert(backbone.config, horizon=lerobot_flow.HORIZON).eval()
        return backbone, expert, torch.rand(ROWS, 2, 3, 56, 56), torch.rand(ROWS, 3)


def language(original: SmolVLAPolicy) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of instructions, padded on the right, and where they are no padding."""
    ids = torch.randint(5, 400, (3, 9), generator=torch.Generator().manual_seed(3))
    return ids, torch.arange(9) < VISIBLE


def context(backbone: SmolVLA, batch: dict[str, Any], ids: torch.Tensor, real: torch.Tensor) -> FlowContext:
    """Of images, instruction and state; the state stands right behind the instruction, padding behind both."""
    images = torch.stack([batch[key] for key in lerobot_flow.FEATURES], dim=1)
    prefix = backbone.encode_observation(images, None)
    rows, longest = ids.shape
    types = torch.full((rows, longest + 1), PAD)
    types[:, :-1][real] = int(TokenType.INSTRUCTION)
    ids = torch.cat([ids, torch.zeros(rows, 1, dtype=torch.long)], dim=1)
    end = real.sum(1, keepdim=True)
    types.scatter_(1, end, int(TokenType.STATE))
    ids.scatter_(1, end, 0)
    embeddings = backbone.embed_sequence(ids, types, backbone.encode_state(batch["observation.state"]))
    every = torch.cat([torch.full(prefix.shape[:2], PREFIX), types], dim=1)
    mask = make_attention_mask(every, bidirectional_prefix=True)
    _, key_values = backbone.forward_with_key_values(
        torch.cat([prefix, embeddings], dim=1), torch.zeros_like(every, dtype=torch.bool), attention_mask=mask
    )
    return FlowContext.of(key_values, every, lerobot_flow.HORIZON)


def lerobots(batch: dict[str, Any], ids: torch.Tensor, real: torch.Tensor) -> dict[str, Any]:
    return {**batch, "observation.language.tokens": ids, "observation.language.attention_mask": real}


CHANGES = (
    {},
    {"add_image_special_tokens": True},
    {"attention_mode": "self_attn", "self_attn_every_n_layers": -1},
)


@pytest.mark.parametrize("changes", CHANGES, ids=["as published", "image tokens", "joint layers only"])
@torch.no_grad()
def test_actions_and_loss_are_lerobots(vlm: Path, changes: dict[str, Any]) -> None:
    original = lerobot_flow.smolvla(vlm, **changes)
    backbone, expert = converted(original, vlm)
    ids, real = language(original)
    batch, (noise, time) = lerobot_flow.batch(), lerobot_flow.noise_and_time(original.config)
    given = context(backbone, batch, ids, real)
    expected = original.predict_action_chunk(lerobots(batch, ids, real), noise=noise)
    actions = denoise(expert, given, noise, original.config.num_steps)[..., : lerobot_flow.ACTION]
    assert expected.std() > 0.3
    torch.testing.assert_close(actions, expected, rtol=0, atol=1e-4)
    for is_pad in (None, batch["action_is_pad"]):
        inputs = {k: v for k, v in lerobots(batch, ids, real).items() if k != "action_is_pad"}
        inputs |= {} if is_pad is None else {"action_is_pad": is_pad}
        loss, _ = original.forward(inputs, noise=noise, time=time)
        ours = flow_loss(expert, given, batch["action"], is_pad, noise=noise, time=time)
        torch.testing.assert_close(ours, loss, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("values", [torch.float32, torch.bfloat16])
def test_a_norm_of_two_types_is_that_of_torch_without_its_warning(
    weights: torch.dtype, values: torch.dtype
) -> None:
    """Training computes in bfloat16 with float32 weights (recipes/smolvla.yaml)."""
    ours, its = smolvla_flow.RMSNorm(72, eps=1e-5), torch.nn.RMSNorm(72, eps=1e-5)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(72, generator=generator)
    for norm in (ours, its):
        norm.weight.data.copy_(weight)
        norm.to(weights)
    x = torch.randn(64, 72, generator=generator).to(values)
    actual = ours(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = its(x)
    assert actual.dtype == expected.dtype
    assert torch.equal(actual, expected)


def test_images_are_resized_as_in_lerobot() -> None:
    for height, width in ((40, 60), (60, 40), (30, 30)):
        images = torch.rand(2, 3, height, width)
        torch.testing.assert_close(
            smolvla.resize_with_pad(images, 56), lerobots_resize(images, 56, 56, pad_value=0)
        )


def test_weights_of_another_model_are_refused(vlm: Path) -> None:
    original = lerobot_flow.smolvla(vlm)
    source, config = lerobot_flow.weights(original), AutoConfig.from_pretrained(vlm)
    with pytest.raises(InspireError, match="no SmolVLA"):
        smolvla.read_config({"a.weight": torch.zeros(1)}, config, joint_every=2)
    config.text_config.num_attention_heads = 6
    with pytest.raises(InspireError, match="another vision-language model"):
        smolvla.read_config(source, config, joint_every=2)
    config.text_config.num_attention_heads = 3
    shallow = {name: t for name, t in source.items() if "lm_expert.layers.1." not in name}
    with pytest.raises(InspireError, match="1 layer and the language model 2"):
        smolvla.read_config(shallow, config, joint_every=2)


def test_wrong_input_is_refused(vlm: Path) -> None:
    backbone, _ = converted(lerobot_flow.smolvla(vlm), vlm)
    with pytest.raises(InspireError, match="takes 2 image"):
        backbone.encode_observation(torch.rand(1, 1, 3, 56, 56), None)
    with pytest.raises(InspireError, match="set use_state"):
        backbone.encode_state(None)
    with pytest.raises(InspireError, match="at most 8 numbers of state, found 9"):
        backbone.encode_state(torch.zeros(1, 9))
