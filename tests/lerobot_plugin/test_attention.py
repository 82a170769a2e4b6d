"""Where a policy looks: shares of attention, and a model that acts as before once it was looked at."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import run

from inspire_vla.lerobot_plugin.attention import attention_over_picture, rollout
from inspire_vla.lerobot_plugin.loading import load_policy

ORDER = "pick up the red cube and place it on the blue plate"
SEEN = {
    "pixels": {"image": np.random.default_rng(3).integers(0, 255, (32, 32, 3), dtype=np.uint8)},
    "agent_pos": np.zeros(8),
}


def test_shares_over_the_picture_of_a_reasoning_policy(trained: Path) -> None:
    agent = load_policy(trained)
    before = agent.act([SEEN], [ORDER])[0]
    looks = attention_over_picture(agent, SEEN, ORDER)
    assert set(looks) == {"answering", "acting"}
    for weights in looks.values():
        assert weights.shape == (2, 2)  # 32 pixels, 16 a token
        assert (weights > 0).all()
        assert weights.sum() == pytest.approx(1)
    after = agent.act([SEEN], [ORDER])[0]
    assert after.token_ids == before.token_ids
    assert agent.policy.backbone.decoder.config._attn_implementation == "sdpa"


def test_a_base_policy_only_acts(unlabelled_dataset: Path, tmp_path: Path) -> None:
    out = run(unlabelled_dataset, tmp_path / "base", "--steps=1", "--policy.reasoning.enabled=false")
    assert set(attention_over_picture(load_policy(out), SEEN, ORDER)) == {"acting"}


def test_rollout_keeps_rows_that_sum_to_one_and_causality() -> None:
    torch.manual_seed(0)
    causal = torch.full((5, 5), float("-inf")).triu(1)
    layers = [(torch.randn(2, 3, 5, 5) + causal).softmax(-1) for _ in range(4)]
    mixed = rollout(layers)
    torch.testing.assert_close(mixed.sum(-1), torch.ones(2, 5))
    assert (mixed.triu(1) == 0).all()
