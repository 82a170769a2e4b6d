"""Whether a dataset has the cameras, the state and the numbers that a policy takes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from lerobot.configs import FeatureType, NormalizationMode
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_PREFIX, OBS_STATE
from lerobot.utils.feature_utils import dataset_to_policy_features

from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.training_start import asked_for

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata


def column_of(config: InspireVLAConfig, key: str, columns: Mapping[str, Any]) -> str | None:
    """The dataset's column that the policy takes as `key`; None where there is none."""
    return next((name for name in columns if config.runtime_renamed.get(name, name) == key), None)


def renamed_columns(columns: Mapping[str, Any], rename_map: Mapping[str, str]) -> dict[str, str]:
    """Column of the dataset → its name in the policy, of those that `--rename_map` changes: LeRobot renames
    observations alone.

    Raises InspireError where two columns get one name: LeRobot would take the last one.
    """
    renamed = {old: new for old, new in rename_map.items() if old in columns and old.startswith(OBS_PREFIX)}
    first: dict[str, str] = {}
    for column in columns:
        name = renamed.get(column, column)
        if other := first.get(name):
            raise InspireError(
                f"--rename_map: the dataset's columns {other} and {column} are both {name!r} to the policy. Rename the "
                f'one that it does not take, too: {{"{name}": "{name}_unused"}}.'
            )
        first[name] = column
    return renamed


def rename_inputs(config: InspireVLAConfig, columns: Mapping[str, Any]) -> None:
    """Take LeRobot's `--rename_map`: a configuration without inputs gets the dataset's, under the policy's names."""
    config.runtime_renamed = renamed_columns(columns, asked_for("rename_map") or {})
    if asked_for("policy.path") is None and asked_for("policy.input_features") is None:
        inputs = config.input_features or {}
        config.input_features = {
            config.runtime_renamed.get(key, key): feature for key, feature in inputs.items()
        }


def check_renamed(columns: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
    """Raise InspireError for a name in `--rename_map` that the dataset lacks, which LeRobot passes over."""
    for name in renamed:
        if name not in columns:
            inputs = [key for key in columns if key.startswith((OBS_STATE, f"{OBS_IMAGES}."))]
            raise InspireError(f"--rename_map: the dataset has no {name!r}.{did_you_mean(name, inputs)}")


def check_inputs(config: InspireVLAConfig, columns: Mapping[str, Any]) -> None:
    """Check that a dataset has what the policy takes, whose inputs are the checkpoint's with `--policy.path`.

    Raises InspireError for a camera or a state that the dataset lacks, and for a state of another length.
    """
    renamed = config.runtime_renamed
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
    if state is not None and OBS_STATE not in found:
        others = sorted(key for key, feature in found.items() if feature.type is FeatureType.STATE)
        raise InspireError(
            f"The policy takes the robot's state, and the dataset has no {OBS_STATE!r}; it has {others}. If it only "
            f'has another name, give --rename_map=\'{{"NAME IN THE DATASET": "{OBS_STATE}"}}\'.'
        )
    if state is not None and found[OBS_STATE].shape != state.shape:
        raise InspireError(
            f"The policy takes a state of {counted(state.shape[0], 'number')}; {OBS_STATE} of the dataset has "
            f"{found[OBS_STATE].shape[0]}. If it was converted, convert it again with the dataset's --state-dim."
        )


def check_floats(config: InspireVLAConfig, columns: Mapping[str, Any]) -> None:
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
        if config.runtime_renamed.get(key, key) in normalised and "int" in str(feature["dtype"]):
            raise InspireError(
                f"{key} of the dataset holds whole numbers ({feature['dtype']}), which lerobot-train normalises by "
                "statistics rounded to whole numbers. `inspire train` makes floats of them; for lerobot-train, write "
                "them as float32."
            )


def check_numbers(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Check before training that states and actions, and their statistics, are finite numbers.

    One NaN turns all weights into NaN.

    Raises InspireError that names the column, the episode and the frame.
    """
    floats = {key for key, feature in dataset.features.items() if str(feature["dtype"]).startswith("float")}
    inputs = (key for key, feature in config.input_features.items() if feature.type is not FeatureType.VISUAL)
    columns = sorted(floats & {ACTION, *(column_of(config, key, dataset.features) for key in inputs)})
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

    A converted checkpoint has the sizes of its original's training. nano's weights belong to a size, so nothing changes
    there.
    """
    if config.backbone == "nano" or not config.input_features:
        return
    features = dataset_to_policy_features(dataset.features)
    for key in config.image_features:
        camera = features.get(column_of(config, key, features) or "")
        if camera is not None:
            config.input_features[key] = replace(config.input_features[key], shape=tuple(camera.shape))
