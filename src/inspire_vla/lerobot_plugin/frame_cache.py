"""A dataset's frames in memory, so that training a small model does not wait for files."""

import logging
from typing import Any

import numpy as np
import psutil
import torch
from lerobot.datasets import LeRobotDataset
from lerobot.utils.constants import ACTION
from torch.utils.data import Dataset
from tqdm import tqdm

from inspire_vla.labels.columns import ANSWERS_PREFIX
from inspire_vla.lerobot_plugin.action_chunks import chunk_places
from inspire_vla.lerobot_plugin.image_sizes import scaled


def can_keep(dataset: Any, size: tuple[int, int] | None = None) -> bool:
    """Whether a dataset's images may be kept: not those of a stream, nor those that are changed each time anew, nor
    more of them than half of this machine's memory holds, which is told.

    size: (height, width) that they are kept in, None for their own.
    """
    if not isinstance(dataset, LeRobotDataset) or dataset.image_transforms is not None:
        return False
    shapes = [dataset.meta.features[camera]["shape"] for camera in dataset.meta.camera_keys]
    of_frame = sum(3 * size[0] * size[1] if size else int(np.prod(shape)) for shape in shapes)
    memory = psutil.virtual_memory().total
    if len(dataset) * of_frame <= memory // 2:
        return True
    logging.getLogger(__name__).warning(
        f"{len(dataset):,} frames are {len(dataset) * of_frame / 2**30:.0f} GiB of images, more than half of this "
        "machine's memory: they are read from their files as training goes. A smaller --policy.image_size keeps less."
    )
    return False


class FrameCache(Dataset):
    """The items of a LeRobotDataset that an InSpire policy learns from, decoded once and kept.

    Gives the same items as the dataset does: images (3, H, W) as uint8, `action` (horizon, dim) with
    `action_is_pad`, state, labels and task. Everything else is asked of the dataset itself. Images may be kept in the
    size that the policy looks at, which scales them by the same function.
    """

    def __init__(
        self, dataset: LeRobotDataset, horizon: int, image_size: tuple[int, int] | None = None
    ) -> None:
        self._dataset = dataset
        rows = dataset.hf_dataset.with_format(None)
        keys = [key for key in rows.column_names if key.startswith(("observation.state", ANSWERS_PREFIX))]
        self._columns = {key: torch.tensor(rows[key][:]) for key in keys}
        self._actions = torch.from_numpy(np.array(rows[ACTION], dtype=np.float32))
        self._places = torch.from_numpy(chunk_places(np.array(rows["episode_index"]), horizon))
        self._padded = self._places == self._places.roll(1, dims=1)
        self._padded[:, 0] = False
        names = {index: name for name, index in dataset.meta.tasks["task_index"].items()}
        self._tasks = [names[index] for index in rows["task_index"]]
        self._images: dict[str, torch.Tensor] = {}
        for place in tqdm(range(len(rows)), desc="Frames into memory", unit="frame"):
            item = dataset[place] if self._has_video else rows[place]
            for camera in dataset.meta.camera_keys:
                image = _as_uint8(item[camera])
                if image_size is not None:
                    image = scaled(image.float(), image_size).round().to(torch.uint8)
                if not place:  # its size as it is: features name it in either order
                    self._images[camera] = torch.empty((len(rows), *image.shape), dtype=torch.uint8)
                self._images[camera][place] = image

    @property
    def _has_video(self) -> bool:
        return bool(self._dataset.meta.video_keys)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_dataset" not in self.__dict__:  # as when a worker process unpickles it
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._actions)

    def __getitem__(self, place: int) -> dict[str, Any]:
        item: dict[str, Any] = {key: column[place] for key, column in self._columns.items()}
        item |= {camera: images[place] for camera, images in self._images.items()}
        item[ACTION] = self._actions[self._places[place]]
        item["action_is_pad"] = self._padded[place]
        item["task"] = self._tasks[place]
        return item


def _as_uint8(image: Any) -> torch.Tensor:
    if isinstance(image, torch.Tensor):
        return image if image.dtype == torch.uint8 else (image * 255).round().to(torch.uint8)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
