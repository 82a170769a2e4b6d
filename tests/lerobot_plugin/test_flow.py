"""A policy with a flow expert, as LeRobot trains, saves, loads, resumes and asks it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.policies import make_pre_post_processors
from tests.lerobot_plugin.test_resuming import losses
from tests.lerobot_plugin.tiny_runs import TINY_FLOW

from inspire_vla import policies
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import Agent, load_policy
from inspire_vla.lerobot_plugin.attention import attention_maps
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.option_groups import FlowConfig, VQConfig
from inspire_vla.lerobot_plugin.training import train

TASK = "pick up the red cube and place it on the blue plate"
SEEN = {
    "pixels": {"image": np.random.default_rng(3).integers(0, 255, (32, 32, 3), dtype=np.uint8)},
    "agent_pos": np.linspace(-1, 1, 8),
}
OTHER = {**SEEN, "agent_pos": np.linspace(1, -1, 8)}


def run(dataset: Path, out: Path, *more: str) -> Path:
    train(
        [f"--dataset.root={dataset}", f"--output_dir={out}", *TINY_FLOW, "--policy.nano_flow.hidden_size=32",
         "--policy.nano_flow.mlp_size=48", "--policy.flow.noise_samples=1", "--steps=6", "--save_freq=3", *more],
        recipe="nano_tabletop_flow",
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def flow_run(labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Its folder, and what its steps logged."""
    with losses() as logged:
        out = run(labelled_dataset, tmp_path_factory.mktemp("flow") / "run")
    return out, logged


@pytest.fixture(scope="module")
def agent(flow_run: tuple[Path, list[dict]]) -> Agent:
    return load_policy(flow_run[0])


def demonstrations(agent: Agent) -> dict[str, Any]:
    torch.manual_seed(1)
    batch = {
        "task": [TASK, TASK],
        "observation.images.image": torch.rand(2, 3, 32, 32),
        "observation.state": torch.randn(2, 8),
        "observation.answers.direction": torch.tensor([[0, 3, -1], [5, 2, -1]]),
        "action": torch.rand(2, 4, 7) * 2 - 1,
    }
    return agent.preprocessor(batch)


def test_both_losses_are_logged_and_weighted(agent: Agent) -> None:
    policy, batch = agent.policy, demonstrations(agent)
    noise, time = torch.randn(2, 4, 7), torch.tensor([0.2, 0.8])
    loss, log = policy.forward(batch, noise=noise, time=time)
    assert loss.item() == pytest.approx(log["flow_loss"] + log["answer_loss"], rel=1e-5)
    assert {"answer_accuracy", "answer_accuracy/object_0", "unlabelled_rows"} <= log.keys()
    assert not log.keys() & {"action_loss", "action_accuracy"}
    policy.config.flow = FlowConfig(loss_weight=3.0)
    try:
        _, heavier = policy.forward(batch, noise=noise, time=time)
    finally:
        policy.config.flow = FlowConfig()
    assert heavier["flow_loss"] == pytest.approx(3 * log["flow_loss"], rel=1e-5)


def test_the_loss_is_the_mean_over_a_frame_s_draws_of_noise(agent: Agent) -> None:
    policy, batch = agent.policy, demonstrations(agent)
    noise, time = torch.randn(4, 4, 7), torch.tensor([0.2, 0.8, 0.5, 1.0])
    single = [policy.forward(batch, noise=noise[i::2], time=time[i::2])[1]["flow_loss"] for i in (0, 1)]
    policy.config.flow = FlowConfig(noise_samples=2)
    try:
        _, several = policy.forward(batch, noise=noise, time=time)
    finally:
        policy.config.flow = FlowConfig()
    assert several["flow_loss"] == pytest.approx(sum(single) / 2, rel=1e-5)


