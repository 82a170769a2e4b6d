"""The images of a dataset, decoded once. LeRobot decodes each image again whenever it is trained on.

    videos ──in order──▶ scaled to the policy's size ──▶ one .npy file for each camera, mapped into memory

The files are kept beside the cache of the `datasets` library ($HF_DATASETS_CACHE), never in the dataset. Each lists its
frames by a hash of what they were decoded from. So trainings on the same videos share them, also if they train on other
episodes of a dataset, and changed videos are decoded again.

Where they are too large, images of image files are decoded when they are read, which takes a seventh of the time of
LeRobot's own items (benchmarks/reading_items.py); items with videos stay LeRobot's.
"""

import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num, UInt8, UInt64
from lerobot.datasets import LeRobotDataset
from lerobot.utils.constants import ACTION
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from inspire_vla.errors import counted, reason_of
from inspire_vla.files import atomic_path, file_sha256, folder_lock, remove
from inspire_vla.labels.video import decode_video
from inspire_vla.lerobot_plugin.named_images import with_floats

log = logging.getLogger(__name__)

FORMAT = 2
"""Part of every hash: a change of how images are decoded or scaled counts it up."""
KEPT_DAYS = 30
"""Files that no training has used for so long are removed."""


def cache_folder() -> Path:
    """The folder of the decoded images."""
    from datasets.config import HF_DATASETS_CACHE

    return Path(HF_DATASETS_CACHE) / "inspire_vla_images"


def resized(
    images: Float[Tensor, "*batch 3 height width"], size: tuple[int, int] | None
) -> Float[Tensor, "*batch 3 new_height new_width"]:
    """Images of `size` (height, width), antialiased; unchanged for None. The aspect ratio follows the size."""
    if size is None or tuple(images.shape[-2:]) == tuple(size):
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    small = F.interpolate(flat, size=tuple(size), mode="bilinear", antialias=True)
    return small.reshape(*images.shape[:-2], *small.shape[-2:])


def chunk_indices(
    episodes: Int[np.ndarray, " frames"], horizon: int, starts: Int[np.ndarray, " chunks"] | None = None
) -> Int[np.ndarray, "chunks horizon"]:
    """Frame numbers of the chunk that begins at each of `starts`, by default at every frame.

    `episodes` holds each frame's episode. Beyond the end of an episode its last frame is repeated.
    """
    if starts is None:
        starts = np.arange(len(episodes))
    last = np.flatnonzero(np.append(episodes[1:] != episodes[:-1], True))
    end_of = last[np.searchsorted(last, starts)]
    return np.minimum(starts[:, None] + np.arange(horizon), end_of[:, None])


