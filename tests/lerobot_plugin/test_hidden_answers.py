"""Training and decoding hide the same: with hidden answers neither loss nor action depends on what is answered."""

from pathlib import Path

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets import LeRobotDatasetMetadata

from inspire_vla.backbones.nano import NanoConfig
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, ReasoningConfig, VQConfig
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy

TASK = "pick up the red cube and place it on the blue plate"


def make(dataset: Path, *, hide_answers: bool) -> InspireVLAPolicy:
    torch.manual_seed(0)
    config = InspireVLAConfig(
        device="cpu",
        input_features={
            "observation.images.image": PolicyFeature(type=FeatureType.VISUAL, shape=(3, 32, 32)),
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(8,)),
        },
        output_features={"action": PolicyFeature(type=FeatureType.ACTION, shape=(7,))},
        nano=NanoConfig(hidden_size=32, layers=2, heads=2, mlp_size=48, stem_width=4),
        vq=VQConfig(codes_per_level=8),
        reasoning=ReasoningConfig(hide_answers=hide_answers),
    )
    policy = InspireVLAPolicy(config, dataset_meta=LeRobotDatasetMetadata("local/tiny", root=dataset))
    for parameter in policy.parameters():
        parameter.data *= 4 if parameter.ndim > 1 else 1
    return policy.eval()


@pytest.mark.parametrize("hidden", [True, False])
def test_actions_do_not_depend_on_hidden_answers(hidden: bool, labelled_dataset: Path) -> None:
    policy = make(labelled_dataset, hide_answers=hidden)
    torch.manual_seed(1)
    batch = {
        "task": [TASK],
        "observation.images.image": torch.rand(1, 3, 32, 32),
        "observation.state": torch.randn(1, 8),
        "action": torch.rand(1, 4, 7) * 2 - 1,
    }
    column = "observation.answers.direction"
    with torch.no_grad():
        losses = [
            policy.forward(batch | {column: torch.tensor([codes])})[1] for codes in ((0, 3, -1), (6, 1, -1))
        ]
    assert (abs(losses[0]["action_loss"] - losses[1]["action_loss"]) < 1e-6) == hidden
    assert abs(losses[0]["answer_loss"] - losses[1]["answer_loss"]) > 1e-3
    words = [{"the red cube": w, "the blue plate": w} for w in ("left", "grasped")]
    (one,), (two,) = (policy.act(batch, answers=[w]) for w in words)
    if hidden:
        assert one.token_ids[2:] == two.token_ids[2:]
