"""A checkpoint that is trained further keeps its statistics on its own dataset; on another one, what moves is said."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from lerobot.configs import NormalizationMode
from lerobot.datasets import LeRobotDatasetMetadata
from safetensors.numpy import load_file, save_file
from tests.lerobot_plugin.conftest import write_dataset

from inspire_vla.lerobot_plugin.checkpoint_statistics import statistics_of
from inspire_vla.lerobot_plugin.configuration_inspire_vla import load_config
from inspire_vla.lerobot_plugin.prepare import prepare
from inspire_vla.lerobot_plugin.processor_inspire_vla import load_parts


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """Of a training on `labelled_dataset`, with the quantiles of another version: twice as wide."""
    folder = shutil.copytree(trained / "checkpoints/000003/pretrained_model", tmp_path / "checkpoint")
    (file,) = folder.glob("policy_preprocessor_step_*_normalizer_processor.safetensors")
    stats = load_file(file)
    stats["action.q01"], stats["action.q99"] = stats["action.q01"] * 2, stats["action.q99"] * 2
    save_file(stats, file)
    return Path(folder)


def prepared(
    checkpoint: Path, dataset: Path, episodes: frozenset[int] | None = None
) -> LeRobotDatasetMetadata:
    config = load_config(checkpoint)
    config.pretrained_path, config.runtime_episodes = checkpoint, episodes
    config.normalization_mapping["ACTION"] = NormalizationMode.QUANTILES
    meta = LeRobotDatasetMetadata("local/tiny", root=dataset)
    prepare(config, meta, load_parts(checkpoint))
    return meta


@pytest.mark.parametrize("episodes", [None, frozenset({0, 1, 2})], ids=["all", "held out"])
def test_on_the_dataset_that_it_was_trained_on_its_statistics_are_kept(
    checkpoint: Path,
    labelled_dataset: Path,
    episodes: frozenset[int] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        meta = prepared(checkpoint, labelled_dataset, episodes)
    saved = statistics_of(checkpoint)
    for key in ("action", "observation.state"):
        for name, values in meta.stats[key].items():
            np.testing.assert_array_equal(values, saved[key][name])
    assert "its statistics are kept" in caplog.text
    assert "other statistics" not in caplog.text


def test_on_another_dataset_the_new_ones_are_taken_and_what_moves_is_said(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_dataset(tmp_path / "other", frames=13)
    meta = prepared(checkpoint, other)
    assert (meta.stats["action"]["q99"] < 0.75 * statistics_of(checkpoint)["action"]["q99"]).all()
    assert "other statistics" in caplog.text
    assert "action a0 from " in caplog.text
    assert "its statistics are kept" not in caplog.text
