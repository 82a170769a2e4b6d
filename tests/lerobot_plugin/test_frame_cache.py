"""Decoded images are the dataset's, decoded once, and not kept where that would change the training."""

import os
import pickle
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.datasets import LeRobotDataset
from lerobot.transforms import ImageTransformConfig, ImageTransforms, ImageTransformsConfig
from tests.lerobot_plugin.conftest import SIZE

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin import frame_cache
from inspire_vla.lerobot_plugin.frame_cache import FrameCache, decode_video, resized

IMAGE = "observation.images.image"
COLUMNS = ("observation.state", "observation.answers.direction")
CAMERAS = ("observation.images.front", "observation.images.wrist")


def opened(root: Path, **options: object) -> LeRobotDataset:
    times = {"action": [i / 10 for i in range(4)]}
    return LeRobotDataset("local/tiny", root=root, delta_timestamps=times, return_uint8=True, **options)  # type: ignore[arg-type]


def loaded(dataset: LeRobotDataset, folder: Path, **options: Any) -> FrameCache:
    cache = FrameCache(dataset)
    assert cache.load(horizon=4, folder=folder, **{"cameras": [IMAGE], "columns": COLUMNS, **options})
    return cache


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of 20 frames, two cameras of video, each frame of another colour."""
    root = tmp_path_factory.mktemp("filmed") / "data"
    return film(root)


def film(root: Path, shift: int = 0) -> Path:
    video = {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]}
    features = {**dict.fromkeys(CAMERAS, video), "action": {"dtype": "float32", "shape": (7,), "names": None}}
    dataset = LeRobotDataset.create("local/film", 10, features, root=root, use_videos=True)
    for episode in range(4):
        for i in range(20):
            colour = 12 * i + shift
            images = {CAMERAS[0]: np.full((64, 96, 3), colour, np.uint8)}
            images[CAMERAS[1]] = np.full((64, 96, 3), (colour, 60 * episode, 255 - colour), np.uint8)
            dataset.add_frame({**images, "action": np.full(7, i, np.float32), "task": "wave"})
        dataset.save_episode()
    dataset.finalize()
    return root


def test_a_folder_that_cannot_be_written_ends_no_training(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = opened(labelled_dataset)
    (tmp_path / "file").touch()
    folder, temporary = tmp_path / "file" / "images", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for _ in range(2):  # the second finds what the first decoded
        item = loaded(dataset, folder)[5]
        torch.testing.assert_close(item[IMAGE].float() / 255, dataset[5][IMAGE])
        assert f"cannot be kept in {folder} (Not a directory): they are kept in {temporary}" in caplog.text
        assert len(list(temporary.rglob("*.npy"))) == 1
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    cache = FrameCache(dataset)
    assert not cache.load(horizon=4, folder=folder, cameras=[IMAGE], columns=COLUMNS)
    torch.testing.assert_close(cache[5][IMAGE].float() / 255, dataset[5][IMAGE])
    assert "they are decoded in every step" in caplog.text


def test_a_kept_file_that_may_not_be_changed_is_used(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(labelled_dataset)
    loaded(dataset, tmp_path)

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.utime", refuse)
    loaded(dataset, tmp_path)


def test_items_are_those_of_the_dataset(labelled_dataset: Path, tmp_path: Path) -> None:
    dataset = opened(labelled_dataset)
    cache = loaded(dataset, tmp_path)
    assert len(cache) == len(dataset)
    for place in (0, 5, 10, 11, 12, 47):
        slow, quick = dataset[place], cache[place]
        assert quick.keys() == {IMAGE, *COLUMNS, "action", "action_is_pad", "task", "index"}
        for key in quick:
            value = quick[key]
            if key == IMAGE:
                value = value.float() / 255
            if key == "task":
                assert value == slow[key]
            else:
                torch.testing.assert_close(value, slow[key])


@pytest.mark.parametrize("episodes", [None, [1, 3], [2]])
@pytest.mark.parametrize("size", [None, (32, 48)])
def test_videos_are_decoded_as_lerobot_decodes_them(
    filmed: Path, tmp_path: Path, episodes: list[int] | None, size: tuple[int, int] | None
) -> None:
    """Episodes share a file; those that are not used are jumped over."""
    dataset = opened(filmed, episodes=episodes)
    cache = loaded(dataset, tmp_path, cameras=CAMERAS, columns=(), image_size=size)
    for row in range(len(dataset)):
        for camera in CAMERAS:
            want = resized(dataset[row][camera].float(), size).round().to(torch.uint8)
            assert torch.equal(cache[row][camera], want), (row, camera)


def test_only_cameras_that_are_used_are_decoded(filmed: Path, tmp_path: Path) -> None:
    loaded(opened(filmed), tmp_path, cameras=CAMERAS[:1], columns=())
    assert [path.name[:5] for path in tmp_path.glob("*.npy")] == ["front"]


def test_a_second_training_decodes_nothing(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the dataset was moved, or its labels were written anew: the videos are the same."""
    first = loaded(opened(filmed), tmp_path / "kept", cameras=CAMERAS, columns=())
    moved = tmp_path / "moved"
    moved.symlink_to(filmed)

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(frame_cache, "decode_video", refuse)
    again = loaded(opened(moved), tmp_path / "kept", cameras=CAMERAS, columns=())
    assert torch.equal(again[33][CAMERAS[1]], first[33][CAMERAS[1]])


