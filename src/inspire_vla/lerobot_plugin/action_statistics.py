"""The statistics that actions and states are normalised by, from the frames that are trained on.

Actions must lie within the range that the policy can reach, and the gripper's motions must survive it.
"""

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from lerobot.configs import NormalizationMode
from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats
from lerobot.utils.constants import ACTION, OBS_STATE

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.dataset_inputs import column_of
from inspire_vla.lerobot_plugin.gripper_check import describe
from inspire_vla.lerobot_plugin.recorded_actions import RecordedActions, column_of_episodes, normalised

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata

log = logging.getLogger(__name__)

CLIPPED_TOKENIZERS = ("residual_vq", "uniform_bins", "learned_vq")
"""Action tokenizers whose actions lie between -1 and 1."""
CLIP_MARGIN = 0.05
"""A normalised value is clipped where it lies beyond -1 and 1 by more than this."""
MOST_CLIPPED = 0.03
"""Share of the frames. Beyond the 1st and 99th percentile are 2 % of them."""
LONG_TAIL = 0.1
"""Of the range between the ends: a value that loses more by being clipped is warned about."""
STALE = 0.02
"""Of the standard deviation: by more, mean or standard deviation of meta/stats.json cannot be of the frames."""
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def restrict_statistics(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Where only some episodes are trained on, let `dataset.stats` hold the statistics of these alone.

    LeRobot's meta/stats.json is of all episodes. As there, mean and standard deviation are aggregated from those of
    each episode by LeRobot's own functions; minimum, maximum and quantiles are those of `complete_statistics`.
    Statistics of images stay; the normalisation does not use them (VISUAL is IDENTITY).
    """
    chosen = config.runtime_episodes
    if chosen is None:
        return
    files, dataset.stats = LeRobotFiles.open(dataset.root), dict(dataset.stats or {})
    numbers = [name for name in files.number_columns() if name == ACTION or name.startswith("observation.")]
    for name in numbers:
        values, episodes = column_of_episodes(files, name, chosen)
        edges = [0, *(np.flatnonzero(np.diff(episodes)) + 1).tolist(), len(episodes)]
        parts = [values[first:end] for first, end in pairwise(edges)]
        of_episodes = [{name: get_feature_stats(part, axis=0, keepdims=False)} for part in parts]
        key = config.runtime_renamed.get(name, name)
        dataset.stats[key] = aggregate_stats(of_episodes)[name] | order_statistics(values)
    log.info(
        "Statistics and action tokenizer are of the "
        f"{counted(len(chosen), 'episode that is', 'episodes that are')} trained on, of "
        f"{files.info['total_episodes']:,}."
    )


def complete_statistics(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Compute from the frames what `dataset.stats` lacks of action and state, and always the quantiles.

    The quantiles of LeRobot's meta/stats.json are not the dataset's: they are the mean, over the episodes, of each
    episode's quantiles (lerobot 0.6.1, `aggregate_feature_stats`). Where episodes lie in different places, a large
    part of the frames is beyond them. Mean and standard deviation stay those of meta/stats.json, which are right unless
    the numbers were changed without them: then they are computed too, and a warning says so.

    LeRobot makes the processors of `dataset.stats`. The dataset's files stay as they are.
    """
    files, dataset.stats = LeRobotFiles.open(dataset.root), dict(dataset.stats or {})
    for key in (ACTION, OBS_STATE):
        name = column_of(config, key, dataset.features)
        if name is not None and len(dataset.features[name]["shape"]) == 1:
            values, _ = column_of_episodes(files, name, config.runtime_episodes)
            computed, stored = statistics(values), dict(dataset.stats.get(key, {}))
            if moved := _outdated(stored, computed):
                log.warning(
                    f"meta/stats.json of {files.root} is not of its frames: {moved[0]} of {name} differs. Mean and "
                    "standard deviation are computed from the frames."
                )
                stored = {one: value for one, value in stored.items() if one not in ("mean", "std")}
            dataset.stats[key] = computed | stored | order_statistics(values)


def _outdated(stored: dict[str, Any], computed: dict[str, np.ndarray]) -> list[str]:
    """Those of mean and standard deviation by which a file of statistics cannot be of these numbers."""
    rounded = 1e-6 + 1e-3 * np.abs(computed["mean"])  # LeRobot adds squares up as float32
    tolerance = np.maximum(STALE * computed["std"], rounded)
    return [
        name
        for name in ("mean", "std")
        if name in stored
        and not (np.abs(np.asarray(stored[name], np.float64).reshape(-1) - computed[name]) <= tolerance).all()
    ]


def statistics(values: Float[np.ndarray, "frames dim"]) -> dict[str, np.ndarray]:
    """LeRobot's statistics of a column of numbers: {name: (dim,)} in its units, and "count", (1,)."""
    return {
        "mean": values.mean(0, dtype=np.float64),
        "std": values.std(0, dtype=np.float64),
        "count": np.array([len(values)]),
    } | order_statistics(values)


def order_statistics(values: Float[np.ndarray, "frames dim"]) -> dict[str, np.ndarray]:
    """Minimum, maximum and quantiles over all frames: {name: (dim,)}, in the units of the column."""
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {"min": values.min(0), "max": values.max(0)} | dict(zip(QUANTILES, quantiles, strict=True))


def widen_statistics(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Normalise a value by its minimum and maximum where its quantiles hide that it moves.

    A value that moves in less than 1 % of the frames has equal 1st and 99th percentiles, and LeRobot would divide by
    the difference. A gripper's openings and closings must survive the clipping at the quantiles.
    """
    if config.normalization_mapping.get("ACTION") is not NormalizationMode.QUANTILES:
        return
    recorded, stats = RecordedActions.read(config, dataset), dict(dataset.stats[ACTION])
    least, most = recorded.values.min(0), recorded.values.max(0)
    still = np.flatnonzero((np.asarray(stats["q01"]) == np.asarray(stats["q99"])) & (least < most)).tolist()
    lost = recorded.lost_by(None, config, stats)
    hidden = {*still, *(one.dimension for one in lost)}
    if not hidden:
        return
    for quantile, end in (("q01", least), ("q99", most)):
        stats[quantile] = np.array(stats[quantile], dtype=np.float64)
        for dimension in hidden:
            stats[quantile][dimension] = end[dimension]
    dataset.stats[ACTION] = stats
    if lost:
        log.info(
            "Normalise the gripper by its minimum and maximum, because between its 1st and 99th percentile these are "
            f"lost: {describe(lost, recorded.names)}."
        )
    others = [recorded.name(i) for i in still if i not in {one.dimension for one in lost}]
    if others:
        log.info(
            f"Normalise {', '.join(others)} by minimum and maximum, because their 1st and 99th percentiles are equal."
        )


def check_action_range(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Check before training how many of the recorded actions the action tokenizer would clip.

    Every frame that is trained on is normalised. A policy cannot reach what lies beyond -1 and 1.

    Raises InspireError where more than 3 % of the frames of one value lie there, with the normalisation that helps.
    Logs a warning where fewer do, and one of them loses more than a tenth of the range.
    """
    if config.action_tokenizer not in CLIPPED_TOKENIZERS:
        return
    recorded, stats = RecordedActions.read(config, dataset), dataset.stats.get(ACTION, {})
    normal = normalised(recorded.values, config, stats)
    clipped = np.abs(normal) > 1 + CLIP_MARGIN
    mode = config.normalization_mapping["ACTION"].value
    help_ = (
        " MIN_MAX brings them there: `inspire train --recipe nano_own`, or "
        '--policy.normalization_mapping=\'{"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MIN_MAX"}\'.'
    )
    # Of few frames, one is beyond each quantile, which may be more than 3 %.
    if len(beyond := np.flatnonzero(clipped.sum(0) > MOST_CLIPPED * len(normal) + 2)):
        ranges = ", ".join(
            f"{recorded.name(i)} {normal[:, i].min():.3g} to {normal[:, i].max():.3g} ({clipped[:, i].mean():.0%} of "
            "the frames)"
            for i in beyond[:6]
        )
        raise InspireError(
            f"{config.action_tokenizer} takes actions from −1 to 1 and would clip these; normalised by {mode} they go "
            f"from {ranges}.{help_}"
        )
    low, high = normalised(
        np.array([[-1.0], [1.0]], np.float32).repeat(normal.shape[1], 1), config, stats, inverse=True
    )
    lost = np.where(clipped, np.maximum(recorded.values - high, low - recorded.values), 0).max(0)
    if len(long := np.flatnonzero(lost > LONG_TAIL * (high - low))):
        tails = ", ".join(
            f"{recorded.name(i)} from {low[i]:.3g} to {high[i]:.3g} ({clipped[:, i].mean():.1%} of the frames lie "
            f"beyond, by up to {lost[i]:.3g})"
            for i in long
        )
        log.warning(
            f"With {mode} the policy reaches {tails}. Are these frames meant, and not glitches of the recording?{help_}"
        )
