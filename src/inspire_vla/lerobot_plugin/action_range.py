"""Actions that an action tokenizer would clip are told before a training, not found out after it."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from lerobot.configs import FeatureType
from lerobot.processor import NormalizerProcessorStep
from lerobot.utils.constants import ACTION

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata

CLIP = ("residual_vq", "uniform_bins", "learned_vq")
"""Action tokenizers that know numbers from −1 to 1 only."""
MARGIN = 0.05


def check_action_range(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Refuse a dataset of which more than 1 % of some number of the normalised actions lies beyond −1 and 1.

    By the 1st and 99th percentile of LeRobot's statistics; where a dataset lacks them, by minimum and maximum.

    Raises InspireError with the numbers at fault and the normalisation that helps.
    """
    stats = dataset.stats[ACTION]
    ends = ("q01", "q99") if "q01" in stats and "q99" in stats else ("min", "max")
    if config.action_tokenizer not in CLIP or not all(end in stats for end in ends):
        return
    mode = config.normalization_mapping["ACTION"]
    normaliser = NormalizerProcessorStep(
        features={ACTION: config.action_feature},
        norm_map={FeatureType.ACTION: mode},
        stats={ACTION: stats},
    )
    raw = np.stack([np.asarray(stats[end], dtype=np.float32).reshape(-1) for end in ends])
    found = normaliser._normalize_action(torch.from_numpy(raw), inverse=False).numpy()
    beyond = np.flatnonzero((np.abs(found) > 1 + MARGIN).any(axis=0))
    if len(beyond):
        names = dataset.features[ACTION].get("names") or [str(i) for i in range(found.shape[1])]
        names = next(iter(names.values())) if isinstance(names, dict) else names
        told = ", ".join(f"{names[i]} {found[0, i]:.3g} to {found[1, i]:.3g}" for i in beyond[:6])
        raise InspireError(
            f"{config.action_tokenizer} takes actions from −1 to 1 and would clip these; normalised by {mode.value} "
            f"they go from {told}. QUANTILES brings them there: `inspire train --recipe nano_own`, or "
            '--policy.normalization_mapping=\'{"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "QUANTILES"}\'.'
        )