def items(cache: FrameCache, camera: str) -> torch.Tensor:
    return torch.stack([cache[row][camera] for row in range(len(cache))])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of the decoder was asked for."""
    counts: list[int] = []

    def counted(path: Path, times: list[float], *more: Any) -> Any:
        counts.append(len(times))
        return decode_video(path, times, *more)

    monkeypatch.setattr(frame_cache, "decode_video", counted)
    return counts


@pytest.mark.parametrize("episodes", [[1, 3], [0, 1, 2], [2]])
@pytest.mark.parametrize("size", [None, (32, 48)])
def test_other_episodes_of_the_same_videos_decode_nothing(
    filmed: Path, tmp_path: Path, decoded: list[int], episodes: list[int], size: tuple[int, int] | None
) -> None:
    """As `inspire train --holdout` after a training on all episodes, or on more of them."""
    options = {"cameras": CAMERAS, "columns": (), "image_size": size}
    wanted = loaded(opened(filmed, episodes=episodes), tmp_path / "alone", **options)
    loaded(opened(filmed), tmp_path / "kept", **options)
    del decoded[:]
    cache = loaded(opened(filmed, episodes=episodes), tmp_path / "kept", **options)
    assert not decoded
    assert len(list((tmp_path / "kept").glob("*.npy"))) == len(CAMERAS)
    for camera in CAMERAS:
        assert torch.equal(items(cache, camera), items(wanted, camera))
    again = pickle.loads(pickle.dumps(cache))
    assert torch.equal(items(again, CAMERAS[1]), items(wanted, CAMERAS[1]))


def test_more_episodes_decode_only_the_others(filmed: Path, tmp_path: Path, decoded: list[int]) -> None:
    options = {"cameras": CAMERAS[1:], "columns": ()}
    wanted = loaded(opened(filmed), tmp_path / "alone", **options)
    loaded(opened(filmed, episodes=[0, 3]), tmp_path / "kept", **options)
    loaded(opened(filmed, episodes=[1]), tmp_path / "kept", **options)
    del decoded[:]
    cache = loaded(opened(filmed), tmp_path / "kept", **options)
    assert decoded == [20]
    assert torch.equal(items(cache, CAMERAS[1]), items(wanted, CAMERAS[1]))


def test_image_files_are_read_once_too(
    labelled_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = loaded(opened(labelled_dataset, episodes=[1, 2]), tmp_path / "alone")
    loaded(opened(labelled_dataset), tmp_path / "kept")
    monkeypatch.setattr(frame_cache, "_scaled", lambda *_: pytest.fail("decoded again"))
    cache = loaded(opened(labelled_dataset, episodes=[1, 2]), tmp_path / "kept")
    assert torch.equal(items(cache, IMAGE), items(wanted, IMAGE))


def test_episodes_of_changed_videos_or_another_size_are_decoded_again(
    filmed: Path, tmp_path: Path, decoded: list[int]
) -> None:
    """Frames of the changed videos have the same times."""
    options = {"cameras": CAMERAS[1:], "columns": ()}
    other = film(tmp_path / "other", shift=9)
    loaded(opened(filmed), tmp_path / "kept", **options)
    wanted = loaded(opened(other, episodes=[2]), tmp_path / "alone", **options)
    del decoded[:]
    cache = loaded(opened(other, episodes=[2]), tmp_path / "kept", **options)
    assert decoded == [20]
    assert torch.equal(items(cache, CAMERAS[1]), items(wanted, CAMERAS[1]))
    small = loaded(opened(filmed, episodes=[2]), tmp_path / "kept", **options, image_size=(16, 24))
    assert decoded == [20, 20]
    assert small[0][CAMERAS[1]].shape == (3, 16, 24)


def test_other_videos_are_decoded_again(filmed: Path, tmp_path: Path) -> None:
    other = film(tmp_path / "other", shift=9)
    for root in (filmed, other):
        loaded(opened(root), tmp_path / "kept", cameras=CAMERAS[:1], columns=())
    loaded(opened(filmed), tmp_path / "kept", cameras=CAMERAS[:1], columns=(), image_size=(16, 16))
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 3


def test_a_file_that_is_not_whole_is_written_again(filmed: Path, tmp_path: Path) -> None:
    first = loaded(opened(filmed), tmp_path, cameras=CAMERAS[:1], columns=())
    want = first[50][CAMERAS[0]].clone()
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:1000])
    again = loaded(opened(filmed), tmp_path, cameras=CAMERAS[:1], columns=())
    assert torch.equal(again[50][CAMERAS[0]], want)


def test_two_trainings_at_once_decode_once(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [], decode_video

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        time.sleep(0.2)
        return original(*arguments)

    monkeypatch.setattr(frame_cache, "decode_video", counted)
    datasets = [opened(filmed), opened(filmed)]
    threads = [
        threading.Thread(target=loaded, args=(d, tmp_path), kwargs={"cameras": CAMERAS[:1], "columns": ()})
        for d in datasets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy"]


def test_files_that_no_training_uses_are_removed(filmed: Path, tmp_path: Path) -> None:
    unused = tmp_path / "front_own_0.npy"
    unused.write_bytes(b"")
    long_ago = time.time() - 86_400 * (frame_cache.KEPT_DAYS + 1)
    os.utime(unused, (long_ago, long_ago))
    loaded(opened(filmed), tmp_path, cameras=CAMERAS[:1], columns=())
    assert not unused.exists()
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_a_damaged_video_and_a_missing_image_are_refused_by_file(filmed: Path, tmp_path: Path) -> None:
    film_file = next((filmed / "videos" / CAMERAS[0]).rglob("*.mp4"))
    with pytest.raises(InspireError, match=r"has no image at 9\.0000 s.*nearest is at 7\.9000 s"):
        list(decode_video(film_file, [0.0, 9.0], 1e-4))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film_file.read_bytes()[:900])
    with pytest.raises(InspireError, match=r"broken\.mp4 cannot be decoded"):
        list(decode_video(broken, [0.0], 1e-4))
    damaged = tmp_path / "damaged"
    shutil.copytree(filmed, damaged)
    film_file = next((damaged / "videos" / CAMERAS[0]).rglob("*.mp4"))
    content = film_file.read_bytes()
    film_file.write_bytes(content[:-300] + bytes(300))
    with pytest.raises(InspireError, match=rf"{film_file} .* s.*, episode 3 of {CAMERAS[0]}"):
        loaded(opened(damaged), tmp_path / "cache", cameras=CAMERAS, columns=())


def test_worker_processes_map_the_same_file(labelled_dataset: Path, tmp_path: Path) -> None:
    """A DataLoader pickles its dataset where processes are spawned."""
    cache = loaded(opened(labelled_dataset), tmp_path, image_size=(512, 512))
    pickled = pickle.dumps(cache)
    assert len(pickled) < 3 * 512 * 512
    again = pickle.loads(pickled)
    assert torch.equal(again[7][IMAGE], cache[7][IMAGE])
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
        IMAGE: {"dtype": "image", "shape": shape, "names": names},
        "action": {"dtype": "float32", "shape": (7,), "names": None},
    }
    dataset = LeRobotDataset.create("local/wide", 10, features, root=tmp_path / "data", use_videos=False)
    for _ in range(5):
        given = image.transpose(2, 0, 1) if channels_first else image
        dataset.add_frame({IMAGE: given, "action": np.zeros(7, np.float32), "task": "wave"})
    dataset.save_episode()
    dataset.finalize()
    cache = loaded(opened(tmp_path / "data"), tmp_path / "kept", columns=())
    assert torch.equal(cache[3][IMAGE], torch.from_numpy(image).permute(2, 0, 1))


@pytest.mark.parametrize("videos", [True, False])
def test_augmented_images_are_those_of_lerobot(
    labelled_dataset: Path, filmed: Path, tmp_path: Path, videos: bool
) -> None:
    """The same draw changes the image as in LeRobot's own dataset. Each reading draws again; noise is for floats."""
    changes = {
        "brightness": ImageTransformConfig(type="ColorJitter", kwargs={"brightness": [0.3, 0.9]}),
        "noise": ImageTransformConfig(type="GaussianNoise", kwargs={"std": [5.0, 25.0]}),
    }
    augment = ImageTransforms(ImageTransformsConfig(enable=True, max_num_transforms=2, tfs=changes))
    root, camera = (filmed, CAMERAS[0]) if videos else (labelled_dataset, IMAGE)
    dataset = opened(root, image_transforms=augment)
    cache = loaded(dataset, tmp_path, cameras=[camera], columns=())
    torch.manual_seed(3)
    want = dataset[5][camera]
    torch.manual_seed(3)
    first, second = cache[5][camera], cache[5][camera]
    assert want.dtype == first.dtype
    torch.testing.assert_close(first, want)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("limit", ["memory", "disk"])
