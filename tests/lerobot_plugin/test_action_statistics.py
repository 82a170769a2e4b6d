"""Recorded actions can be reached: normalised, encoded and decoded, they come back, wherever the episodes lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from lerobot.datasets import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.processor import NormalizerProcessorStep
from lerobot.processor.converters import create_transition

from inspire_vla.backbones.paligemma import state_texts
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.action_statistics import (
    check_action_range,
    complete_statistics,
    restrict_statistics,
    widen_statistics,
)
from inspire_vla.lerobot_plugin.action_tokenizer_fit import fit_action_tokenizer, report_rounding
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.option_groups import VQConfig
from inspire_vla.lerobot_plugin.recorded_actions import RecordedActions

EPISODES, FRAMES, HORIZON = 20, 60, 4
NAMES = ("pan", "lift", "roll", "gripper.pos")
FAR = (EPISODES, EPISODES + 1)
"""Episodes that lie elsewhere; a training may hold them out."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Degrees. Objects lie left and right: each episode moves 10° about its own place between −45° and 45°."""
    root, rng = tmp_path_factory.mktemp("places") / "data", np.random.default_rng(0)
    feature = {"dtype": "float32", "shape": (4,), "names": list(NAMES)}
    features = {"action": feature, "observation.state": feature}
    dataset = LeRobotDataset.create("local/places", 10, features, root=root, use_videos=False)
    for episode in range(EPISODES + len(FAR)):
        place = rng.uniform(-45, 45) + (500 if episode in FAR else 0)
        steps = np.arange(FRAMES) / FRAMES
        pan = place + 10 * np.sin(2 * np.pi * steps)
        lift = 20 + 0.3 * place + 15 * steps**2
        grip = np.where((steps > 0.3) & (steps < 0.7), 20.0, 70.0)
        for values in np.stack([pan, lift, 5 * np.cos(7 * steps), grip], axis=1).astype(np.float32):
            dataset.add_frame({"action": values, "observation.state": values, "task": "grasp"})
        dataset.save_episode()
    dataset.finalize()
    return root


def config(mode: str = "QUANTILES", tokenizer: str = "residual_vq", **options: Any) -> InspireVLAConfig:
    """Of a training that holds the far episodes out."""
    found = InspireVLAConfig(
        input_features={"observation.state": PolicyFeature(FeatureType.STATE, (4,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (4,))},
        chunk_size=HORIZON,
        n_action_steps=HORIZON,
        action_tokenizer=tokenizer,
        normalization_mapping={
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode(mode),
            "ACTION": NormalizationMode(mode),
        },
        **{"vq": VQConfig(levels=3, codes_per_level=128), **options},
    )
    found.runtime_episodes = frozenset(range(EPISODES))
    return found


def prepared(settings: InspireVLAConfig, root: Path) -> LeRobotDatasetMetadata:
    meta = LeRobotDatasetMetadata("local/places", root=root)
    restrict_statistics(settings, meta)
    complete_statistics(settings, meta)
    widen_statistics(settings, meta)
    check_action_range(settings, meta)
    return meta


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those of this package."""
    ours = (record for record in caplog.records if record.name.startswith("inspire_vla"))
    return [record.getMessage() for record in ours if record.levelname == "WARNING"]


@pytest.mark.parametrize("held_out", [True, False])
def test_quantiles_are_those_of_all_frames_that_are_trained_on(places: Path, held_out: bool) -> None:
    """LeRobot's are the mean of the episodes' own, so that a fifth of these frames would be clipped."""
    settings, meta = config(), LeRobotDatasetMetadata("local/places", root=places)
    lerobots = meta.stats["action"]
    if not held_out:
        settings.runtime_episodes = None
    values = RecordedActions.read(settings, meta).values
    outside = (values < lerobots["q01"]) | (values > lerobots["q99"])
    assert outside[:, 0].mean() > 0.2
    restrict_statistics(settings, meta)
    complete_statistics(settings, meta)
    for key in ("action", "observation.state"):
        stats = meta.stats[key]
        for name, share in {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}.items():
            np.testing.assert_allclose(stats[name], np.quantile(values, share, axis=0), rtol=1e-5)
        np.testing.assert_allclose(stats["mean"], values.mean(0, dtype=np.float64), rtol=1e-4, atol=1e-3)
    if not held_out:  # bit for bit: trainings by MEAN_STD rest on them
        assert np.array_equal(meta.stats["action"]["mean"], lerobots["mean"])
        assert np.array_equal(meta.stats["action"]["std"], lerobots["std"])


@pytest.mark.parametrize("tokenizer", ["residual_vq", "uniform_bins", "fast"])
@pytest.mark.parametrize("mode", ["QUANTILES", "MIN_MAX"])
def test_recorded_actions_come_back(places: Path, mode: str, tokenizer: str) -> None:
    settings = config(mode, tokenizer)
    meta = prepared(settings, places)
    recorded = RecordedActions.read(settings, meta)
    made = fit_action_tokenizer(settings, meta)
    starts = np.arange(len(recorded.values)).reshape(EPISODES, FRAMES)[:, : FRAMES - HORIZON + 1].ravel()
    chunks = recorded.values[starts[:, None] + np.arange(HORIZON)]
    low, high = (
        np.float32(meta.stats["action"][end])
        for end in (("q01", "q99") if mode == "QUANTILES" else ("min", "max"))
    )
    half = (high - low) / 2
    decoded = (made.decode(made.encode((chunks - low) / half - 1)) + 1) * half + low
    within = np.abs(decoded - chunks) <= half * 0.1
    least = 0.97 if mode == "QUANTILES" else 0.995
    assert (within.mean((0, 1)) >= least).all(), within.mean((0, 1))


def test_the_states_of_pi0fast_and_pi05_spread_over_the_bins(places: Path) -> None:
    """Their prompts write a state's bin; beyond the quantiles all states are alike."""
    settings = config()
    meta = prepared(settings, places)
    values = RecordedActions.read(settings, meta).values  # the states are the same
    step = NormalizerProcessorStep(
        features=settings.input_features,
        norm_map={FeatureType.STATE: NormalizationMode.QUANTILES},
        stats={"observation.state": meta.stats["observation.state"]},
    )
    state = step(create_transition(observation={"observation.state": torch.from_numpy(values)}))
    texts = state_texts(state["observation"]["observation.state"].numpy())
    bins = np.array([text.split() for text in texts], dtype=int)
    beyond = (bins < 0) | (bins > 254)
    assert (beyond[:, :2].mean(0) < 0.03).all()
    assert len(np.unique(bins[:, 0])) > 200


@pytest.mark.parametrize("mode", ["IDENTITY", "MEAN_STD", "QUANTILE10"])
def test_what_would_be_clipped_is_counted_in_every_mode(places: Path, mode: str) -> None:
    with pytest.raises(
        InspireError, match=rf"by {mode} they go from pan -.*% of the frames\).*MIN_MAX brings"
    ):
        prepared(config(mode), places)


def test_wrong_statistics_do_not_pass(places: Path) -> None:
    """The quantiles are of other frames than those that are trained on: the check looks at the frames."""
    settings, meta = config(), LeRobotDatasetMetadata("local/places", root=places)
    complete_statistics(settings, meta)
    for end in ("q01", "q99"):
        meta.stats["action"][end] = meta.stats["action"][end] / 2
    with pytest.raises(InspireError, match=r"by QUANTILES they go from pan -"):
        check_action_range(settings, meta)


def stretched(root: Path, far: float) -> LeRobotDatasetMetadata:
    """In four of 600 frames the second value, which is no gripper, is `far` from the others."""
    rng = np.random.default_rng(0)
    feature = {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]}
    dataset = LeRobotDataset.create("local/far", 10, {"action": feature}, root=root, use_videos=False)
    for episode in range(4):
        values = rng.uniform(-1, 1, (150, 3)).astype(np.float32)
        values[70, 1] = far if episode else 0.5 * far
        values[:, 2] = np.where(np.arange(150) == 70, far, 0)
        for action in values:
            dataset.add_frame({"action": action, "task": "grasp"})
        dataset.save_episode()
    dataset.finalize()
    return LeRobotDatasetMetadata("local/far", root=root)


