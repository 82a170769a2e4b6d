"""What saves memory changes nothing else: recomputed activations, bfloat16, frozen vision; each for each family."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.utils.constants import ACTION
from safetensors.torch import load_file
from tests.lerobot_plugin.families import TASK, finetune, load, make

from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.convert import KINDS
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.prepare import warn_of_rounding


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(request.param, tmp_path_factory)


def batch(policy: InspireVLAPolicy, rows: int = 2, size: int = 28) -> dict[str, Any]:
    torch.manual_seed(0)  # of a flow expert's noise
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    labels = torch.tensor([[0, 3, -1]] * rows)
    if policy.config.n_obs_steps > 1:  # with a history of images come earlier labels
        labels = torch.stack([torch.full_like(labels, -1), labels], dim=1)
    return {
        "task": [TASK] * rows,
        "observation.images.image": random(rows, 3, size, size),
        "observation.state": random(rows, 8) * 2 - 1,
        "observation.answers.direction": labels,
        ACTION: random(rows, policy.config.chunk_size, 7) * 2 - 1,
    }


def gradients(policy: InspireVLAPolicy, size: int = 28) -> dict[str, torch.Tensor]:
    policy.train()
    policy.forward(batch(policy, size=size))[0].backward()
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def test_recomputed_activations_change_no_gradient(checkpoint: Path) -> None:
    plain, recomputed = gradients(load(checkpoint)), load(checkpoint, gradient_checkpointing=True)
    calls = {"decoder": 0, "vision": 0}

    def counted(what: str):
        def count(*_: Any) -> None:
            calls[what] += 1

        return count

    layers = recomputed.backbone.decoder.layers
    layers[0].register_forward_pre_hook(counted("decoder"))
    tower = recomputed.backbone.vision()[-1]
    blocks = next(m for m in tower.modules() if isinstance(m, (torch.nn.ModuleList, torch.nn.Sequential)))
    blocks[0].register_forward_pre_hook(counted("vision"))
    found = gradients(recomputed)
    assert calls == {"decoder": 2, "vision": 2}  # once, and once more in the backward pass
    assert plain.keys() == found.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)


def test_nano_recomputes_too(trained: Path) -> None:
    plain, recomputed = (
        gradients(load(trained / "checkpoints/last/pretrained_model", gradient_checkpointing=on), size=32)
        for on in (False, True)
    )
    assert plain.keys() == recomputed.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(recomputed[name], expected, rtol=1e-4, atol=1e-6)


def test_frozen_vision_gets_no_gradient_and_no_optimizer(checkpoint: Path) -> None:
    policy = load(checkpoint, freeze_vision=True)
    frozen = {id(p) for tower in policy.backbone.vision() for p in tower.parameters()}
    reached = gradients(policy)
    assert frozen
    named = dict(policy.named_parameters())
    assert {name for name, p in named.items() if id(p) in frozen} == named.keys() - reached.keys()
    given = {id(p) for group in policy.get_optim_params() for p in group["params"]}
    assert given == {id(p) for name, p in named.items() if id(p) not in frozen}


@pytest.mark.parametrize("weights", [None, "float32"])
def test_bfloat16_computes_the_same_but_for_rounding(checkpoint: Path, weights: str | None) -> None:
    exact = load(checkpoint)
    rounded = load(checkpoint, dtype="bfloat16", weights_dtype=weights)
    kept = torch.float32 if weights == "float32" else torch.bfloat16
    assert {p.dtype for p in rounded.backbone.parameters()} == {kept}
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as accelerate does where the policy's dtype says so
        loss, log = rounded.forward(batch(rounded))
    loss.backward()
    expected = exact.forward(batch(exact))[1]
    for what in ("action_loss" if exact.expert is None else "flow_loss", "answer_loss"):
        assert log[what] == pytest.approx(expected[what], rel=0.1)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in rounded.parameters())
    decisions = rounded.act(batch(rounded))
    assert all(decision.decodable for decision in decisions)


def test_small_steps_are_lost_in_bfloat16_weights(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Why `weights_dtype=float32` is there: at the rate of fine-tuning most bfloat16 weights stay as they are."""
    checkpoint = make("pi0fast", tmp_path_factory)
    moved = {}
    for weights in ("float32", "bfloat16"):
        policy = load(checkpoint, dtype="bfloat16", weights_dtype=weights)
        matrix = policy.backbone.decoder.layers[0].mlp.up_proj.weight
        before = matrix.detach().clone()
        optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=2e-5, weight_decay=0.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            policy.forward(batch(policy))[0].backward()
        optimizer.step()
        moved[weights] = float((matrix != before).float().mean())
    assert moved["float32"] > 0.99
    assert moved["bfloat16"] < 0.2


@pytest.mark.parametrize(("settings", "warned"), [
    ({"dtype": "bfloat16", "optimizer_lr": 2e-5}, True),
    ({"dtype": "bfloat16", "optimizer_lr": 2e-5, "weights_dtype": "float32"}, False),
    ({"dtype": "bfloat16", "optimizer_lr": 1e-3}, False),
    ({"dtype": "float32", "optimizer_lr": 2e-5}, False),
    ({"dtype": "bfloat16", "optimizer_lr": 2e-5, "backbone": "nano"}, False),
])  # fmt: skip
def test_it_is_said_that_rounding_loses_the_steps(
    settings: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_rounding(InspireVLAConfig(**{"backbone": "smolvla", "device": "cpu"} | settings))
    assert ("--policy.weights_dtype=float32" in caplog.text) == warned


def test_lerobot_trains_with_all_of_them(
    tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path
) -> None:
    checkpoint = make("pi0fast", tmp_path_factory)
    trained = finetune(
        checkpoint, labelled_dataset, tmp_path_factory.mktemp("run") / "out", "--policy.dtype=bfloat16",
        "--policy.weights_dtype=float32", "--policy.gradient_checkpointing=true", "--policy.freeze_vision=true",
        "--policy.optimizer_lr=0.01", "--policy.warmup_steps=0",
    )  # fmt: skip
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, trained))
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("backbone.tower."), name
    for keep, expected in ((False, torch.bfloat16), (True, torch.float32)):  # to act, to train on
        policy = load_policy(trained, keep_weights_dtype=keep).policy
        assert {p.dtype for p in policy.backbone.parameters()} == {expected}
