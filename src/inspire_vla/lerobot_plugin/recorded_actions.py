"""The actions of a dataset, and how they are normalised and decoded again."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from lerobot.configs import FeatureType
from lerobot.lerobot_types import TransitionKey
from lerobot.processor import NormalizerProcessorStep, UnnormalizerProcessorStep
from lerobot.processor.converters import create_transition
from lerobot.utils.constants import ACTION

from inspire_vla.action_tokenizers import ActionTokenizer
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.gripper_check import Lost, gripper_dimensions, lost_changes
from inspire_vla.lerobot_plugin.rounding_error import RoundingError

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata


@dataclass(frozen=True)
class RecordedActions:
    """The actions of a dataset, in its units.

    Attributes:
        names: one for each value, or none at all.
        grippers: which values are grippers.
    """

    values: Float[np.ndarray, "frames dim"]
    episodes: Int[np.ndarray, " frames"]
    names: tuple[str, ...]
    grippers: tuple[int, ...]

    @classmethod
    def read(cls, config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> Self:
        """Those of the episodes that are trained on. Raises InspireError for a dataset without actions."""
        files = LeRobotFiles.open(dataset.root)
        values, episodes = column_of_episodes(files, ACTION, config.runtime_episodes)
        names = files.names().get(ACTION, ())
        return cls(values, episodes, names, gripper_dimensions(names, values))

    def name(self, dimension: int) -> str:
        """What to call a value, with or without names."""
        return self.names[dimension] if self.names else f"value {dimension}"

    def lost_by(
        self, tokenizer: ActionTokenizer | None, config: InspireVLAConfig, stats: dict[str, Any]
    ) -> list[Lost]:
        """Changes of the grippers that do not survive normalising, encoding, decoding and unnormalising.

        tokenizer: None tests the normalisation alone, with values clipped to -1 and 1.
        """
        round_trip = _round_trip(tokenizer, config, stats)
        return lost_changes(self.values, self.episodes, self.grippers, config.chunk_size, round_trip)

    def rounded_by(
        self, tokenizer: ActionTokenizer, config: InspireVLAConfig, stats: dict[str, Any]
    ) -> RoundingError:
        """How far actions lie from themselves after normalising, encoding, decoding and unnormalising."""
        round_trip = _round_trip(tokenizer, config, stats)
        return RoundingError.measure(self.values, self.episodes, config.chunk_size, round_trip)


def _round_trip(
    tokenizer: ActionTokenizer | None, config: InspireVLAConfig, stats: dict[str, Any]
) -> Callable[[Float[np.ndarray, "n horizon dim"]], Float[np.ndarray, "n horizon dim"]]:
    """Actions in the dataset's units → the same, decoded; tokenizer None: clipped only."""

    def round_trip(chunks: Float[np.ndarray, "n horizon dim"]) -> Float[np.ndarray, "n horizon dim"]:
        normal = normalised(chunks, config, stats)
        decoded = normal.clip(-1, 1) if tokenizer is None else tokenizer.decode(tokenizer.encode(normal))
        return normalised(decoded, config, stats, inverse=True)

    return round_trip


def column_of_episodes(
    files: LeRobotFiles, name: str, chosen: Collection[int] | None
) -> tuple[Float[np.ndarray, "frames dim"], Int[np.ndarray, " frames"]]:
    """A column of numbers as float32, and each frame's episode, of the chosen episodes or of all.

    Raises InspireError where there are no frames.
    """
    values, episodes = files.column(name)
    if chosen is not None:
        kept = np.isin(episodes, list(chosen))
        values, episodes = values[kept], episodes[kept]
    return values.astype(np.float32), episodes


def normalised(
    actions: Float[np.ndarray, "*rows dim"],
    config: InspireVLAConfig,
    stats: dict[str, Any],
    *,
    inverse: bool = False,
) -> Float[np.ndarray, "*rows dim"]:
    """Actions as the preprocessor normalises them, or (inverse) as the postprocessor turns them back."""
    step = (UnnormalizerProcessorStep if inverse else NormalizerProcessorStep)(
        features={ACTION: config.action_feature},
        norm_map={FeatureType.ACTION: config.normalization_mapping["ACTION"]},
        stats={ACTION: stats},
    )
    return step(create_transition(action=torch.from_numpy(actions)))[TransitionKey.ACTION].numpy()