class FrameCache(Dataset):
    """A LeRobotDataset whose images are decoded once, by `load`, or read fast. Before, its items are the dataset's own.

    Items are those of the dataset that a policy learns from: images (3, H, W) as uint8, `action` (horizon, dim) with
    `action_is_pad`, number columns, task and index. Everything else is asked of the dataset itself. Images are kept in
    the size that the policy takes, which scales them by the same function. Worker processes map the same files.

    LeRobot's augmentation (`dataset.image_transforms`) is applied each time an item is read, after the scaling. It gets
    images as LeRobot's dataset gives them: uint8 from videos, float from 0 to 1 from image files.
    """

    def __init__(self, dataset: LeRobotDataset) -> None:
        self._dataset = dataset
        self._files: dict[str, Path] = {}
        self._rows: dict[str, Int[np.ndarray, " frames"]] = {}
        """Of each frame: where it is in the camera's file, which may hold more frames."""
        self._images: dict[str, UInt8[np.ndarray, "kept 3 height width"]] = {}
        self._encoded: Any = None
        """The images as they lie in the dataset, if they are decoded when they are read; and how."""
        self._features: Any = None
        self._size: tuple[int, int] | None = None

    def load(
        self,
        *,
        horizon: int,
        cameras: Sequence[str],
        columns: Sequence[str] = (),
        image_size: tuple[int, int] | None = None,
        folder: Path | None = None,
    ) -> bool:
        """Decode the images of `cameras`, or map those that were decoded before.

        Args:
            columns: number columns of the items, beside the action.
            image_size: (height, width) that images are kept in; None: their own.
            folder: of the files, by default `cache_folder()`. Where it cannot be written, new files are in a folder
                for temporary files.

        Returns:
            False where they take more than half of the memory or the free disk, or no folder can be written. Then image
            files are decoded whenever an item is read; and with videos, items stay the dataset's own.

        Raises:
            InspireError: a video that is damaged, or has no image at the time of a frame.
        """
        folder = folder or cache_folder()
        sizes = {camera: image_size or _size_of(self._dataset, camera) for camera in cameras}
        if not self._fits_memory(sizes):
            return self._decode_when_read(cameras, columns, horizon, image_size)
        sources = {camera: self._sources(camera, image_size) for camera in cameras}
        kept = {camera: _kept_in(folder, _prefix(camera, image_size), sources[camera]) for camera in cameras}
        whole = {camera: _whole(kept[camera]) for camera in cameras}
        if None in whole.values():
            writable = _writable(folder) if self._fits_disk(sizes, folder) else None
            if writable is None or (writable != folder and not self._fits_disk(sizes, writable)):
                return self._decode_when_read(cameras, columns, horizon, image_size)
            if writable != folder:
                folder = writable
                for camera, sources_of in sources.items():
                    kept[camera] |= _kept_in(folder, _prefix(camera, image_size), sources_of)
                whole = {camera: _whole(kept[camera]) for camera in cameras}
        total = sum(len(self) for path in whole.values() if path is None)
        with tqdm(total=total, desc="Decoding images once", unit="image", disable=not total) as bar:
            for camera in cameras:
                path, rows = whole[camera], np.arange(len(self))
                if path is None:
                    name = hashlib.sha256(sources[camera].tobytes()).hexdigest()[:32]
                    path = folder / f"{_prefix(camera, image_size)}{name}.npy"
                    images = self._kept_or_decoded(camera, image_size, kept[camera])
                    _decode_into(path, sources[camera], sizes[camera], images, bar.update)
                else:
                    rows = kept[camera][path]
                with suppress(OSError):  # another user's file, or one in a folder that cannot be written
                    os.utime(path)
                self._files[camera], self._rows[camera] = path, rows
        if total:
            log.info(f"Decoded images are kept in {folder}; a later training on them starts at once.")
            _remove_unused(folder)
        self._map()
        self._read_columns(columns, horizon)
        return True

    def _fits_memory(self, sizes: dict[str, tuple[int, int]]) -> bool:
        return self._fits(sizes, psutil.virtual_memory().total, "memory of this machine")

    def _fits_disk(self, sizes: dict[str, tuple[int, int]], folder: Path) -> bool:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        return self._fits(sizes, shutil.disk_usage(existing).free, f"free disk of {existing}")

    def _fits(self, sizes: dict[str, tuple[int, int]], space: int, name: str) -> bool:
        """Whether the images take at most half of a space, in bytes. Warns if not."""
        needed = len(self) * sum(3 * height * width for height, width in sizes.values())
        if needed > space // 2:
            log.warning(
                f"{counted(len(self), 'frame is', 'frames are')} {needed / 2**30:.1f} GiB of images, more than half of "
                f"the {name}: images are decoded in every step, which is slow for videos. A smaller "
                "--policy.image_size keeps less."
            )
        return needed <= space // 2

    def _decode_when_read(
        self, cameras: Sequence[str], columns: Sequence[str], horizon: int, size: tuple[int, int] | None
    ) -> bool:
        """Read images of image files from the dataset's table, item by item. Returns False: nothing is kept."""
        if not {*cameras} & {*self._dataset.meta.video_keys}:
            self._encoded, self._size = (
                self._dataset.hf_dataset.select_columns([*cameras]).with_format("arrow"),
                size,
            )
            self._features = self._encoded.features  # each asking copies them
            self._read_columns(columns, horizon)
        return False

    def _read_columns(self, columns: Sequence[str], horizon: int) -> None:
        rows = self._dataset.hf_dataset.with_format("numpy")
        features = self._dataset.meta.features
        self._columns = {
            key: _numbers(np.asarray(rows[key][:]).reshape(len(self), *features[key]["shape"]))
            for key in columns
        }
        actions = _numbers(np.asarray(rows[ACTION][:]))
        self._actions = actions.reshape(len(actions), -1)
        self._chunks = torch.from_numpy(chunk_indices(np.asarray(rows["episode_index"][:]), horizon))
        self._padded = self._chunks == self._chunks.roll(1, dims=1)
        self._padded[:, 0] = False
        self._index = torch.from_numpy(np.asarray(rows["index"][:]).ravel())
        names = {index: name for name, index in self._dataset.meta.tasks["task_index"].items()}
        self._tasks = [names[index] for index in np.asarray(rows["task_index"][:]).tolist()]

    def _map(self) -> None:
        self._images = {camera: np.load(path, mmap_mode="r") for camera, path in self._files.items()}

    # What is decoded

    def _sources(self, camera: str, image_size: tuple[int, int] | None) -> UInt64[np.ndarray, " frames"]:
        """A hash of what decides each image: its video's content and its time in it, or its file's; and the size."""
        rows = self._dataset.hf_dataset
        found = np.empty(len(self), np.uint64)
        if camera in self._dataset.meta.video_keys:
            for path, times, numbers in self._videos(camera):
                video = file_sha256(path)
                found[numbers] = [_hash(f"{image_size} {video} {time:.6f}".encode()) for time in times]
            return found
        column = rows.select_columns([camera]).with_format("arrow")
        files = (image for table in column.iter(batch_size=256) for image in table[camera].to_pylist())
        for row, image in enumerate(files):
            content = image["bytes"] or Path(image["path"]).read_bytes()
            found[row] = _hash(f"{image_size} {hashlib.sha256(content).hexdigest()}".encode())
        return found

    def _videos(self, camera: str) -> list[tuple[Path, list[float], list[int]]]:
        """The files of a camera: path, times of the wanted images in it, ascending, and their rows."""
        meta, rows = self._dataset.meta, self._dataset.hf_dataset.with_format("numpy")
        episodes, times = np.asarray(rows["episode_index"][:]), np.asarray(rows["timestamp"][:], np.float64)
        by_file: dict[Path, list[tuple[float, int]]] = {}
        for episode in np.unique(episodes).tolist():
            path = Path(self._dataset.root) / meta.get_video_file_path(episode, camera)
            start = meta.episodes[episode][f"videos/{camera}/from_timestamp"]
            by_file.setdefault(path, []).extend(
                (float(start + times[row]), row) for row in np.flatnonzero(episodes == episode).tolist()
            )
        ordered = {path: sorted(pairs) for path, pairs in by_file.items()}
        return [(path, [t for t, _ in pairs], [row for _, row in pairs]) for path, pairs in ordered.items()]

    def _kept_or_decoded(
        self, camera: str, size: tuple[int, int] | None, kept: dict[Path, Int[np.ndarray, " frames"]]
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "3 height width"]]]:
        """(row, image) of every frame: first those that are kept, then the others as they lie in their files."""
        missing = np.ones(len(self), bool)
        for path, places in kept.items():
            images = np.load(path, mmap_mode="r")
            for row in np.flatnonzero(missing & (places >= 0)).tolist():
                yield row, images[places[row]]
            missing &= places < 0
        if camera not in self._dataset.meta.video_keys:
            rows = np.flatnonzero(missing).tolist()
            column = self._dataset.hf_dataset.select_columns([camera]).with_format(None).select(rows)
            for row, item in zip(rows, column, strict=True):
                yield row, _scaled(np.array(item[camera].convert("RGB")), size)
            return
        for path, times, numbers in self._videos(camera):
            wanted = [(time, row) for time, row in zip(times, numbers, strict=True) if missing[row]]
            if not wanted:
                continue

            def place(number: int, wanted: list[tuple[float, int]] = wanted) -> str:
                episodes = self._dataset.hf_dataset.with_format("numpy")["episode_index"]
                return f"episode {int(episodes[wanted[number][1]])} of {camera}"

            decoded = decode_video(path, [time for time, _ in wanted], self._dataset.tolerance_s, place)
            for (_, row), image in zip(wanted, decoded, strict=True):
                yield row, _scaled(image, size)

    # A dataset

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_dataset" not in self.__dict__:  # as when a worker process unpickles it
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(self._dataset, name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_images": {}}  # a memory map would be copied whole

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not self._files and self._encoded is None:
            return with_floats(self._dataset[index])
        item: dict[str, Any] = {key: column[index] for key, column in self._columns.items()}
        item |= {camera: self._augmented(camera, image) for camera, image in self._images_of(index)}
        item[ACTION] = self._actions[self._chunks[index]]
        item["action_is_pad"] = self._padded[index]
        item["task"] = self._tasks[index]
        item["index"] = self._index[index]
        return with_floats(item)

    def _images_of(self, index: int) -> Iterator[tuple[str, UInt8[np.ndarray, "3 height width"]]]:
        if self._encoded is None:
            for camera, images in self._images.items():
                yield camera, images[self._rows[camera][index]].copy()
            return
        for camera, (encoded,) in self._encoded[index].to_pydict().items():
            decoded = self._features[camera].decode_example(encoded)
            yield camera, _scaled(np.array(decoded.convert("RGB")), self._size)

    def _augmented(
        self, camera: str, pixels: UInt8[np.ndarray, "3 height width"]
    ) -> Num[Tensor, "3 height width"]:
        image, augment = torch.from_numpy(pixels), self._dataset.image_transforms
        if augment is None:
            return image
        return augment(image if camera in self._dataset.meta.video_keys else image.float() / 255)


def _writable(folder: Path) -> Path | None:
    """The folder, or one for temporary files where it cannot be written; None where none can. Says so."""
    instead = Path(
        tempfile.gettempdir(), f"inspire_vla_images_{os.getuid()}"
    )  # a container's user may have no name
    for candidate in (folder, instead):
        try:
            candidate.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=candidate):
                pass
        except OSError as error:
            what = (
                f"are kept in {instead}"
                if candidate == folder
                else "are decoded in every step, which is slow"
            )
            log.warning(
                f"Decoded images cannot be kept in {candidate} ({reason_of(error)}): they {what}. HF_DATASETS_CACHE "
                "names another folder."
            )
            continue
        return candidate
    return None


