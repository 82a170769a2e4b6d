"""Frames in memory are the frames of the dataset, and are not kept where that would change the training."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lerobot.datasets import LeRobotDataset

from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.training import FrameCache, fits_in_memory, in_memory


def opened(root: Path, **options: object) -> LeRobotDataset:
    times = {"action": [i / 10 for i in range(4)]}
    return LeRobotDataset("local/tiny", root=root, delta_timestamps=times, **options)  # type: ignore[arg-type]


def test_frames_in_memory_are_the_frames_of_the_dataset(labelled_dataset: Path) -> None:
    dataset = opened(labelled_dataset)
    cache = FrameCache(dataset, horizon=4)
    assert len(cache) == len(dataset)
    for place in (0, 5, 10, 11, 12, 47):
        slow, quick = dataset[place], cache[place]
        for key in quick:
            value = quick[key]
            if key == "observation.images.image":
                value = value.float() / 255
            if key == "task":
                assert value == slow[key]
            else:
                torch.testing.assert_close(value, slow[key])


def test_worker_processes_get_it_whole(labelled_dataset: Path) -> None:
    """A DataLoader pickles its dataset where processes are spawned."""
    cache = FrameCache(opened(labelled_dataset), horizon=4)
    again = pickle.loads(pickle.dumps(cache))
    assert torch.equal(again[7]["observation.images.image"], cache[7]["observation.images.image"])
    assert again.num_episodes == cache.num_episodes == 4  # asked of the dataset itself
    with pytest.raises(AttributeError):
        FrameCache.__new__(FrameCache).num_episodes


@pytest.mark.parametrize("channels_first", [False, True])
def test_images_are_as_large_as_they_are(channels_first: bool, tmp_path: Path) -> None:
    """32 × 48 pixels, declared as (32, 48, 3) or as (3, 32, 48)."""
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    shape, names = (32, 48, 3), ["height", "width", "channels"]
    if channels_first:
        shape, names = (3, 32, 48), ["channels", "height", "width"]
    features = {
        "observation.images.image": {"dtype": "image", "shape": shape, "names": names},
        "action": {"dtype": "float32", "shape": (7,), "names": None},
    }
    dataset = LeRobotDataset.create("local/wide", 10, features, root=tmp_path / "data", use_videos=False)
    for _ in range(5):
        given = image.transpose(2, 0, 1) if channels_first else image
        dataset.add_frame(
            {"observation.images.image": given, "action": np.zeros(7, np.float32), "task": "wave"}
        )
    dataset.save_episode()
    dataset.finalize()
    cache = FrameCache(opened(tmp_path / "data"), horizon=4)
    assert torch.equal(cache[3]["observation.images.image"], torch.from_numpy(image).permute(2, 0, 1))


def test_images_that_change_each_time_are_not_kept(labelled_dataset: Path) -> None:
    plain, augmented = (
        opened(labelled_dataset),
        opened(labelled_dataset, image_transforms=torch.nn.Identity()),
    )
    assert fits_in_memory(plain)
    assert not fits_in_memory(augmented)
    assert not fits_in_memory(SimpleNamespace(image_transforms=None))  # a stream
    assert not fits_in_memory(None)  # no dataset for evaluation
    train, held_out = in_memory(InspireVLAConfig(), (augmented, plain))
    assert train is augmented
    assert isinstance(held_out, FrameCache)
