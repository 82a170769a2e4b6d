"""Which action tokenizer a fine-tuning goes on with: the checkpoint's, or one as the configuration says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets import LeRobotDatasetMetadata

from inspire_vla.action_tokenizers import GRIPPERS, ResidualVQ, UniformBins
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.action_chunks import FOLDER, load_action_tokenizer
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, VQConfig


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """One whose VQ has 2 levels of 8 codes."""
    chunks = np.random.default_rng(0).uniform(-1, 1, (64, 4, 7))
    ResidualVQ.fit(chunks, codes_per_level=8, levels=2).save(tmp_path / FOLDER)
    return tmp_path


def configured(**options: Any) -> InspireVLAConfig:
    return InspireVLAConfig(output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))}, **options)


def sizes(tokenizer: Any) -> tuple[int, int]:
    return tokenizer.levels, tokenizer.codes_per_level


def test_another_size_of_the_vq_is_fitted_or_refused(checkpoint: Path, labelled_dataset: Path) -> None:
    meta = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset)
    own, other = VQConfig(levels=2, codes_per_level=8), VQConfig(levels=3, codes_per_level=6)
    kept = load_action_tokenizer(configured(vq=own), checkpoint, meta)
    assert np.array_equal(kept.codebooks, ResidualVQ.load(checkpoint / FOLDER).codebooks)
    made = load_action_tokenizer(configured(backbone="openvla", vq=other), checkpoint, meta)
    assert sizes(made) == (3, 6)
    with pytest.raises(InspireError, match=r"row for each of its 16 action codes .*asks for 18"):
        load_action_tokenizer(configured(vq=other), checkpoint, meta)
    same_count = VQConfig(levels=1, codes_per_level=16)
    assert sizes(load_action_tokenizer(configured(vq=same_count), checkpoint, meta)) == (1, 16)


def test_acting_takes_what_the_checkpoint_holds(checkpoint: Path) -> None:
    assert sizes(load_action_tokenizer(configured(), checkpoint)) == (2, 8)
    with pytest.raises(
        InspireError, match=r"is residual_vq for 4 × 7 numbers, the configuration wants .* 2 × 7"
    ):
        load_action_tokenizer(configured(chunk_size=2, n_action_steps=2), checkpoint)


def test_bins_of_another_chunk_keep_the_grippers_turn(tmp_path: Path, labelled_dataset: Path) -> None:
    meta = LeRobotDatasetMetadata("local/tiny", root=labelled_dataset)
    UniformBins(gripper=GRIPPERS["libero"]).save(tmp_path / FOLDER)
    config = configured(backbone="openvla", action_tokenizer="uniform_bins", chunk_size=4)
    made = load_action_tokenizer(config, tmp_path, meta)
    assert (made.horizon, made.gripper) == (4, GRIPPERS["libero"])