def _prefix(camera: str, image_size: tuple[int, int] | None) -> str:
    """The beginning of the names of a camera's files."""
    size = "x".join(map(str, image_size or ("own", "size")))
    return re.sub(r"\W+", "_", camera.removeprefix("observation.images.")) + f"_{size}_"


def _hash(source: bytes) -> int:
    return int.from_bytes(hashlib.sha256(f"{FORMAT} ".encode() + source).digest()[:8])


def _kept_in(
    folder: Path, prefix: str, sources: UInt64[np.ndarray, " frames"]
) -> dict[Path, Int[np.ndarray, " frames"]]:
    """File → where each frame is in it, −1 where it is not; of the files that have at least one."""
    kept = {}
    for path in sorted(folder.glob(f"{prefix}*.npy")):
        there = _sources_in(path)
        if not len(there):
            continue
        order = np.argsort(there)
        places = order[np.searchsorted(there[order], sources).clip(max=len(there) - 1)]
        if (has := there[places] == sources).any():
            kept[path] = np.where(has, places, -1)
    return kept


def _whole(kept: dict[Path, Int[np.ndarray, " frames"]]) -> Path | None:
    """The first file that has every frame."""
    return next((path for path, places in kept.items() if (places >= 0).all()), None)


def _sources_in(path: Path) -> UInt64[np.ndarray, " kept"]:
    """The sources of the images in a file, which follow them; none where it is not whole."""
    try:
        images = np.load(path, mmap_mode="r")
        with open(path, "rb") as file:
            file.seek(images.offset + images.nbytes)
            return np.load(file)
    except (OSError, ValueError, EOFError):
        return np.empty(0, np.uint64)


