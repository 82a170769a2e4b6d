"""What a policy takes from demonstrated actions: statistics, and an action tokenizer that keeps the gripper."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from lerobot.configs import FeatureType, NormalizationMode
from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats
from lerobot.lerobot_types import TransitionKey
from lerobot.processor import NormalizerProcessorStep, UnnormalizerProcessorStep
from lerobot.processor.converters import create_transition
from lerobot.utils.constants import ACTION, OBS_STATE

from inspire_vla.action_tokenizers import ActionTokenizer, Fast, ResidualVQ, UniformBins
from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.frame_cache import chunk_indices
from inspire_vla.lerobot_plugin.gripper_check import (
    MOST_LOST,
    Lost,
    chunks_with_changes,
    describe,
    gripper_dimensions,
    lost_changes,
)
from inspire_vla.lerobot_plugin.rounding_error import RoundingError

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
MAX_FITTED_CHUNKS = 200_000
"""More chunks do not move the means; they only cost time."""
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


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
        values, episodes = _column(files, ACTION, config.runtime_episodes)
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
        normal = _normalised(chunks, config, stats)
        decoded = normal.clip(-1, 1) if tokenizer is None else tokenizer.decode(tokenizer.encode(normal))
        return _normalised(decoded, config, stats, inverse=True)

    return round_trip


def _column(
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


# Statistics


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
        values, episodes = _column(files, name, chosen)
        edges = [0, *(np.flatnonzero(np.diff(episodes)) + 1).tolist(), len(episodes)]
        parts = [values[first:end] for first, end in pairwise(edges)]
        of_episodes = [{name: get_feature_stats(part, axis=0, keepdims=False)} for part in parts]
        dataset.stats[name] = aggregate_stats(of_episodes)[name] | order_statistics(values)
    log.info(
        "Statistics and action tokenizer are of the "
        f"{counted(len(chosen), 'episode that is', 'episodes that are')} trained on, of "
        f"{files.info['total_episodes']:,}."
    )


def complete_statistics(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Compute from the frames what `dataset.stats` lacks of action and state, and always the quantiles.

    The quantiles of LeRobot's meta/stats.json are not the dataset's: they are the mean, over the episodes, of each
    episode's quantiles (lerobot 0.6.1, `aggregate_feature_stats`). Where episodes lie in different places, a large
    part of the frames is beyond them. Mean and standard deviation stay those of meta/stats.json, which are right.

    LeRobot makes the processors of `dataset.stats`. The dataset's files stay as they are.
    """
    files, dataset.stats = LeRobotFiles.open(dataset.root), dict(dataset.stats or {})
    for name in (ACTION, OBS_STATE):
        if name in dataset.features and len(dataset.features[name]["shape"]) == 1:
            values, _ = _column(files, name, config.runtime_episodes)
            dataset.stats[name] = statistics(values) | dataset.stats.get(name, {}) | order_statistics(values)


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