@pytest.mark.parametrize("size", [None, (16, 16)])
def test_images_of_image_files_that_take_too_much_are_decoded_when_they_are_read(
    labelled_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: str,
    size: tuple[int, int] | None,
) -> None:
    """Items are the same as with decoded images, also in another process."""
    options: dict[str, Any] = {"horizon": 4, "cameras": [IMAGE], "columns": COLUMNS, "image_size": size}
    dataset = opened(labelled_dataset, episodes=[0, 2])
    kept = loaded(dataset, tmp_path / "first", image_size=size)
    take_half_of(monkeypatch, limit, len(dataset) * 3 * (size or (SIZE, SIZE))[0] ** 2)
    cache = FrameCache(dataset)
    assert not cache.load(**options, folder=tmp_path / "kept")
    assert f"{len(dataset)} frames" in caplog.text
    assert "--policy.image_size" in caplog.text
    assert not (tmp_path / "kept").exists()
    for one in (cache, pickle.loads(pickle.dumps(cache))):
        for row in range(len(dataset)):
            want, found = kept[row], one[row]
            assert found.keys() == want.keys()
            for key in want:
                if isinstance(want[key], str):
                    assert found[key] == want[key]
                else:
                    assert found[key].dtype == want[key].dtype
                    assert torch.equal(found[key], want[key]), (row, key)


def test_videos_that_take_too_much_stay_lerobots(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(filmed)
    take_half_of(monkeypatch, "memory", len(dataset) * 3 * 64 * 96)
    cache = FrameCache(dataset)
    assert not cache.load(horizon=4, cameras=CAMERAS[:1], folder=tmp_path / "kept")
    assert cache[3].keys() == dataset[3].keys()
    assert cache.load(horizon=4, cameras=CAMERAS[:1], image_size=(16, 16), folder=tmp_path / "kept")


def take_half_of(monkeypatch: pytest.MonkeyPatch, limit: str, needed: int) -> None:
    """Let images of `needed` bytes take just more than half of the memory or of the disk."""
    if limit == "memory":
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=2 * needed - 2))
    else:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2 * needed - 2))
