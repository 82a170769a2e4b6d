"""π0.5 equals LeRobot's own: actions and loss; and its backbone obeys the laws of all."""

from dataclasses import replace

import pytest
import torch
from lerobot.policies.pi05 import PI05Policy
from tests.backbones import lerobot_flow
from tests.backbones.backbone_laws import ROWS, BackboneLaws
from tests.backbones.flow_laws import FlowLaws
from tests.backbones.texts import gemma_text

from inspire_vla.backbones import pi05
from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.flow import FlowContext, denoise, flow_loss
from inspire_vla.backbones.pi05 import GemmaExpertSize, Pi05, Pi05Expert
from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError

KNOWN = {"head_size": 8, "vision_heads": 2}


def converted(original: PI05Policy, num_images: int = 2) -> tuple[Pi05, Pi05Expert]:
    source = lerobot_flow.weights(original)
    config, size = pi05.read_config(source, **KNOWN)
    backbone = Pi05(config, text_tokenizer=gemma_text(), num_images=num_images)
    expert = Pi05Expert(size, config.language, horizon=lerobot_flow.HORIZON)
    mapped = pi05.map_weights(source)
    assert mapped.unknown == ()
    assert [name for name in mapped.dropped if "lm_head" not in name] == []
    ours = {name: t for name, t in mapped.state.items() if not name.startswith("expert.")}
    backbone.load_state_dict(ours)
    expert.load_state_dict({n.removeprefix("expert."): t for n, t in mapped.state.items() if n not in ours})
    return backbone.eval(), expert.eval()


class TestPi05(BackboneLaws):
    def make(self, seed: int) -> tuple[Pi05, torch.Tensor, None]:
        model, _ = converted(lerobot_flow.pi05(seed))
        # The laws use dialogues without a state.
        model.template = replace(
            model.template, instruction="Task: {instruction};\nAction: ", instruction_first=""
        )
        return model, torch.rand(ROWS, 2, 3, 28, 28), None


class TestPi05Flow(FlowLaws):
    steps_to_overfit = 450

    def make(self, seed: int) -> tuple[Pi05, Pi05Expert, torch.Tensor, None]:
        backbone, _ = converted(lerobot_flow.pi05(seed))
        torch.manual_seed(seed)
        size = GemmaExpertSize(hidden_size=24, mlp_size=40, action_dim=9)
        expert = Pi05Expert(size, backbone.config.language, horizon=lerobot_flow.HORIZON).eval()
        return backbone, expert, torch.rand(ROWS, 2, 3, 28, 28), None


@torch.no_grad()
def test_actions_and_loss_are_lerobots() -> None:
    original = lerobot_flow.pi05()
    backbone, expert = converted(original)
    batch, (noise, time) = lerobot_flow.batch(), lerobot_flow.noise_and_time(original.config)
    ids = torch.randint(5, 400, (3, 9), generator=torch.Generator().manual_seed(3))
    real = torch.arange(9) < torch.tensor([[9], [4], [6]])
    given = {**batch, "observation.language.tokens": ids, "observation.language.attention_mask": real}

    prefix = backbone.encode_observation(
        torch.stack([batch[key] for key in lerobot_flow.FEATURES], dim=1), None
    )
    types = torch.cat(
        [torch.full(prefix.shape[:2], PREFIX), torch.where(real, int(TokenType.INSTRUCTION), PAD)], dim=1
    )
    _, key_values = backbone.forward_with_key_values(
        torch.cat([prefix, backbone.embed(ids)], dim=1),
        torch.zeros_like(types, dtype=torch.bool),
        attention_mask=make_attention_mask(types, bidirectional_prefix=True),
    )
    context = FlowContext.of(key_values, types, lerobot_flow.HORIZON)

    expected = original.predict_action_chunk(given, noise=noise)
    actions = denoise(expert, context, noise, original.config.num_inference_steps)[..., : lerobot_flow.ACTION]
    assert expected.std() > 0.3
    torch.testing.assert_close(actions, expected, rtol=0, atol=1e-4)

    original.model.sample_noise, original.model.sample_time = lambda *_: noise, lambda *_: time
    loss, _ = original.forward(given)
    ours = flow_loss(expert, context, batch["action"], batch["action_is_pad"], noise=noise, time=time)
    torch.testing.assert_close(ours, loss, rtol=0, atol=1e-5)


def test_another_model_is_refused() -> None:
    with pytest.raises(InspireError, match=r"no π0\.5"):
        pi05.read_config({"a.weight": torch.zeros(1)})
    source = lerobot_flow.weights(lerobot_flow.pi05())
    plain = {name.replace("layernorm.dense", "layernorm"): tensor for name, tensor in source.items()}
    with pytest.raises(InspireError, match=r"a π0, not a π0\.5"):
        pi05.read_config(plain, **KNOWN)
