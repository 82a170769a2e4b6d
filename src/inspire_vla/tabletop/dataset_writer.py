"""Demonstrations into a LeRobot v3 dataset.

Pictures are stored as PNG in the parquet files (LeRobot's dtype "image"), not as video: at 96 pixels a frame is
small either way, reads five times faster at random, and is exactly what the policy will see.
"""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import datasets
import numpy as np
from lerobot.datasets import dataset_writer
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from inspire_vla.labels import (
    GRASPED_COLUMN,
    OFFSET_COLUMN,
    LabelInfo,
    answer_column,
    answer_feature,
    label_states,
    write_labels,
)
from inspire_vla.tabletop.demonstration import Conditions, Demonstration
from inspire_vla.tabletop.env import CONTROL_HZ

ROBOT_TYPE = "inspire_tabletop"
STATE_NAMES = ("x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_left", "finger_right")
ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")


class TabletopDatasetWriter:
    """Use as a context: the dataset in `root` is complete when the block ends without an error."""

    def __init__(self, root: Path, conditions: Conditions, labels: LabelInfo) -> None:
        self._root, self._conditions, self._labels = root, conditions, labels
        self._pictures = root.with_name(root.name + ".pictures")

    def __enter__(self) -> Self:
        shutil.rmtree(self._pictures, ignore_errors=True)
        self._pictures.mkdir(parents=True)
        self._dataset = LeRobotDataset.create(
            repo_id=f"inspire_vla/{self._conditions.suite}",
            root=self._root,
            fps=CONTROL_HZ,
            features=self.features(),
            robot_type=ROBOT_TYPE,
            use_videos=False,
            video_backend="pyav",
        )
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None:
                self._dataset.finalize()
                write_labels(self._root, self._labels)
        finally:
            shutil.rmtree(self._pictures, ignore_errors=True)

    def features(self) -> dict[str, dict[str, Any]]:
        """The dataset's columns, as LeRobotDataset.create takes them."""
        size, count = self._conditions.image_size, self._labels.max_objects
        picture = {"dtype": "image", "shape": (size, size, 3), "names": ["height", "width", "channels"]}
        columns: dict[str, dict[str, Any]] = {
            f"observation.images.{camera}": dict(picture) for camera in self._conditions.cameras
        }
        columns["observation.state"] = {"dtype": "float32", "shape": (8,), "names": list(STATE_NAMES)}
        columns["action"] = {"dtype": "float32", "shape": (7,), "names": list(ACTION_NAMES)}
        columns |= {answer_column(mode): answer_feature(count) for mode in self._labels.modes}
        offsets = [f"object_{i}.{axis}" for i in range(count) for axis in "xyz"]
        columns[OFFSET_COLUMN] = {"dtype": "float32", "shape": (3 * count,), "names": offsets}
        columns[GRASPED_COLUMN] = answer_feature(count)
        return columns

    def add(self, demonstration: Demonstration) -> None:
        """Append one episode."""
        frames, count = len(demonstration), self._labels.max_objects
        objects = len(demonstration.mentions)
        offsets = np.zeros((frames, count, 3), dtype=np.float32)
        offsets[:, :objects] = demonstration.gripper_to_object_m
        grasped = np.zeros((frames, count), dtype=np.int16)
        grasped[:, :objects] = demonstration.grasped
        columns: dict[str, Any] = {
            "observation.state": demonstration.state,
            "action": demonstration.action,
            OFFSET_COLUMN: offsets.reshape(frames, -1),
            GRASPED_COLUMN: grasped,
        }
        for mode, rule in self._labels.modes.items():
            columns[answer_column(mode)] = label_states(
                demonstration.gripper_to_object_m,
                demonstration.grasped,
                max_objects=count,
                mode=mode,
                frame=self._labels.frame,
                rule=rule,
            )
        for camera, pictures in demonstration.pictures.items():
            columns[f"observation.images.{camera}"] = self._as_files(camera, pictures)
        columns |= {
            "size": frames,
            "task": [demonstration.instruction] * frames,
            "episode_index": self._dataset.meta.total_episodes,
            "frame_index": np.arange(frames),
            "timestamp": (np.arange(frames) / CONTROL_HZ).astype(np.float32),
            "index": [],  # LeRobot fills in these two
            "task_index": [],
        }
        with _pictures_embedded_at_once():
            self._dataset.save_episode(columns)

    def _as_files(self, camera: str, pictures: tuple[bytes, ...]) -> list[str]:
        """LeRobot takes pictures by their paths. The files of the last episode are overwritten."""
        folder = self._pictures / camera
        folder.mkdir(exist_ok=True)
        paths = [os.fspath(folder / f"frame-{i:06d}.png") for i in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            Path(path).write_bytes(picture)
        return paths


@contextmanager
def _pictures_embedded_at_once():
    """LeRobot 0.6 reads an episode's pictures into its table row by row, which is most of a save, and leaves a
    random fingerprint in the file; here in one go, and the same each time.
    """
    original = getattr(dataset_writer, "embed_images", None)
    if original is None:  # another LeRobot: its own way
        yield
        return

    def embed(dataset: datasets.Dataset) -> datasets.Dataset:
        table = datasets.table.embed_table_storage(dataset.data.table)
        whole = datasets.Dataset(
            datasets.table.InMemoryTable(table), info=dataset.info, fingerprint="inspire"
        )
        return whole.with_format(**dataset.format)

    dataset_writer.embed_images = embed
    try:
        yield
    finally:
        dataset_writer.embed_images = original