def _normalised(
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


def check_action_range(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> None:
    """Check before training how many of the recorded actions the action tokenizer would clip.

    Every frame that is trained on is normalised. A policy cannot reach what lies beyond -1 and 1.

    Raises InspireError where more than 3 % of the frames of one value lie there, with the normalisation that helps.
    Logs a warning where fewer do, and one of them loses more than a tenth of the range.
    """
    if config.action_tokenizer not in CLIPPED_TOKENIZERS:
        return
    recorded, stats = RecordedActions.read(config, dataset), dataset.stats.get(ACTION, {})
    normal = _normalised(recorded.values, config, stats)
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
    low, high = _normalised(
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


# The action tokenizer


def choose_action_tokenizer(
    config: InspireVLAConfig, saved: ActionTokenizer | None, dataset: "LeRobotDatasetMetadata | None"
) -> ActionTokenizer | None:
    """The action tokenizer of a policy: a checkpoint's, or a new one that is fitted on the dataset. None: a flow expert
    makes the actions, and no codes are trained beside it.

    A fine-tuning may ask for another kind, horizon, action size or VQ size than the checkpoint's.

    Raises:
        InspireError: there is neither; it is another one and there is no dataset; it would have another number of
            codes, and the checkpoint's weights hold a row for each code.
    """
    if not config.trains_codes:
        return None
    if saved is None:
        if dataset is None:
            raise InspireError(
                "A new policy fits its action tokenizer on demonstrations: give it a dataset, or load a "
                "checkpoint with --policy.path."
            )
        return fit_action_tokenizer(config, dataset)
    requested = config.action_tokenizer, config.chunk_size, config.action_feature.shape[0]
    same = (saved.name, saved.horizon, saved.action_dim) == requested
    if dataset is None:
        if same:
            return saved
        raise InspireError(
            f"The checkpoint's action tokenizer is {saved.name} for {saved.horizon} × {saved.action_dim} numbers, the "
            f"configuration wants {requested[0]} for {requested[1]} × {requested[2]}."
        )
    if isinstance(saved, ResidualVQ):
        same &= (saved.levels, saved.codes_per_level) == (config.vq.levels, config.vq.codes_per_level)
        same &= saved.fitted
    if same:
        return saved
    fitted = fit_action_tokenizer(config, dataset)
    if isinstance(saved, UniformBins) and isinstance(fitted, UniformBins):
        fitted.gripper = saved.gripper  # the same bins, with the same meaning
    if config.has_own_action_tokens and fitted.vocabulary_size != saved.vocabulary_size:
        raise InspireError(
            f"The checkpoint's weights hold a row for each of its {saved.vocabulary_size} action codes ({saved.name}); "
            f"the configuration asks for {fitted.vocabulary_size} ({fitted.name}). Fine-tune with the checkpoint's own "
            "--policy.action_tokenizer and --policy.vq, or train from the start."
        )
    return fitted


def fit_action_tokenizer(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> ActionTokenizer:
    """Fit the configured action tokenizer on a dataset's normalised action chunks.

    Where it loses a gripper, chunks in which the gripper moves count more, and so does the gripper.

    Raises:
        InspireError: a gripper is lost all the same, see `check_gripper`.
    """
    recorded = RecordedActions.read(config, dataset)
    if config.action_tokenizer == "learned_vq":
        raise InspireError(
            "A learned VQ comes with MiniVLA's weights; a new one is not trained here: residual_vq is."
        )
    if config.action_tokenizer == UniformBins.name:
        return UniformBins(horizon=config.chunk_size, action_dim=recorded.values.shape[1])
    chunks = normalised_chunks(config, dataset, recorded)
    log.info(
        f"Fitting the action tokenizer {config.action_tokenizer} on {counted(len(chunks), 'chunk')} of actions …"
    )
    if config.action_tokenizer == Fast.name:
        return Fast.fit(chunks)
    weights = np.ones(recorded.values.shape[1])
    weights[-1] = config.vq.gripper_weight
    fitted = _fit_vq(config, chunks, weights)
    lost = recorded.lost_by(fitted, config, dataset.stats[ACTION])
    if not lost:
        return fitted
    rare = chunks_with_changes(recorded.values, recorded.episodes, recorded.grippers, config.chunk_size)
    rare_chunks = _normalised(recorded.values, config, dataset.stats[ACTION])[
        chunk_indices(recorded.episodes, config.chunk_size, rare)
    ]
    copies = max(1, len(chunks) // (2 * len(rare_chunks)))
    weighted = np.concatenate([chunks, *[rare_chunks] * copies])
    tried = [(lost, fitted)]
    for factor in (1, 2, 4):
        more = weights.copy()
        more[list(recorded.grippers)] = factor * config.vq.gripper_weight
        again = _fit_vq(config, weighted, more)
        lost = recorded.lost_by(again, config, dataset.stats[ACTION])
        tried.append((lost, again))
        if not lost:
            break
    lost, fitted = min(tried, key=lambda one: max((of.count / of.total for of in one[0]), default=0.0))
    if not lost:
        log.info(
            f"Fitted the action tokenizer again, with more weight on the gripper: the first fit lost "
            f"{describe(tried[0][0], recorded.names)}."
        )
    return fitted


def _fit_vq(config: InspireVLAConfig, chunks: np.ndarray, weights: np.ndarray) -> ResidualVQ:
    return ResidualVQ.fit(
        chunks,
        codes_per_level=config.vq.codes_per_level,
        levels=config.vq.levels,
        dimension_weights=weights.tolist(),
    )


def normalised_chunks(
    config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata", recorded: RecordedActions | None = None
) -> Float[np.ndarray, "chunks horizon action_dim"]:
    """Action chunks of a dataset as training sees them: normalised, the last action repeated at the end.

    At most `MAX_FITTED_CHUNKS`, always the same ones. They are chosen before they are cut, because chunks overlap: all
    of them take `horizon` times the memory of the actions.
    """
    recorded = recorded or RecordedActions.read(config, dataset)
    flat = _normalised(recorded.values, config, dataset.stats.get(ACTION, {}))
    starts: np.ndarray = np.arange(len(flat))
    if len(flat) > MAX_FITTED_CHUNKS:
        starts = np.random.default_rng(0).choice(len(flat), MAX_FITTED_CHUNKS, replace=False)
    return flat[chunk_indices(recorded.episodes, config.chunk_size, starts)]


def report_rounding(
    config: InspireVLAConfig, tokenizer: ActionTokenizer | None, dataset: "LeRobotDatasetMetadata"
) -> None:
    """Log how far the action tokenizer moves the demonstrations' actions: a table, in the dataset's units.

    A warning names the values whose error is a large share of their spread. Grippers are left out of it, because one
    that closes a frame late has a large error; `check_gripper` tests them.

    tokenizer: None for a flow expert alone, whose actions no code rounds.
    """
    if tokenizer is None:
        return
    recorded = RecordedActions.read(config, dataset)
    error = recorded.rounded_by(tokenizer, config, dataset.stats.get(ACTION, {}))
    names = [recorded.name(i) for i in range(recorded.values.shape[1])]
    log.info(
        f"Error of the action tokenizer {tokenizer.name} in the dataset's units, of {counted(error.chunks, 'chunk')}:\n"
        f"{error.table(names)}"
    )
    large = [i for i in error.large() if i not in recorded.grippers]
    if not large:
        return
    coarse = ", ".join(
        f"{names[i]} (1 % of the errors are above {error.p99[i]:.3g}, its spread is {error.high[i] - error.low[i]:.3g})"
        for i in large
    )
    help_ = (
        "More codes (--policy.vq.levels=3, --policy.vq.codes_per_level=512), a shorter --policy.chunk_size or "
        "--policy.action_tokenizer=fast make it finer."
        if isinstance(tokenizer, ResidualVQ)
        else "Such values take up little of the range from −1 to 1: another --policy.normalization_mapping helps "
        "(MIN_MAX; QUANTILES where a few frames stretch the range)."
    )
    log.warning(f"The action tokenizer {tokenizer.name} is coarse for {coarse}. {help_}")


def check_gripper(
    config: InspireVLAConfig, tokenizer: ActionTokenizer | None, dataset: "LeRobotDatasetMetadata"
) -> None:
    """Check that the openings and closings of the demonstrations survive the action tokenizer.

    tokenizer: None for a flow expert alone, whose actions are numbers, which no code rounds.

    Raises InspireError where more than half of the changes in one direction are lost; logs a warning of fewer.
    """
    if tokenizer is None:
        return
    recorded = RecordedActions.read(config, dataset)
    lost = recorded.lost_by(tokenizer, config, dataset.stats.get(ACTION, {}))
    if not lost:
        return
    found = (
        f"The action tokenizer {tokenizer.name} loses {describe(lost, recorded.names)}: decoded, the gripper stays "
        "as it was."
    )
    help_ = (
        " More codes (--policy.vq.levels=3, --policy.vq.codes_per_level=512), more weight "
        "(--policy.vq.gripper_weight=8), a shorter --policy.chunk_size or --policy.action_tokenizer=fast keep more."
    )
    if any(one.count > MOST_LOST * one.total for one in lost):
        raise InspireError(found + help_)
    log.warning(found + help_)
