"""A dataset whose images LeRobot decodes, with an error that says which one cannot be decoded; and its numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lerobot.utils.constants import ACTION, OBS_PREFIX
from torch.utils.data import Dataset

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import ANSWERS_PREFIX
from inspire_vla.labels.video import decode_video, undecodable


def with_floats(item: dict[str, Any]) -> dict[str, Any]:
    """An item of a dataset, its action and its state as floats. Before it is renamed, the state may have any name.

    LeRobot 0.6.1 normalises whole numbers by statistics that it rounds to whole numbers.
    """
    return item | {key: values.float() for key, values in item.items() if _is_whole_number(key, values)}


def _is_whole_number(key: str, values: Any) -> bool:
    """Whether an entry is an action or a state of whole numbers; answers are of whole numbers, and stay so."""
    observed = key.startswith(OBS_PREFIX) and not key.startswith(ANSWERS_PREFIX) and values.ndim < 3
    return (key == ACTION or observed) and not values.is_floating_point() and values.dtype != torch.bool


class NamedImages(Dataset):
    """A LeRobotDataset that names file, time, episode and camera of an image that cannot be decoded.

    LeRobot's decoders name neither episode nor camera, and torchcodec no file. Everything else is asked of the dataset.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> dict[str, Any]:
        """An item of the dataset. Raises InspireError where its images cannot be decoded."""
        try:
            return with_floats(self._dataset[index])
        except (RuntimeError, ValueError, OSError) as error:  # of torchcodec, LeRobot or PyAV
            if not self._dataset.meta.video_keys:
                raise
            raise self._named(index, error) from error

    def _named(self, index: int, error: Exception) -> InspireError:
        """The error of the first image that this package cannot decode either; of the item's own image if it can."""
        images = list(self._images(index))
        for path, time_s, place in images:
            try:
                list(decode_video(path, [time_s], self._dataset.tolerance_s, [place].__getitem__))
            except InspireError as named:
                return named
        path, time_s, place = images[0]
        return undecodable(path, time_s, f", {place}, or at the same time of another camera", error)

    def _images(self, index: int) -> Iterator[tuple[Path, float, str]]:
        """File, time in it and place of each image of an item: its own, then those of its observation history."""
        dataset = self._dataset
        row = dataset.hf_dataset.with_format("numpy")[index]
        episode, now = int(row["episode_index"]), float(row["timestamp"])
        for camera in dataset.meta.video_keys:
            path = Path(dataset.root) / dataset.meta.get_video_file_path(episode, camera)
            begin = float(dataset.meta.episodes[episode][f"videos/{camera}/from_timestamp"])
            for delta in sorted((dataset.delta_timestamps or {}).get(camera, [0.0]), key=abs):
                yield path, begin + max(0.0, now + delta), f"episode {episode} of {camera}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_dataset" not in self.__dict__:  # as when a worker process unpickles it
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._dataset)
