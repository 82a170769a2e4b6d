"""SmolVLA and π0.5 from a checkpoint that LeRobot has saved: the same actions and loss; asked, it answers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.policies import PreTrainedPolicy
from safetensors.torch import load_file
from tests.backbones import lerobot_flow
from tests.backbones.lerobot_flow import ACTION, FEATURES, HORIZON, STATE
from tests.lerobot_plugin.families import load

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.convert import Options, convert
from inspire_vla.lerobot_plugin.convert.plan import Robot
from inspire_vla.lerobot_plugin.convert.published import read_published
from inspire_vla.lerobot_plugin.option_groups import FlowConfig
from inspire_vla.spatial import canonical_answers

KINDS = ("smolvla", "pi05")
TASKS = [
    "pick up the red cube and place it on the blue plate",
    "open the top drawer of the cabinet",
    "close the drawer",
]


def statistics() -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    found = {}
    for key, width in (("observation.state", STATE), ("action", ACTION)):
        low = torch.rand(width, generator=generator) * -4 - 1
        found[key] = {
            "mean": low / 3,
            "std": -low,
            "q01": low,
            "q99": low + 7,
            "min": low - 1,
            "max": low + 8,
        }
    return found


def original(kind: str, folder: Path, **changes: Any) -> tuple[PreTrainedPolicy, Options]:
    """LeRobot's own policy, saved to FOLDER/policy, and what its conversion must be told."""
    text = folder / "text"
    if kind == "smolvla":
        policy: PreTrainedPolicy = lerobot_flow.smolvla(lerobot_flow.write_smolvlm(text), **changes)
        options = Options()
    else:
        policy = lerobot_flow.pi05(**changes)
        lerobot_flow.bos_text().save_pretrained(text)
        options = Options(tokenizer=str(text), head_size=8, vision_heads=2)
    lerobot_flow.save(policy, folder / "policy", statistics())
    return policy, options


@pytest.fixture(scope="module", params=KINDS)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PreTrainedPolicy, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    policy, options = original(request.param, folder)
    report = convert(request.param, folder / "policy", folder / "ours", options=options)
    assert report.complete
    return policy, folder


def raw_batch() -> dict[str, Any]:
    return lerobot_flow.batch() | {
        "task": list(TASKS),
        "action_is_pad": torch.zeros(3, HORIZON, dtype=torch.bool),
    }


def test_actions_are_lerobots_from_raw_observations_on(made: tuple[PreTrainedPolicy, Path]) -> None:
    policy, folder = made
    noise, _ = lerobot_flow.noise_and_time(policy.config)
    given = {key: value for key, value in raw_batch().items() if not key.startswith("action")}
    expected = policy.predict_action_chunk(
        lerobot_flow.preprocessor(folder / "policy")(dict(given)), noise=noise
    )
    agent = load_policy(folder / "ours")
    decisions = agent.policy.act(agent.preprocessor(dict(given)), noise=noise)
    found = torch.from_numpy(np.stack([decision.actions for decision in decisions]))
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert {decision.forward_passes for decision in decisions} == {1}
    of_robot, normal = agent.postprocessor(found), statistics()["action"]
    if policy.config.type == "smolvla":
        torch.testing.assert_close(of_robot, found * normal["std"] + normal["mean"])
    else:
        torch.testing.assert_close(
            of_robot, (found + 1) / 2 * (normal["q99"] - normal["q01"]) + normal["q01"]
        )


@torch.no_grad()
def test_the_loss_is_lerobots(made: tuple[PreTrainedPolicy, Path]) -> None:
    policy, folder = made
    noise, time = lerobot_flow.noise_and_time(policy.config)
    policy.model.sample_noise, policy.model.sample_time = lambda *_: noise, lambda *_: time
    expected, _ = policy.forward(lerobot_flow.preprocessor(folder / "policy")(raw_batch()))
    agent = load_policy(folder / "ours")
    found, log = agent.policy.forward(agent.preprocessor(raw_batch()), noise=noise, time=time)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert "answer_loss" not in log