def _decode_into(
    path: Path,
    sources: UInt64[np.ndarray, " frames"],
    size: tuple[int, int],
    decoded: Iterator[tuple[int, np.ndarray]],
    progress: Callable[[], Any],
) -> None:
    """Write the images to a .npy file, and behind them their sources. Another process that writes the same is waited
    for."""
    with folder_lock(path, "decoding", wait=True):
        if np.array_equal(_sources_in(path), sources):
            return
        with atomic_path(path) as partial:
            images = np.lib.format.open_memmap(partial, "w+", np.uint8, (len(sources), 3, *size))
            for row, image in decoded:
                images[row] = image
                progress()
            images.flush()
            del images
            with open(partial, "ab") as file:
                np.save(file, sources)


def _remove_unused(folder: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 86_400
    for path in folder.glob("*.npy"):
        with suppress(OSError):  # another user's, or another process removed it
            if path.stat().st_mtime < oldest:
                remove(path)


def _size_of(dataset: LeRobotDataset, camera: str) -> tuple[int, int]:
    """(height, width) of a camera's images. Features name the channels first or last."""
    shape = tuple(dataset.meta.features[camera]["shape"])
    channels_last = (dataset.meta.features[camera].get("names") or ["", "", ""])[2] in ("channel", "channels")
    height, width = shape[:2] if channels_last else shape[1:]
    return int(height), int(width)


def _scaled(image: np.ndarray, size: tuple[int, int] | None) -> UInt8[np.ndarray, "3 height width"]:
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    if size is None or tuple(tensor.shape[1:]) == tuple(size):
        return tensor.numpy()
    return resized(tensor.float(), size).round().to(torch.uint8).numpy()


def _numbers(values: np.ndarray) -> Tensor:
    """Numbers as a tensor; float64 as float32, which policies take."""
    return torch.from_numpy(values.astype(np.float32) if values.dtype.kind == "f" else values.copy())
