"""The action tokenizer of a policy, fitted on demonstrated actions so that it keeps the gripper."""

import logging
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from lerobot.utils.constants import ACTION

from inspire_vla.action_tokenizers import ActionTokenizer, Fast, ResidualVQ, UniformBins
from inspire_vla.errors import InspireError, counted
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.frame_cache import chunk_indices
from inspire_vla.lerobot_plugin.gripper_check import MOST_LOST, chunks_with_changes, describe
from inspire_vla.lerobot_plugin.recorded_actions import RecordedActions, normalised

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata

log = logging.getLogger(__name__)
MAX_FITTED_CHUNKS = 200_000
"""More chunks do not move the means; they only cost time."""


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
    rare_chunks = normalised(recorded.values, config, dataset.stats[ACTION])[
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
    flat = normalised(recorded.values, config, dataset.stats.get(ACTION, {}))
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
