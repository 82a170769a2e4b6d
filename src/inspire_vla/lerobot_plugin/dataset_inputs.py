"""Whether a dataset has the cameras, the state and the numbers that a policy takes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from lerobot.utils.feature_utils import dataset_to_policy_features

from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata


def check_renamed(columns: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
    """Raise InspireError for a name in `--rename_map` that the dataset lacks, which LeRobot passes over."""
    for name in renamed:
        if name not in columns:
            inputs = [key for key in columns if key.startswith((OBS_STATE, f"{OBS_IMAGES}."))]
            raise InspireError(f"--rename_map: the dataset has no {name!r}.{did_you_mean(name, inputs)}")


def check_inputs(config: InspireVLAConfig, columns: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
    """Check that a dataset has what the policy takes, whose inputs are the checkpoint's with `--policy.path`.

    Raises InspireError for a camera that the dataset lacks, and for a state of another length.
    """
    found = {
        renamed.get(key, key): feature for key, feature in dataset_to_policy_features(dict(columns)).items()
    }
    cameras = sorted(key for key, feature in found.items() if feature.type is FeatureType.VISUAL)
    missing = [key for key in config.image_features if key not in found]
    if missing:
        raise InspireError(
            f"The policy takes the cameras {sorted(config.image_features)}; the dataset has {cameras}. If they only "
            f'have other names, give --rename_map=\'{{"NAME IN THE DATASET": "{missing[0]}"}}\'. If it was converted, '
            "convert it again with the dataset's --cameras."
        )
    state = config.robot_state_feature
    if state is not None and OBS_STATE in found and found[OBS_STATE].shape != state.shape:
        raise InspireError(
            f"The policy takes a state of {counted(state.shape[0], 'number')}; {OBS_STATE} of the dataset has "
            f"{found[OBS_STATE].shape[0]}. If it was converted, convert it again with the dataset's --state-dim."
        )


def check_floats(config: InspireVLAConfig, columns: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
    """Raise InspireError for whole numbers that LeRobot 0.6.1 would normalise: it rounds their statistics."""
    if config.runtime_floats:
        return
    normalised = {
        key
        for key, kind in ((ACTION, "ACTION"), (OBS_STATE, "STATE"))
        if config.normalization_mapping.get(kind) not in (None, NormalizationMode.IDENTITY)
        and (key == ACTION or config.robot_state_feature is not None)
    }
    for key, feature in columns.items():
        if renamed.get(key, key) in normalised and "int" in str(feature["dtype"]):
            raise InspireError(
                f"{key} of the dataset holds whole numbers ({feature['dtype']}), which lerobot-train normalises by "
                "statistics rounded to whole numbers. `inspire train` makes floats of them; for lerobot-train, write "
                "them as float32."
            )


def check_numbers(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Check before training that states and actions, and their statistics, are finite numbers.

    One NaN turns all weights into NaN. Where the dataset has no column of the policy's state, as with a `rename_map`,
    all columns of observations are checked.

    Raises InspireError that names the column, the episode and the frame.
    """
    floats = {key for key, feature in dataset.features.items() if str(feature["dtype"]).startswith("float")}
    used = {key for key, feature in config.input_features.items() if feature.type is not FeatureType.VISUAL}
    if not used <= floats:
        used |= {key for key in floats if key.startswith("observation.")}
    columns = sorted(floats & {ACTION, *used})
    files = LeRobotFiles.open(dataset.root)
    for path in files.data_files():
        rows = files.read(path, (*columns, "frame_index"))
        for name in columns:
            finite = np.isfinite(rows.columns[name].reshape(len(rows.episode_index), -1)).all(axis=1)
            if not finite.all():
                row = int(finite.argmin())
                raise InspireError(
                    f"{path}: {name} of episode {rows.episode_index[row]}, frame "
                    f"{int(rows.columns['frame_index'][row])} is {rows.columns[name][row].tolist()}; NaN or infinite "
                    f"in {counted(int((~finite).sum()), 'frame')} of this file. Remove these episodes "
                    "(lerobot-edit-dataset "
                    "--operation.type=delete_episodes), or mend the numbers."
                )
    for name in columns:
        odd = [
            key for key, value in (dataset.stats or {}).get(name, {}).items() if not np.isfinite(value).all()
        ]
        if odd:
            raise InspireError(
                f"{dataset.root}/meta/stats.json: {odd} of {name} are NaN or infinite, though its frames are not. "
                "Compute them again: lerobot-edit-dataset --operation.type=recompute_stats."
            )


def take_image_sizes(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Write the sizes of the dataset's images into the configuration, so that a server expects these.

    A converted checkpoint has the sizes of its original's training. Cameras that the training renames are known if all
    of the dataset's have one size. nano's weights belong to a size, so nothing changes there.
    """
    if config.backbone == "nano" or not config.input_features:
        return
    features = dataset_to_policy_features(dataset.features)
    cameras = {key: feature for key, feature in features.items() if feature.type is FeatureType.VISUAL}
    sizes = {tuple(feature.shape) for feature in cameras.values()}
    for key in config.image_features:
        camera: PolicyFeature | None = cameras.get(key)
        if camera is None and len(sizes) == 1:
            camera = next(iter(cameras.values()))
        if camera is not None:
            config.input_features[key] = replace(config.input_features[key], shape=tuple(camera.shape))
