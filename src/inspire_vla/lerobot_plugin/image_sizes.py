"""Images in the size that a policy looks at, whatever its cameras give."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch.nn.functional as F
from jaxtyping import Float
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.feature_utils import dataset_to_policy_features
from torch import Tensor

from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata


def scaled(
    images: Float[Tensor, "*batch 3 height width"], size: tuple[int, int] | None
) -> Float[Tensor, "*batch 3 new_height new_width"]:
    """Images of `size` (height, width), without aliasing; as they are for None. Proportions follow the size."""
    if size is None or tuple(images.shape[-2:]) == tuple(size):
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    small = F.interpolate(flat, size=tuple(size), mode="bilinear", antialias=True)
    return small.reshape(*images.shape[:-2], *small.shape[-2:])


def take_sizes_of_dataset(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Note in the configuration how large the images are that are trained on, so that a server expects these.

    A converted checkpoint says the sizes of its original's training. Cameras that the training renames are known if all
    of the dataset's have one size. nano's weights belong to a size: there nothing changes.
    """
    if config.backbone == "nano" or not config.input_features:
        return
    features = dataset_to_policy_features(dataset.features)
    cameras = {key: feature for key, feature in features.items() if feature.type is FeatureType.VISUAL}
    of_all = {tuple(feature.shape) for feature in cameras.values()}
    for key in config.image_features:
        found: PolicyFeature | None = cameras.get(key)
        if found is None and len(of_all) == 1:
            found = next(iter(cameras.values()))
        if found is not None:
            config.input_features[key] = replace(config.input_features[key], shape=tuple(found.shape))
