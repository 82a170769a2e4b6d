"""Which action tokenizer a fine-tuning goes on with: the checkpoint's, or one as the configuration says."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets import LeRobotDatasetMetadata

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, ResidualVQ, UniformBins
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin import action_tokenizer_fit
from inspire_vla.lerobot_plugin.action_tokenizer_fit import (
    choose_action_tokenizer,
    fit_action_tokenizer,
    normalised_chunks,
)
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.frame_cache import chunk_indices
from inspire_vla.lerobot_plugin.option_groups import VQConfig


@pytest.fixture
def saved() -> ResidualVQ:
    """The action tokenizer of a checkpoint: 2 levels of 8 codes."""
    chunks = np.random.default_rng(0).uniform(-1, 1, (64, 4, 7))
    return ResidualVQ.fit(chunks, codes_per_level=8, levels=2)


def configured(**options: Any) -> InspireVLAConfig:
    return InspireVLAConfig(output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))}, **options)


def sizes(tokenizer: Any) -> tuple[int, int]:
    return tokenizer.levels, tokenizer.codes_per_level


def test_another_size_of_the_vq_is_fitted_or_refused(saved: ResidualVQ, labelled_dataset: Path) -> None:
    meta = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset)
    own, other = VQConfig(levels=2, codes_per_level=8), VQConfig(levels=3, codes_per_level=6)
    kept = choose_action_tokenizer(configured(vq=own), saved, meta)
    assert np.array_equal(kept.codebooks, saved.codebooks)
    made = choose_action_tokenizer(configured(backbone="openvla", vq=other), saved, meta)
    assert sizes(made) == (3, 6)
    with pytest.raises(InspireError, match=r"row for each of its 16 action codes .*asks for 18"):
        choose_action_tokenizer(configured(vq=other), saved, meta)
    same_count = VQConfig(levels=1, codes_per_level=16)
    assert sizes(choose_action_tokenizer(configured(vq=same_count), saved, meta)) == (1, 16)


def test_acting_takes_what_the_checkpoint_holds(saved: ResidualVQ) -> None:
    assert sizes(choose_action_tokenizer(configured(), saved, None)) == (2, 8)
    with pytest.raises(
        InspireError, match=r"is residual_vq for 4 × 7 numbers, the configuration wants .* 2 × 7"
    ):
        choose_action_tokenizer(configured(chunk_size=2, n_action_steps=2), saved, None)


def test_bins_of_another_chunk_keep_the_grippers_turn(labelled_dataset: Path) -> None:
    meta = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset)
    saved = UniformBins(gripper=GRIPPER_CONVENTIONS["libero"])
    config = configured(backbone="openvla", action_tokenizer="uniform_bins", chunk_size=4)
    made = choose_action_tokenizer(config, saved, meta)
    assert (made.horizon, made.gripper) == (4, GRIPPER_CONVENTIONS["libero"])


def chunks_of(dataset: Path, meta: LeRobotDatasetMetadata, horizon: int) -> np.ndarray:
    """All chunks, frame by frame: by hand, quantiles to [-1, 1], the last action of an episode repeated."""
    table = pq.read_table(next((dataset / "data").rglob("*.parquet")))
    actions, episodes = np.array(table["action"].to_pylist(), np.float32), table["episode_index"].to_numpy()
    low, high = (np.float32(meta.stats["action"][name]) for name in ("q01", "q99"))
    actions = 2 * (actions - low) / (high - low) - 1
    ends = {episode: np.flatnonzero(episodes == episode)[-1] for episode in episodes}
    return np.array(
        [[actions[min(row + step, ends[e])] for step in range(horizon)] for row, e in enumerate(episodes)]
    )


def test_the_fit_takes_every_chunk_and_above_the_limit_the_same_ones(
    labelled_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: the codes of checkpoints that exist rest on it."""
    meta = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset)
    config = configured(vq=VQConfig(codes_per_level=8, gripper_weight=3.0))
    every, weights = chunks_of(labelled_dataset, meta, config.chunk_size), [1.0] * 6 + [3.0]
    np.testing.assert_allclose(normalised_chunks(config, meta), every, atol=1e-6)
    exact = normalised_chunks(config, meta)
    for limit, rows in (
        (len(every), np.arange(len(every))),
        (20, np.random.default_rng(0).choice(len(every), 20, replace=False)),
    ):
        monkeypatch.setattr(action_tokenizer_fit, "MAX_FITTED_CHUNKS", limit)
        made = fit_action_tokenizer(config, meta)
        assert isinstance(made, ResidualVQ)
        expected = ResidualVQ.fit(exact[rows], codes_per_level=8, levels=2, dimension_weights=weights)
        assert np.array_equal(made.codebooks, expected.codebooks)
        assert made.dimension_weights.tolist() == weights


def test_only_the_chunks_that_are_fitted_are_cut() -> None:
    episodes, starts = np.zeros(500_000, np.int64), np.array([7, 499_998])
    tracemalloc.start()
    places = chunk_indices(episodes, 64, starts)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert places[:, 0].tolist() == [7, 499_998]
    assert places[:, -1].tolist() == [70, 499_999]
    assert most < 500_000 * 64  # bytes; all places take eight times as much
