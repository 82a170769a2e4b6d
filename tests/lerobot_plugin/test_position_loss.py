"""The position loss trains the backbone on the objects' offsets, and changes nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.datasets import LeRobotDataset
from lerobot.utils.constants import ACTION
from tests.lerobot_plugin.tiny_policies import example, labelled, make
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.labels.columns import GRASPED_COLUMN, OFFSET_COLUMN
from inspire_vla.labels.simulator_state import offsets_of_frames
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.position_loss import PositionLoss
from inspire_vla.lerobot_plugin.training import train

WEIGHT = {"position_loss_weight": 1.0}


def demonstrations(rows: int = 4) -> dict[str, Any]:
    """Rows of frames of the first task, whose instruction names two objects."""
    return labelled(rows) | {"index": torch.arange(rows)}


def with_random_head(policy: InspireVLAPolicy) -> InspireVLAPolicy:
    assert policy.position_loss is not None
    torch.nn.init.normal_(policy.position_loss.head.weight)
    return policy


def test_targets_are_the_datasets_offsets_in_the_order_of_its_frames(dataset_with_offsets: Path) -> None:
    offsets = offsets_of_frames(dataset_with_offsets, 3)
    dataset = LeRobotDataset("local/tiny", root=dataset_with_offsets)
    assert offsets.shape == (len(dataset), 3, 3)
    columns = [OFFSET_COLUMN, GRASPED_COLUMN, "task_index"]
    rows = dataset.hf_dataset.select_columns(columns).with_format("numpy")
    for index in (0, 1, 12, 40):
        row = rows[index]
        asked = len(find_mentions(dataset.meta.tasks.index[row["task_index"]]))
        stored = np.asarray(row[OFFSET_COLUMN]).reshape(-1, 3)
        known = np.asarray(row[GRASPED_COLUMN]) >= 0
        known[asked:] = False
        assert (np.isfinite(offsets[index]).all(1) == known).all()
        np.testing.assert_array_equal(offsets[index][known], stored[known])
    assert offsets_of_frames(dataset_with_offsets, 1).shape == (len(dataset), 1, 3)


def test_a_constant_prediction_has_loss_one(dataset_with_offsets: Path) -> None:
    loss = PositionLoss(8, 3)
    loss.read_targets(dataset_with_offsets)
    assert loss.targets is not None
    frames = torch.arange(len(loss.targets))
    assert loss(torch.randn(len(frames), 8), frames).item() == pytest.approx(1, abs=1e-5)


def test_the_loss_is_added_and_the_others_stay(dataset_with_offsets: Path) -> None:
    base = make(dataset_with_offsets, enabled=False)
    policy = with_random_head(make(dataset_with_offsets, {"position_loss_weight": 0.5}, enabled=False))
    with torch.no_grad():
        (loss, log), (of_base, log_of_base) = (p.forward(demonstrations()) for p in (policy, base))
    assert log["action_loss"] == pytest.approx(log_of_base["action_loss"], abs=1e-6)
    assert log["position_loss"] > 0
    assert loss.item() == pytest.approx(of_base.item() + 0.5 * log["position_loss"], abs=1e-5)


def test_it_reads_the_state_before_the_action_and_trains_the_backbone(dataset_with_offsets: Path) -> None:
    policy = with_random_head(make(dataset_with_offsets, WEIGHT, enabled=False))
    batch = demonstrations()
    image = "observation.images.image"
    changes: tuple[dict[str, Any], ...] = ({}, {ACTION: -batch[ACTION]}, {image: 0 * batch[image]})
    losses = [policy.forward(batch | change)[1]["position_loss"] for change in changes]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert abs(losses[0] - losses[2]) > 1e-3
    weight = policy.backbone.stem[0].weight
    policy.config.position_loss_weight = 0.0
    without = torch.autograd.grad(policy.forward(batch)[0], weight)[0]
    policy.config.position_loss_weight = 1.0
    assert (torch.autograd.grad(policy.forward(batch)[0], weight)[0] - without).abs().max() > 1e-4


def test_it_does_not_change_what_the_policy_does(dataset_with_offsets: Path) -> None:
    batch = {key: value for key, value in example(2).items() if key != ACTION}
    base = make(dataset_with_offsets, enabled=False)
    policy = with_random_head(make(dataset_with_offsets, WEIGHT, enabled=False))
    for one, two in zip(base.act(batch), policy.act(batch), strict=True):
        assert (one.actions == two.actions).all()


def test_it_draws_no_random_number(dataset_with_offsets: Path) -> None:
    """So the same seed gives the same first weights, and the same order of the samples."""
    drawn = []
    for options in ({}, WEIGHT):
        make(dataset_with_offsets, options, enabled=False)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_it_stands_beside_reasoning_too(dataset_with_offsets: Path) -> None:
    inspire, policy = make(dataset_with_offsets), make(dataset_with_offsets, WEIGHT)
    with torch.no_grad():
        (loss, log), (of_inspire, _) = (p.forward(demonstrations()) for p in (policy, inspire))
    assert loss.item() == pytest.approx(of_inspire.item() + log["position_loss"], abs=1e-5)


def test_what_cannot_be_done_is_refused(labelled_dataset: Path, dataset_with_offsets: Path) -> None:
    with pytest.raises(InspireError, match=r"no column privileged\..*position_loss_weight=0"):
        make(labelled_dataset, WEIGHT, enabled=False)
    with pytest.raises(InspireError, match="needs the action head 'tokens'"):
        InspireVLAConfig(action_head="flow", **WEIGHT)
    with pytest.raises(InspireError, match="at least 0"):
        InspireVLAConfig(position_loss_weight=-1.0)
    policy = make(dataset_with_offsets, WEIGHT, enabled=False)
    with pytest.raises(InspireError, match="'index'"):
        policy.forward(labelled(2))


@pytest.mark.parametrize("frames_in_memory", [True, False])
def test_it_trains_resumes_and_loads(
    dataset_with_offsets: Path, tmp_path: Path, frames_in_memory: bool
) -> None:
    options = (
        "--policy.reasoning.enabled=false",
        "--policy.position_loss_weight=1",
        "--steps=4",
        "--save_freq=2",
    )
    out = run(dataset_with_offsets, tmp_path / "run", *options, frames_in_memory=frames_in_memory)
    last = out / "checkpoints" / "last" / "pretrained_model"
    before = load_policy(last).policy
    assert before.config.position_loss_weight == 1
    assert before.position_loss is not None
    assert before.position_loss.head.weight.abs().max() > 0
    config = out / "checkpoints" / "000002" / "pretrained_model" / "train_config.json"
    train(
        [f"--config_path={config}", "--resume=true", f"--output_dir={out}"], frames_in_memory=frames_in_memory
    )
    after = load_policy(last).policy.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.state_dict().items())
