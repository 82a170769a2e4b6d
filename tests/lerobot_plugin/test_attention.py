"""Attention maps: shares of attention, and a model that acts as before after they were taken."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.attention import _over_image, attention_maps

ORDER = "pick up the red cube and place it on the blue plate"
SEEN = {
    "pixels": {"image": np.random.default_rng(3).integers(0, 255, (32, 32, 3), dtype=np.uint8)},
    "agent_pos": np.zeros(8),
}


@pytest.fixture(scope="module")
def agent(trained: Path) -> Agent:
    return load_policy(trained)


@pytest.mark.parametrize("method", ["rollout", "gradient"])
def test_a_map_for_every_answer_and_for_the_action(agent: Agent, method: str) -> None:
    before = agent.act([SEEN], [ORDER])[0]
    implementation = agent.policy.backbone.decoder.config._attn_implementation
    maps = attention_maps(agent, SEEN, ORDER, method=method)
    assert [each.doing for each in maps] == ["answering", "answering", "acting"]
    assert [each.mention for each in maps] == [*before.mentions, None]
    assert [each.answer for each in maps] == [*before.answers, ""]
    for each in maps:
        assert each.weights.shape == (2, 2)  # 32 pixels, 16 a token
        assert (each.weights >= 0).all()
        assert each.weights.sum() == pytest.approx(1)
    after = agent.act([SEEN], [ORDER])[0]
    assert after.token_ids == before.token_ids
    assert agent.policy.backbone.decoder.config._attn_implementation == implementation
    assert all(p.grad is None for p in agent.policy.parameters())


class WithoutFloat64(torch.Tensor):
    """A tensor of Apple's GPUs: only on the CPU it has float64."""

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    def double(self) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")


def test_weights_are_doubled_on_the_cpu(agent: Agent) -> None:
    row = torch.tensor([0.1, 0.2, 0.3, 0.2, 0.2]).as_subclass(WithoutFloat64)
    weights = _over_image(agent.policy, row, 5)
    np.testing.assert_allclose(weights, [[0.125, 0.25], [0.375, 0.25]], rtol=1e-6)


def test_the_two_methods_are_two(agent: Agent) -> None:
    plain, weighted = (
        attention_maps(agent, SEEN, ORDER, method=method) for method in ("rollout", "gradient")
    )
    assert any(np.abs(p.weights - w.weights).max() > 1e-3 for p, w in zip(plain, weighted, strict=True))
    with pytest.raises(InspireError, match="gradient"):
        attention_maps(agent, SEEN, ORDER, method="gradients")


def test_a_patch_that_alone_is_seen_gets_all_attention(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer attends to column 3 only: the weights lie on the last patch of the image."""
    import inspire_vla.lerobot_plugin.attention as room

    real = room._pass

    def blinkered(policy, seen, rendered):
        total = seen.shape[1] + len(rendered.ids)
        only = torch.zeros(1, total, total, dtype=torch.bool)
        only[..., 3] = True
        monkeypatch.setattr(room, "make_attention_mask", lambda *_, **__: only)
        return real(policy, seen, rendered)

    monkeypatch.setattr(room, "_pass", blinkered)
    for each in attention_maps(agent, SEEN, ORDER):
        np.testing.assert_allclose(each.weights, [[0, 0], [0, 1]], atol=1e-6)


def test_a_base_policy_only_acts(unlabelled_dataset: Path, tmp_path: Path) -> None:
    out = run(unlabelled_dataset, tmp_path / "base", "--steps=1", "--policy.reasoning.enabled=false")
    assert [each.doing for each in attention_maps(load_policy(out), SEEN, ORDER)] == ["acting"]