def test_every_tensor_comes_along_and_goes_back(made: tuple[PreTrainedPolicy, Path], tmp_path: Path) -> None:
    _, folder = made
    before, after = load_file(folder / "ours" / "model.safetensors"), tmp_path / "again"
    load_policy(folder / "ours").save_pretrained(after)
    again = load_file(after / "model.safetensors")
    assert before.keys() == again.keys()
    assert all(torch.equal(before[name], again[name]) for name in before)
    values = {tuple(t.flatten()[:4].tolist()): t for t in before.values()}
    for name, tensor in read_published(folder / "policy").tensors.items():
        if "gemma_expert.lm_head" not in name:  # never run
            assert torch.equal(values[tuple(tensor.flatten()[:4].tolist())], tensor), name
    config = json.loads((after / "config.json").read_text())
    assert config["action_head"] == "flow"
    assert config["chunk_size"] == HORIZON
    assert config["flow"]["denoising_steps"] == 4


def test_cameras_keep_their_size(made: tuple[PreTrainedPolicy, Path]) -> None:
    """A server, an evaluation and the steering page refuse images of another aspect ratio."""
    _, folder = made
    config = load_policy(folder / "ours").config
    assert {name: tuple(f.shape) for name, f in config.image_features.items()} == dict.fromkeys(
        FEATURES, lerobot_flow.IMAGE
    )
    settings = json.loads((folder / "policy" / "config.json").read_text())
    assert Robot.of(settings, Options(cameras=("top",))).image_sizes == {"top": lerobot_flow.IMAGE[1:]}
    settings["input_features"][FEATURES[0]]["shape"] = [3, 48, 48]
    assert Robot.of(settings, Options(cameras=("front", "top"))).image_sizes == {"front": (48, 48)}
    settings["input_features"][FEATURES[0]]["shape"] = ["x"]
    assert Robot.of(settings, Options()).image_sizes == {"wrist": lerobot_flow.IMAGE[1:]}


def test_statistics_of_another_robot_are_left_out(
    made: tuple[PreTrainedPolicy, Path], tmp_path: Path
) -> None:
    policy, folder = made
    options = Options(action_dim=ACTION - 1, state_dim=STATE)
    if policy.config.type == "pi05":
        options = replace(options, tokenizer=str(folder / "text"), head_size=8, vision_heads=2)
    report = convert(policy.config.type, folder / "policy", tmp_path / "ours", options=options)
    assert sum("statistics of action in the source are not of" in note for note in report.notes) == 1
    steps = load_policy(tmp_path / "ours").preprocessor.steps
    (normalised,) = (step.stats for step in steps if hasattr(step, "stats"))
    assert "action" not in normalised
    assert "mean" in normalised["observation.state"]


def labelled() -> dict[str, Any]:
    """Demonstrations whose answers are "left" and "grasped" among others."""
    left, grasped, up = (canonical_answers("direction").index(word) for word in ("left", "grasped", "up"))
    labels = torch.tensor([[left, up, -1], [grasped, -1, -1], [up, -1, -1]])
    return raw_batch() | {"observation.answers.direction": labels}


def test_with_reasoning_the_readout_of_answers_is_trained(made: tuple[PreTrainedPolicy, Path]) -> None:
    """LeRobot freezes SmolVLA's head, norm and last layer, and no loss of π0.5 reaches them."""
    _, folder = made
    policy = load(folder / "ours")
    policy.train()
    torch.manual_seed(0)
    loss, log = policy.forward(load_policy(folder / "ours").preprocessor(labelled()))
    loss.backward()
    assert log["answer_loss"] > 0
    backbone, last = policy.backbone, policy.backbone.decoder.layers[-1]
    head = backbone.decoder.embed_tokens if backbone.head is None else backbone.head
    for part in (head, backbone.decoder.norm, last.mlp.down_proj, last.self_attn.q_proj):
        assert part.weight.requires_grad
        assert part.weight.grad is not None
        assert part.weight.grad.abs().sum() > 0
    answers = [policy.backbone.text_tokenizer.encode(f" {word}") for word in ("left", "grasped")]
    assert all(head.weight.grad[ids].abs().sum() > 0 for ids in answers)
    optimized = {id(p) for group in policy.get_optim_params() for p in group["params"]}
    assert id(head.weight) in optimized


