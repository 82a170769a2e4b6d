"""An image that LeRobot cannot decode during a training is named, also by a worker process."""

import re
from pathlib import Path

import pytest
from tests.lerobot_plugin.test_frame_cache import CAMERAS, film
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin import prepare


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_lerobot_cannot_decode_is_named(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a policy with an observation history: the images of others are decoded once, by this package."""
    root = film(tmp_path / "filmed")
    damaged = next((root / "videos" / CAMERAS[1]).rglob("*.mp4"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-300] + bytes(300))
    monkeypatch.setattr(prepare, "check_videos", lambda *_: None)  # it would find these zeros
    scaled = '{"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MIN_MAX"}'
    options = (
        "--policy.n_obs_steps=2", "--policy.reasoning.enabled=false", f"--num_workers={workers}",
        f"--policy.normalization_mapping={scaled}",
    )  # fmt: skip
    with pytest.raises(InspireError) as refused:
        run(root, tmp_path / "out", "--steps=50", *options)
    assert re.fullmatch(
        rf"{damaged} cannot be decoded at \d\.\d\d s or soon after, episode \d of {CAMERAS[1]}: .*\.",
        str(refused.value),
    )
