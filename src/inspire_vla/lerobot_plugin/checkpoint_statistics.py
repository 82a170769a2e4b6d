"""What a training that starts from a checkpoint does about statistics: the weights were trained with the checkpoint's.

LeRobot 0.6.1 normalises by the new dataset's. On a dataset that the checkpoint was trained on, its own are kept. On
another one the new ones are right for the robot, and it is said how far the policy's actions and states move.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from lerobot.utils.constants import ACTION, OBS_STATE
from safetensors import safe_open

from inspire_vla.lerobot_plugin.checkpoint_files import PREPROCESSOR, whole
from inspire_vla.lerobot_plugin.checkpoint_schema import NEEDED_STATISTICS, read_pipeline
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.dataset_inputs import column_of

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata

log = logging.getLogger(__name__)

Statistics = dict[str, dict[str, np.ndarray]]
"""Feature → name of a statistic → its values, in the units of the feature."""
NOTABLE = 0.05
"""Of the checkpoint's range: a smaller move of an end is not reported."""


def statistics_of(checkpoint: Path) -> Statistics:
    """The statistics by which a checkpoint normalises; {} where it has none. Raises InspireError for a damaged one."""
    steps = read_pipeline(checkpoint / PREPROCESSOR)
    files = [step.get("state_file") for step in steps if step["registry_name"] == "normalizer_processor"]
    found: Statistics = {}
    for file in filter(None, files):
        with whole(checkpoint / file), safe_open(checkpoint / file, "numpy") as opened:
            for key in opened.keys():  # noqa: SIM118  safe_open is no dict
                feature, _, name = key.rpartition(".")
                found.setdefault(feature, {})[name] = opened.get_tensor(key)
    return found


def keep_statistics(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata", saved: Statistics) -> bool:
    """Let `dataset.stats` hold a checkpoint's statistics of action and state. LeRobot makes the processors of them.

    Returns False, and changes nothing, where they lack what the configuration's normalisation needs, or it needs none.
    """
    needed = {key: _needed(config, key) for key in (ACTION, OBS_STATE)}
    if not any(needed.values()):
        return False
    for key, names in needed.items():
        stats, column = saved.get(key, {}), column_of(config, key, dataset.features)
        shape = None if column is None else tuple(dataset.features[column]["shape"])
        if any(name not in stats or stats[name].shape != shape for name in names):
            return False
    kept = {key: saved[key] for key in needed if key in saved}
    dataset.stats = {**(dataset.stats or {}), **kept}
    log.info(
        "The checkpoint was trained on this dataset, so its statistics are kept: they belong to its weights."
    )
    return True


def report_moved_ranges(
    config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata", saved: Statistics
) -> list[str]:
    """Warn where the new statistics give a normalised number another meaning than the checkpoint's. Returns what moved.

    Values are compared by what is normalised to −1 and 1; by MEAN_STD these are mean ± standard deviation.
    """
    moved = []
    for key in (ACTION, OBS_STATE):
        needed, new = _needed(config, key), (dataset.stats or {}).get(key, {})
        old = saved.get(key, {})
        if not needed or any(name not in stats for name in needed for stats in (old, new)):
            continue
        (low, high), (new_low, new_high) = _ends(old, needed), _ends(new, needed)
        if low.shape != new_low.shape:
            continue
        column = column_of(config, key, dataset.features)
        names = None if column is None else dataset.features[column].get("names")
        by = np.maximum(np.abs(new_low - low), np.abs(new_high - high))
        for i in np.flatnonzero(by > NOTABLE * np.maximum(high - low, 1e-6)):
            name = f"{key} {names[i] if isinstance(names, list) and len(names) == len(low) else i}"
            moved.append(f"{name} from {low[i]:.3g} … {high[i]:.3g} to {new_low[i]:.3g} … {new_high[i]:.3g}")
    if moved:
        more = f" and {len(moved) - 6} more" if len(moved) > 6 else ""
        log.warning(
            "The checkpoint's weights were trained with other statistics than this dataset's, which are used now. What "
            f"−1 … 1 stands for moves: {'; '.join(moved[:6])}{more}. The first actions are scaled by that, until the "
            "training has adapted the weights."
        )
    return moved


def _needed(config: InspireVLAConfig, key: str) -> tuple[str, ...]:
    """Names of the two statistics that a feature is normalised by; none where it is not, or is not taken."""
    if key == OBS_STATE and config.robot_state_feature is None:
        return ()
    mode = config.normalization_mapping.get("ACTION" if key == ACTION else "STATE")
    return NEEDED_STATISTICS.get(mode.value, ()) if mode is not None else ()


def _ends(
    stats: Mapping[str, Any], needed: tuple[str, ...]
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """What is normalised to −1 and to 1."""
    first, second = (np.asarray(stats[name], dtype=np.float64).reshape(-1) for name in needed)
    return (first - second, first + second) if needed == NEEDED_STATISTICS["MEAN_STD"] else (first, second)