def test_insulation_leaves_the_language_model_to_the_answers(made: tuple[PreTrainedPolicy, Path]) -> None:
    """SmolVLA's state stands behind the answers, so that its embedding then learns nothing."""
    policy, folder = made
    batch, (_, time) = (
        load_policy(folder / "ours").preprocessor(labelled()),
        lerobot_flow.noise_and_time(policy.config),
    )

    def gradients(*, insulate: bool, noise: float) -> dict[str, torch.Tensor]:
        ours = load(folder / "ours", flow=FlowConfig(insulate=insulate))
        constant = torch.full((3, HORIZON, ours.expert.action_dim), noise)
        ours.forward(batch, noise=constant, time=time)[0].backward()
        assert all(parameter.grad is not None for parameter in ours.expert.parameters())
        return {
            name: p.grad
            for name, p in ours.backbone.named_parameters()
            if p.grad is not None and p.grad.any()
        }

    one, two = (gradients(insulate=True, noise=noise) for noise in (0.3, -2.0))
    through = gradients(insulate=False, noise=0.3)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], through[name]) for name in one)
    apart = {"state_proj.weight", "state_proj.bias"} if policy.config.type == "smolvla" else set()
    assert through.keys() - one.keys() == apart


def test_it_answers_and_acts_in_one_pass_where_drafts_hold(made: tuple[PreTrainedPolicy, Path]) -> None:
    _, folder = made
    policy, preprocessor = load(folder / "ours"), load_policy(folder / "ours").preprocessor
    raw = {key: value for key, value in raw_batch().items() if not key.startswith("action")}
    plain = policy.act(preprocessor(dict(raw)), drafts=[{}, {}, {}])
    right = [decision.answers_by_mention for decision in plain]
    drafted = policy.act(preprocessor(dict(raw)), drafts=right)
    assert [len(decision.mentions) for decision in plain] == [2, 1, 1]
    assert {decision.forward_passes for decision in drafted} == {1}
    for one, two in zip(plain, drafted, strict=True):
        assert one.answers == two.answers
        np.testing.assert_allclose(one.actions, two.actions, atol=1e-4)


def test_an_expert_alone_cannot_learn_to_answer(made: tuple[PreTrainedPolicy, Path]) -> None:
    policy, folder = made
    kind = policy.config.type
    with pytest.raises(InspireError, match="cannot learn to answer"):
        InspireVLAConfig(backbone=kind, train_expert_only=True)
    with pytest.raises(InspireError, match="train_expert_only is an option of"):
        InspireVLAConfig(backbone="nano", train_expert_only=True)
    config = load_policy(folder / "ours").config
    config.train_expert_only = True
    base = type(load_policy(folder / "ours").policy).from_pretrained(folder / "ours", config=config)
    trained = {name for name, parameter in base.named_parameters() if parameter.requires_grad}
    own = {"backbone.state_proj.weight", "backbone.state_proj.bias"} if kind == "smolvla" else set()
    assert trained == {f"expert.{name}" for name, _ in base.expert.named_parameters()} | own


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("smolvla", {"adapt_to_pi_aloha": True}, "has adapt_to_pi_aloha True; only False is known"),
        ("smolvla", {"attention_mode": "cross_attn", "self_attn_every_n_layers": 0}, "self_attn_every_n_layers 0"),
        ("smolvla", {"vlm_model_name": "no/model"}, "no/model cannot be had from the hub"),
        ("smolvla", {"vlm_model_name": None}, "names no vision-language model"),
        ("smolvla", {"resize_imgs_with_padding": [28, 28]}, r"resizes images to \[28, 28\]"),
        ("pi05", {"use_relative_actions": True}, "has use_relative_actions True"),
        ("pi05", {"min_period": 0.01}, "has min_period 0.01"),
        ("pi05", {"image_resolution": [224, 224]}, r"resizes images to \[224, 224\]"),
    ],
)  # fmt: skip
def test_a_policy_of_another_kind_is_refused(kind: str, changes: dict, why: str, tmp_path: Path) -> None:
    _, options = original(kind, tmp_path)
    path = tmp_path / "policy" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InspireError, match=why):
        convert(kind, tmp_path / "policy", tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_cameras_that_stand_for_none_are_left_out(tmp_path: Path) -> None:
    """LeRobot feeds black images that nothing attends to."""
    policy, options = original("smolvla", tmp_path, empty_cameras=1)
    assert len(policy.config.image_features) == 3
    convert("smolvla", tmp_path / "policy", tmp_path / "out", options=options)
    agent, noise = load_policy(tmp_path / "out"), lerobot_flow.noise_and_time(policy.config)[0]
    assert tuple(agent.config.image_features) == FEATURES
    given = {key: value for key, value in raw_batch().items() if not key.startswith("action")}
    expected = policy.predict_action_chunk(
        lerobot_flow.preprocessor(tmp_path / "policy")(dict(given)), noise=noise
    )
    decisions = agent.policy.act(agent.preprocessor(dict(given)), noise=noise)
    found = torch.from_numpy(np.stack([decision.actions for decision in decisions]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
