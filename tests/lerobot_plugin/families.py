"""The four families of published weights, in small and converted once for all tests that fine-tune them."""

from pathlib import Path
from typing import Any

import pytest
from lerobot.configs import PreTrainedConfig
from tests.lerobot_plugin import sources

from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.convert import convert
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.training import train

TASK = "pick up the red cube and place it on the blue plate"


def make(kind: str, place: pytest.TempPathFactory, **options: Any) -> Path:
    """A converted checkpoint of a kind."""
    source, out = place.mktemp(kind), place.mktemp("out") / kind
    given = getattr(sources, kind)(source)
    path = source / "run" if (source / "run").is_dir() else source
    assert convert(kind, path, out, options=given, **options).complete
    return out


def load(checkpoint: Path, **changes: Any) -> InspireVLAPolicy:
    """Its policy with reasoning on and other settings changed."""
    config = PreTrainedConfig.from_pretrained(checkpoint)
    assert isinstance(config, InspireVLAConfig)
    config.reasoning.enabled = True
    for name, value in changes.items():
        setattr(config, name, value)
    return InspireVLAPolicy.from_pretrained(checkpoint, config=config)


def finetune(checkpoint: Path, data: Path, out: Path, *more: str) -> Path:
    """lerobot-train --policy.path=CHECKPOINT with reasoning on, two steps of two. Returns the new checkpoint."""
    train(
        [f"--dataset.root={data}", "--dataset.repo_id=local/tiny", f"--output_dir={out}", "--num_workers=0",
         f"--policy.path={checkpoint}", "--policy.push_to_hub=false", "--policy.device=cpu", "--batch_size=2",
         "--steps=2", "--wandb.enable=false", "--policy.reasoning.enabled=true", *more],
        frames_in_memory=False,
    )  # fmt: skip
    return out / "checkpoints" / "last" / "pretrained_model"
