"""Training: LeRobot's own `lerobot-train` with a recipe, whose images are decoded once for a small model.

What a policy takes from its dataset before the first step is in prepare.py.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lerobot.utils.constants import OBS_STATE

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.files import read_json, read_yaml
from inspire_vla.labels.columns import ANSWERS_PREFIX
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.checkpoint_schema import read_train_config
from inspire_vla.lerobot_plugin.checkpoints import TRAINING_DATASET, check_same_dataset, record_dataset
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.frame_cache import FrameCache
from inspire_vla.lerobot_plugin.lerobot_host import Datasets, Training, run_lerobot_train
from inspire_vla.lerobot_plugin.named_images import NamedImages
from inspire_vla.recipes import recipe_file


def train(arguments: Sequence[str], *, recipe: str | None = None, frames_in_memory: bool = True) -> None:
    """Run `lerobot-train` in this process. It also writes, into its output folder, train_log.jsonl (see
    `lerobot_host.TrainLog`), train.log (what LeRobot logs) and dataset.json (what it is trained on).

    Args:
        arguments: as on its command line, `--dataset.root=…`, `--output_dir=…`, `--steps=…`.
        recipe: name of an included configuration, which the arguments amend.
        frames_in_memory: decode every image once and keep it (`frame_cache`). This is for nano, whose images are small.
            It is not done for other backbones, with several observation steps, or where they take more than half of the
            memory. LeRobot's augmentation, `dataset.image_transforms`, works with it.

    Raises:
        InspireError: an unknown recipe, a folder that is no dataset, or a dataset that does not fit the policy.
    """
    arguments = list(arguments)
    if recipe is not None and not any(a.startswith("--config_path") for a in arguments):
        arguments.insert(0, f"--config_path={recipe_file(recipe)}")
    given = dict(a.removeprefix("--").split("=", 1) for a in arguments if "=" in a)
    config, root = Path(given.get("config_path", "")), given.get("dataset.root")
    if config.suffix == ".json" and config.is_file():  # before LeRobot reads it
        read_train_config(config) if given.get("resume") == "true" else read_json(config, dict[str, Any])
    elif config.suffix in (".yaml", ".yml"):
        read_yaml(config)
    if root is not None:
        LeRobotFiles.open(root)  # before LeRobot loads, which takes seconds
    prepare_datasets = partial(with_cached_images, frames_in_memory=frames_in_memory)
    run_lerobot_train(arguments, prepare_datasets, _before_first_step)


def with_cached_images(
    config: InspireVLAConfig, datasets: Datasets, *, frames_in_memory: bool = True
) -> Datasets:
    """The datasets, with their images decoded once where that is possible: see `train`. Nothing is decoded yet."""
    once = frames_in_memory and config.backbone == "nano" and config.observation_delta_indices is None
    kind = FrameCache if once else NamedImages
    config.runtime_floats = True
    first, second = (None if dataset is None else kind(dataset) for dataset in datasets)
    return first, second


def _check_augmentation(dataset: FrameCache, config: InspireVLAConfig) -> None:
    """Raise InspireError for an augmentation that fails on the policy's images, or gives them another size."""
    augment, size = dataset.image_transforms, config.model_image_size
    for name, transform in getattr(augment, "transforms", {}).items():
        image = torch.zeros(3, *size, dtype=torch.uint8)
        try:
            result = tuple(transform(image).shape[-2:])
        except (TypeError, ValueError, RuntimeError) as error:
            raise InspireError(
                f"The augmentation {name!r} of --dataset.image_transforms fails on images of {size[0]} × {size[1]} "
                f"pixels: {reason_of(error)}."
            ) from None
        if result != size:
            raise InspireError(
                f"The augmentation {name!r} of --dataset.image_transforms makes images of {result[0]} × {result[1]} "
                f"pixels, but the policy takes {size[0]} × {size[1]}."
            )


def _before_first_step(training: Training) -> None:
    """Decode the images that the policy takes; record what it is trained on, or check that it is the same."""
    config = training.policy
    for dataset in training.datasets:
        if not isinstance(dataset, FrameCache):
            continue
        _check_augmentation(dataset, config)
        names = {key: config.runtime_renamed.get(key, key) for key in dataset.meta.features}
        state = config.robot_state_feature is not None
        dataset.load(
            horizon=config.chunk_size,
            cameras=[key for key in dataset.meta.camera_keys if names[key] in config.image_features],
            columns=[
                key
                for key, name in names.items()
                if key.startswith(ANSWERS_PREFIX) or (state and name == OBS_STATE)
            ],
            image_size=config.image_size,
        )
    if training.main and not training.config.resume:
        record_dataset(training.out, training.datasets[0].root)
    elif training.main and (training.out / TRAINING_DATASET).is_file():
        check_same_dataset(training.out, training.datasets[0].root)
