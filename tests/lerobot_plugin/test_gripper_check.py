"""Openings and closings of the demonstrations survive the action tokenizer, or the training is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets import LeRobotDataset, LeRobotDatasetMetadata

from inspire_vla.action_tokenizers import ResidualVQ
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.action_statistics import widen_statistics
from inspire_vla.lerobot_plugin.action_tokenizer_fit import check_gripper, fit_action_tokenizer
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.gripper_check import Levels, gripper_dimensions, lost_changes
from inspire_vla.lerobot_plugin.option_groups import VQConfig
from inspire_vla.lerobot_plugin.recorded_actions import RecordedActions

JOINTS = (*(f"joint_{i}.pos" for i in range(5)), "gripper.pos")
FRAMES = 120


def held(closed: float = 22, opened: float = 70) -> np.ndarray:
    """A position in percent that closes at frame 40 and opens at frame 80, over five frames."""
    return np.interp(np.arange(FRAMES), [40, 45, 80, 85], [opened, closed, closed, opened])


def pulses(length: int = 2) -> np.ndarray:
    """A trigger: −1 closes, +1 opens, 0 keeps."""
    values = np.zeros(FRAMES)
    values[40 : 40 + length], values[80 : 80 + length] = -1, 1
    return values


def near_constant() -> np.ndarray:
    """Closed for one frame in 120: below the 1st percentile."""
    values = np.full(FRAMES, 100.0)
    values[60] = 0
    return values


def recorded(root: Path, gripper: Any, episodes: int = 6, names: Any = JOINTS, noise: float = 40) -> Any:
    rng = np.random.default_rng(0)
    vector = {"dtype": "float32", "shape": (6,), "names": None if names is None else list(names)}
    dataset = LeRobotDataset.create("local/grip", 30, {"action": vector}, root=root, use_videos=False)
    for _ in range(episodes):
        phase, speed = rng.uniform(0, 6, 5), rng.uniform(0.02, 0.2, 5)
        for i, grip in enumerate(gripper() if callable(gripper) else gripper):
            joints = noise * np.sin(phase + speed * i) + rng.normal(0, noise / 4, 5)
            dataset.add_frame({"action": np.float32([*joints, grip]), "task": "grasp"})
        dataset.save_episode()
    dataset.finalize()
    return LeRobotDatasetMetadata("local/grip", root=root)


def config(horizon: int = 8, **options: Any) -> InspireVLAConfig:
    features = {"action": PolicyFeature(FeatureType.ACTION, (6,))}
    options = {"vq": VQConfig(levels=2, codes_per_level=32), **options}
    return InspireVLAConfig(output_features=features, chunk_size=horizon, n_action_steps=horizon, **options)


def survives(settings: InspireVLAConfig, meta: Any) -> Any:
    widen_statistics(settings, meta)
    tokenizer = fit_action_tokenizer(settings, meta)
    check_gripper(settings, tokenizer, meta)
    assert RecordedActions.read(settings, meta).lost_by(tokenizer, settings, meta.stats["action"]) == []
    return tokenizer


@pytest.mark.parametrize("gripper", [held, pulses, near_constant])
@pytest.mark.parametrize("tokenizer", ["residual_vq", "uniform_bins", "fast"])
def test_every_change_survives(tmp_path: Path, gripper: Any, tokenizer: str) -> None:
    survives(config(action_tokenizer=tokenizer), recorded(tmp_path / "data", gripper))


def test_the_plain_fit_loses_rare_pulses_and_the_mended_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Why the fit is mended: without it, closings decode to "keep", and the robot never grasps."""
    settings = config(vq=VQConfig(levels=2, codes_per_level=8))
    meta = recorded(tmp_path / "data", pulses, episodes=12)
    widen_statistics(settings, meta)
    actions = RecordedActions.read(settings, meta)
    low, high = meta.stats["action"]["q01"], meta.stats["action"]["q99"]
    normal = 2 * (actions.values - low) / (high - low) - 1
    starts = np.arange(len(normal) - 7)
    chunks = normal[starts[:, None] + np.arange(8)]
    plain = ResidualVQ.fit(chunks, codes_per_level=8, levels=2, dimension_weights=[1] * 5 + [2])
    lost = actions.lost_by(plain, settings, meta.stats["action"])
    assert (lost[0].level, lost[0].count, lost[0].total) == (-1, 12, 12)  # every closing
    with caplog.at_level("INFO"):
        mended = survives(settings, meta)
    assert "more weight on the gripper: the first fit lost" in caplog.text
    assert "changes of gripper.pos to" in caplog.text
    assert mended.vocabulary_size == plain.vocabulary_size


def test_quantiles_that_hide_the_gripper_are_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, meta = config(), recorded(tmp_path / "data", near_constant)
    assert meta.stats["action"]["q01"][5] == pytest.approx(100, abs=0.5)
    others = meta.stats["action"]["q01"][:5].copy()
    with caplog.at_level("INFO"):
        widen_statistics(settings, meta)
    assert (meta.stats["action"]["q01"][5], meta.stats["action"]["q99"][5]) == (0, 100)
    assert np.array_equal(meta.stats["action"]["q01"][:5], others)
    assert "minimum and maximum" in caplog.text
    before = meta.stats["action"]
    widen_statistics(settings, meta)
    assert meta.stats["action"] is before  # once is enough


def test_a_tokenizer_that_loses_the_gripper_is_refused(tmp_path: Path) -> None:
    """One code for everything cannot hold a closing."""
    settings, meta = config(vq=VQConfig(levels=1, codes_per_level=1)), recorded(tmp_path / "data", held)
    tokenizer = fit_action_tokenizer(settings, meta)
    with pytest.raises(
        InspireError, match=r"residual_vq loses 6 of 6 changes of gripper\.pos to 22.*--policy\.vq"
    ):
        check_gripper(settings, tokenizer, meta)


def test_fewer_losses_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, meta = config(), recorded(tmp_path / "data", held)
    good = fit_action_tokenizer(settings, meta)

    def decode(codes: Any) -> Any:
        decoded = good.decode(codes)
        decoded[: len(decoded) // 4, :, 5] = decoded[-1, -1, 5]
        return decoded

    check_gripper(settings, SimpleNamespace(name="some", encode=good.encode, decode=decode), meta)  # type: ignore[arg-type]
    assert "some loses" in caplog.text


def test_which_values_are_grippers() -> None:
    smooth = np.random.default_rng(0).normal(size=(50, 3))
    binary = np.concatenate([smooth[:, :2], np.sign(smooth[:, 2:])], axis=1)
    assert gripper_dimensions(JOINTS, np.zeros((3, 6))) == (5,)
    assert gripper_dimensions(("left_gripper", "x", "right_gripper.pos"), smooth) == (0, 2)
    assert gripper_dimensions((), binary) == (2,)
    assert gripper_dimensions((), smooth) == ()
    assert gripper_dimensions(("a", "b", "c"), binary) == ()  # the names say that it is none


def test_levels_do_not_depend_on_one_glitch() -> None:
    episodes = np.repeat(np.arange(100), 10)
    values = np.where(np.arange(1000) % 10 < 7, 70.0, 22.0)
    plain = Levels.of(values, episodes)
    assert plain == Levels(low=46, high=np.inf)
    values[500] = 4000
    assert Levels.of(values, episodes) == plain
    assert plain(np.array([70.0, 46.0, 45.0])).tolist() == [0, 0, -1]


def test_noise_is_no_gripper() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (400, 1)).astype(np.float32)
    assert lost_changes(noise, np.zeros(400, int), [0], 4, np.zeros_like) == []