def test_rows_without_labels_are_left_out_of_both_losses(agent: Agent) -> None:
    policy, batch = agent.policy, demonstrations(agent)
    noise, time = torch.randn(1, 4, 7), torch.tensor([0.5])
    second = {key: value[1:] for key, value in batch.items() if isinstance(value, torch.Tensor | list)}
    raw = {key: second[key] for key in ("task", "observation.images.image", "observation.state", "action")}
    labels = torch.tensor([[-1, 3, -1], [5, 2, -1]])
    both = {k: batch[k] for k in raw} | {"observation.answers.direction": labels}
    alone = raw | {"observation.answers.direction": labels[1:]}
    found, expected = (
        policy.forward(b | policy.tokenizer(b), noise=noise, time=time)[1] for b in (both, alone)
    )
    assert found["unlabelled_rows"] == 1
    for name in ("flow_loss", "answer_loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_insulation_keeps_the_flow_loss_from_the_backbone(agent: Agent) -> None:
    policy, batch = agent.policy, demonstrations(agent)

    def gradient(insulate: bool, noise: float) -> torch.Tensor:
        policy.config.flow = FlowConfig(insulate=insulate)
        policy.zero_grad()
        try:
            policy.forward(batch, noise=torch.full((2, 4, 7), noise), time=torch.tensor([0.5, 0.9]))[
                0
            ].backward()
        finally:
            policy.config.flow = FlowConfig()
        of_backbone = [p.grad.flatten() for p in policy.backbone.parameters() if p.grad is not None]
        policy.zero_grad()
        return torch.cat(of_backbone)

    assert torch.equal(gradient(True, 0.3), gradient(True, -2.0))  # the answers' alone
    assert not torch.equal(gradient(False, 0.3), gradient(False, -2.0))


def test_a_decision_can_be_repeated_and_depends_on_nothing_beside_its_row(agent: Agent) -> None:
    one, other = agent.act([SEEN, OTHER], TASK)
    (alone,) = agent.act([SEEN], TASK)
    drafted = agent.act([SEEN], TASK, drafts=[dict.fromkeys(one.mentions, "left")])[0]
    for same in (alone, drafted):
        np.testing.assert_allclose(same.actions, one.actions, atol=1e-4)
    assert one.actions is not None
    assert one.actions.shape == (4, 7)
    assert one.decodable
    assert one.token_ids
    assert len(one.token_ids) == len(one.answers)
    assert not np.allclose(one.actions, other.actions, atol=1e-3)
    sampled = [
        agent.act([SEEN], TASK, generator=np.random.default_rng(seed))[0].actions for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(sampled[0], sampled[1])
    assert not np.allclose(sampled[0], sampled[2], atol=1e-3)


def test_right_drafts_cost_no_pass(agent: Agent) -> None:
    (plain,) = agent.act([SEEN], TASK, drafts=[{}])
    (drafted,) = agent.act([SEEN], TASK, drafts=[plain.answers_by_mention])
    assert (plain.forward_passes, drafted.forward_passes) == (1 + len(plain.mentions), 1)
    (overridden,) = agent.act([SEEN], TASK, overrides=[dict.fromkeys(plain.mentions, "up")])
    assert overridden.answers == ("up", "up")
    assert overridden.forward_passes == 1


def test_a_saved_policy_is_the_same(agent: Agent, tmp_path: Path) -> None:
    agent.save_pretrained(tmp_path)
    again = load_policy(tmp_path)
    assert (again.config.action_head, again.config.action_tokenizer) == ("flow", None)
    np.testing.assert_array_equal(again.act([SEEN], TASK)[0].actions, agent.act([SEEN], TASK)[0].actions)
    described = policies.describe(tmp_path)
    assert described["action_tokenizer"] is None


def test_lerobot_asks_it(flow_run: tuple[Path, list[dict]]) -> None:
    folder = flow_run[0] / "checkpoints" / "last" / "pretrained_model"
    policy = InspireVLAPolicy.from_pretrained(folder)
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    observation = {
        "observation.images.image": torch.rand(1, 3, 32, 32),
        "observation.state": torch.randn(1, 8),
    }
    policy.reset()
    action = after(policy.select_action(before(observation | {"task": [TASK]})))
    assert action.shape == (1, 7)
    assert torch.isfinite(action).all()


def test_a_resumed_training_goes_on_as_the_unbroken_one(
    flow_run: tuple[Path, list[dict]], labelled_dataset: Path
) -> None:
    out, unbroken = flow_run
    checkpoint = out / "checkpoints" / "000003" / "pretrained_model" / "train_config.json"
    with losses() as resumed:
        train([f"--config_path={checkpoint}", "--resume=true", f"--output_dir={out}"])
    assert [log["flow_loss"] for log in resumed] == [log["flow_loss"] for log in unbroken[3:]]


def test_options_of_the_other_head_are_refused() -> None:
    assert InspireVLAConfig().action_head == "tokens"
    assert InspireVLAConfig().action_tokenizer == "residual_vq"
    assert InspireVLAConfig(action_head="flow").action_tokenizer is None
    for options, found in (
        ({"action_head": "flow", "action_tokenizer": "fast"}, "has no action tokenizer"),
        ({"action_head": "flow", "vq": VQConfig(levels=3)}, "has no action tokenizer"),
        ({"flow": FlowConfig(insulate=True)}, "action_head=flow"),
        ({"action_head": "flows"}, "Did you mean 'flow'"),
        ({"action_head": "flow", "backbone": "openvla"}, "possible with nano"),
    ):
        with pytest.raises(InspireError, match=found):
            InspireVLAConfig(**options)
    for options in (
        {"loss_weight": 0.0},
        {"loss_weight": float("nan")},
        {"denoising_steps": 0},
        {"noise_samples": 0},
    ):
        with pytest.raises(InspireError, match="flow"):
            FlowConfig(**options)


def test_a_checkpoint_keeps_its_head(agent: Agent, trained: Path) -> None:
    folder = trained / "checkpoints" / "last" / "pretrained_model"
    with pytest.raises(InspireError, match=r"action head is 'tokens'.*asks for 'flow'"):
        InspireVLAPolicy.from_pretrained(folder, config=agent.config)


def test_its_attention_is_not_shown(agent: Agent) -> None:
    with pytest.raises(InspireError, match="acts by a flow expert"):
        attention_maps(agent, SEEN, TASK)
