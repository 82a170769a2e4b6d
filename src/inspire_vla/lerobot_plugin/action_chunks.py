"""The action tokenizer of a policy: fitted on the demonstrations' chunks, stored beside the weights."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from lerobot.configs import FeatureType
from lerobot.processor import NormalizerProcessorStep
from lerobot.utils.constants import ACTION

from inspire_vla.action_tokenizers import ActionTokenizer, Fast, ResidualVQ, UniformBins
from inspire_vla.action_tokenizers import load_action_tokenizer as load_any
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata

FOLDER = "action_tokenizer"
LARGEST_FIT = 200_000  # chunks; more do not move the means, they only cost time


def fit_action_tokenizer(config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata") -> ActionTokenizer:
    """Make the configured action tokenizer for a dataset, on normalised action chunks."""
    horizon, action_dim = config.chunk_size, config.action_feature.shape[0]
    if config.action_tokenizer == UniformBins.name:
        return UniformBins(horizon=horizon, action_dim=action_dim)
    if config.action_tokenizer == "learned_vq":
        raise InspireError(
            "A learned VQ comes with MiniVLA's weights; a new one is not trained here: residual_vq is."
        )
    chunks = normalised_chunks(config, dataset)
    if config.action_tokenizer == Fast.name:
        return Fast.fit(chunks)
    weights = np.ones(action_dim)
    weights[-1] = config.vq.gripper_weight
    return ResidualVQ.fit(
        chunks,
        codes_per_level=config.vq.codes_per_level,
        levels=config.vq.levels,
        dimension_weights=weights.tolist(),
    )


def load_action_tokenizer(
    config: InspireVLAConfig, checkpoint: Path, dataset: "LeRobotDatasetMetadata | None" = None
) -> ActionTokenizer:
    """Load the action tokenizer of a checkpoint folder.

    Fine-tuning may ask for another kind, horizon, action or size of the VQ than the checkpoint's; it is then made anew
    on `dataset`.

    Raises:
        InspireError: it is not there; it is another and there is no dataset; it would have another number of codes, and
            the checkpoint's weights hold a row for each code.
    """
    folder = checkpoint / FOLDER
    if not folder.is_dir():
        raise InspireError(f"{checkpoint} holds no {FOLDER}/ folder: it is not a checkpoint of inspire_vla.")
    found = load_any(folder)
    wanted = config.action_tokenizer, config.chunk_size, config.action_feature.shape[0]
    same = (found.name, found.horizon, found.action_dim) == wanted
    if dataset is None:
        if same:
            return found
        raise InspireError(
            f"The checkpoint's action tokenizer is {found.name} for {found.horizon} × {found.action_dim} numbers, the "
            f"configuration wants {wanted[0]} for {wanted[1]} × {wanted[2]}."
        )
    if isinstance(found, ResidualVQ):
        same &= (found.levels, found.codes_per_level) == (config.vq.levels, config.vq.codes_per_level)
    if same:
        return found
    made = fit_action_tokenizer(config, dataset)
    if isinstance(found, UniformBins) and isinstance(made, UniformBins):
        made.gripper = found.gripper  # the same bins, in the same words
    if config.learns_codes and made.vocabulary_size != found.vocabulary_size:
        raise InspireError(
            f"The checkpoint's weights hold a row for each of its {found.vocabulary_size} action codes ({found.name}); "
            f"the configuration asks for {made.vocabulary_size} ({made.name}). Fine-tune with the checkpoint's own "
            "--policy.action_tokenizer and --policy.vq, or train from the start."
        )
    return made


def normalised_chunks(
    config: InspireVLAConfig, dataset: "LeRobotDatasetMetadata"
) -> Float[np.ndarray, "chunks horizon action_dim"]:
    """Action chunks of a dataset as training sees them: normalised, the last action repeated at the end.

    All of them, or `LARGEST_FIT` drawn always alike: chosen before they are cut, since chunks overlap and together take
    `horizon` times the memory of the actions.
    """
    actions, episodes = [], []
    for file in sorted((Path(dataset.root) / "data").rglob("*.parquet")):
        table = pq.read_table(file, columns=[ACTION, "episode_index"])
        actions.append(np.array(table[ACTION].to_pylist(), dtype=np.float32))
        episodes.append(table["episode_index"].to_numpy())
    if not actions:
        raise InspireError(f"The dataset {dataset.root} holds no actions to fit the action tokenizer on.")
    normaliser = NormalizerProcessorStep(
        features={ACTION: config.action_feature},
        norm_map={FeatureType.ACTION: config.normalization_mapping["ACTION"]},
        stats={ACTION: dataset.stats[ACTION]},
    )
    flat = normaliser._normalize_action(torch.from_numpy(np.concatenate(actions)), inverse=False).numpy()
    starts: np.ndarray = np.arange(len(flat))
    if len(flat) > LARGEST_FIT:
        starts = np.random.default_rng(0).choice(len(flat), LARGEST_FIT, replace=False)
    return flat[chunk_places(np.concatenate(episodes), config.chunk_size, starts)]


def chunk_places(episodes: np.ndarray, horizon: int, starts: np.ndarray | None = None) -> np.ndarray:
    """(starts, horizon) row numbers of the chunk that begins at each of `starts`, by default at every row.

    `episodes` says which episode each row belongs to: beyond its end the last row is repeated.
    """
    if starts is None:
        starts = np.arange(len(episodes))
    last = np.flatnonzero(np.append(episodes[1:] != episodes[:-1], True))
    end_of = last[np.searchsorted(last, starts)]
    return np.minimum(starts[:, None] + np.arange(horizon), end_of[:, None])