def test_a_long_tail_is_a_warning_in_the_robots_units(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meta = stretched(tmp_path / "data", far=30)
    settings = config()
    settings.output_features["action"] = PolicyFeature(FeatureType.ACTION, (3,))
    settings.runtime_episodes = None
    complete_statistics(settings, meta)
    with caplog.at_level("INFO"):
        widen_statistics(settings, meta)
        check_action_range(settings, meta)
    (warning,) = warnings(caplog)
    assert "b from -0.9" in warning
    assert "0.7% of the frames lie beyond, by up to 29)" in warning
    assert "MIN_MAX" in warning
    assert " a from" not in warning
    # c has equal quantiles, and LeRobot would divide by their difference
    assert "Normalise c by minimum and maximum" in caplog.text
    assert (meta.stats["action"]["q01"][2], meta.stats["action"]["q99"][2]) == (0, 30)


@pytest.mark.parametrize("tokenizer", ["residual_vq", "uniform_bins", "fast"])
def test_the_error_is_told_for_each_value(
    places: Path, tokenizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(tokenizer=tokenizer)
    meta = prepared(settings, places)
    made = fit_action_tokenizer(settings, meta)
    error = RecordedActions.read(settings, meta).rounded_by(made, settings, meta.stats["action"])
    assert (error.p99[:3] < 0.1 * (error.high - error.low)[:3]).all()
    with caplog.at_level("INFO"):
        report_rounding(settings, made, meta)
    table = caplog.records[-1].message.splitlines()
    assert table[0].startswith(
        f"Error of the action tokenizer {tokenizer} in the dataset's units, of 1,200 chunks"
    )
    assert [line.split()[0] for line in table[2:]] == list(NAMES)
    assert table[2].split()[1:3] == [f"{error.rmse[0]:.3g}", f"{error.p99[0]:.3g}"]
    assert not warnings(caplog)


def test_a_coarse_tokenizer_is_a_warning(places: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = config(vq=VQConfig(levels=1, codes_per_level=2))
    meta = prepared(settings, places)
    report_rounding(settings, fit_action_tokenizer(settings, meta), meta)
    (warning,) = warnings(caplog)
    assert "residual_vq is coarse for pan (1 % of the errors are above" in warning
    assert "--policy.vq.levels=3" in warning
    assert "gripper" not in warning
