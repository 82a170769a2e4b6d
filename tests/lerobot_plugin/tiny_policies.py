"""A tiny nano policy of random weights, and batches for it."""

from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets import LeRobotDatasetMetadata

from inspire_vla.backbones.nano import NanoConfig
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig, VQConfig

TASK = "pick up the red cube and place it on the blue plate"
LABELS = "observation.answers.direction"


def make(dataset: Path, options: dict[str, Any] | None = None, **reasoning: Any) -> InspireVLAPolicy:
    """A policy in evaluation mode. Two of the same sizes have the same weights.

    options: of the configuration, beside `reasoning`.
    """
    torch.manual_seed(0)
    config = InspireVLAConfig(
        device="cpu",
        input_features={
            "observation.images.image": PolicyFeature(type=FeatureType.VISUAL, shape=(3, 32, 32)),
            "observation.state": PolicyFeature(type=FeatureType.STATE, shape=(8,)),
        },
        output_features={"action": PolicyFeature(type=FeatureType.ACTION, shape=(7,))},
        reasoning=ReasoningConfig(**reasoning),
        **{
            "nano": NanoConfig(hidden_size=32, layers=2, heads=2, mlp_size=48, stem_width=4),
            "vq": VQConfig(codes_per_level=8),
            **(options or {}),
        },
    )
    policy = InspireVLAPolicy(config, dataset_meta=LeRobotDatasetMetadata("local/tiny", root=dataset))
    for parameter in policy.backbone.parameters():
        parameter.data *= 4 if parameter.ndim > 1 else 1
    return policy.eval()


def example(rows: int = 1) -> dict[str, Any]:
    """A batch of demonstrations without labels."""
    torch.manual_seed(1)
    return {
        "task": [TASK] * rows,
        "observation.images.image": torch.rand(rows, 3, 32, 32),
        "observation.state": torch.randn(rows, 8),
        "action": torch.rand(rows, 4, 7) * 2 - 1,
    }


def labelled(rows: int = 1) -> dict[str, Any]:
    """A batch of demonstrations with two answers each."""
    codes = [[row % 6, (row + 2) % 6, -1] for row in range(rows)]
    return example(rows) | {LABELS: torch.tensor(codes)}
