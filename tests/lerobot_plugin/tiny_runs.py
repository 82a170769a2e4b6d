"""Trainings of seconds, for tests."""

from pathlib import Path
from typing import Any

from inspire_vla.lerobot_plugin.training import train

TINY = (
    "--policy.nano.hidden_size=32",
    "--policy.nano.layers=2",
    "--policy.nano.heads=2",
    "--policy.nano.mlp_size=48",
    "--policy.nano.stem_width=4",
    "--policy.nano.deep_stem=false",
    "--policy.pretrained_init=null",
    "--policy.freeze_vision=false",
    "--policy.vq.codes_per_level=8",
    "--batch_size=8",
)
TINY_FLOW = tuple(option for option in TINY if ".vq." not in option)
"""The same for the recipes with a flow expert, which have no action tokenizer."""


def run(dataset: Path, out: Path, *more: str, **options: Any) -> Path:
    """Train a tiny nano policy on `dataset` into `out`; `more` as on lerobot-train's command line."""
    train(
        [f"--dataset.root={dataset}", f"--output_dir={out}", *TINY, *more], recipe="nano_tabletop", **options
    )
    return out
