"""Training is LeRobot's own `lerobot-train`; we hand it a recipe and, where wanted, frames in memory."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import inspire_vla.lerobot_plugin.configuration_inspire_vla  # noqa: F401  registers the policy
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.dataset_labels import check_labels
from inspire_vla.lerobot_plugin.frame_cache import FrameCache, can_keep
from inspire_vla.recipes import recipe_file


def train(arguments: Sequence[str], *, recipe: str | None = None, frames_in_memory: bool = True) -> None:
    """Run `lerobot-train` in this process.

    Args:
        arguments: as on its command line, `--dataset.root=…`, `--output_dir=…`, `--steps=…`.
        recipe: name of a shipped configuration the arguments amend.
        frames_in_memory: decode every image once and keep it: for nano, whose images are small. Not done for
            others, nor where a policy looks at earlier images too, images are augmented (`image_transforms`),
            streamed, or more than the memory holds.
    """
    from lerobot.scripts import lerobot_train

    arguments = list(arguments)
    if recipe is not None and not any(a.startswith("--config_path") for a in arguments):
        arguments.insert(0, f"--config_path={recipe_file(recipe)}")
    root = next((a.split("=", 1)[1] for a in arguments if a.startswith("--dataset.root=")), None)
    if root is not None and not (Path(root) / "meta" / "info.json").is_file():
        raise InspireError(
            f"{root} is no LeRobot dataset: it has no meta/info.json. `inspire collect` makes one."
        )
    with _command_line(["lerobot-train", *arguments]), _frames_in_memory(lerobot_train, frames_in_memory):
        lerobot_train.train()


@contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    with patch.object(sys, "argv", argv):
        yield


@contextmanager
def _frames_in_memory(lerobot_train: Any, wanted: bool) -> Iterator[None]:
    """LeRobot has no hook for the dataset, so its factory is wrapped where the training loop looks it up."""
    if not wanted:
        yield
        return
    original = lerobot_train.make_train_eval_datasets

    def cached(cfg: Any) -> Any:
        if cfg.policy.backbone != "nano" or cfg.policy.observation_delta_indices is not None:
            return original(cfg)
        horizon, size, found = cfg.policy.chunk_size, cfg.policy.image_size, original(cfg)
        if cfg.policy.reasoning.enabled and can_keep(found[0], size):
            check_labels(found[0].root, cfg.policy.reasoning)  # before images are read for minutes
        return tuple(FrameCache(d, horizon, size) if can_keep(d, size) else d for d in found)

    with patch.object(lerobot_train, "make_train_eval_datasets", cached):
        yield
