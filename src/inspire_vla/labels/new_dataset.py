"""A labelled LeRobot dataset, written episode by episode: what collections and importers share.

Images are stored as PNG in the parquet files (LeRobot's dtype "image"), not as video: small images read five
times faster at random that way, and are exactly what a policy will see.
"""

import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from inspire_vla.labels.columns import (
    GRASPED_COLUMN,
    OFFSET_COLUMN,
    UNKNOWN_PLACE,
    LabelInfo,
    answer_column,
    answer_feature,
    write_labels,
)
from inspire_vla.labels.demonstration import Demonstration
from inspire_vla.labels.labeller import Tracks, encode_tracks

STATE_NAMES = ("x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_left", "finger_right")
ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
"""LIBERO's numbers, and the tabletop's."""


class NewDataset:
    """Use as a context: the dataset in `root` is complete when the block ends without an error, else it is removed.

    Args:
        root: folder to make. name: of the dataset. image_size: of the images, None for none.
        state_names, action_names: what the numbers are called; their count is the columns' width.
    """

    def __init__(
        self,
        root: Path,
        labels: LabelInfo,
        *,
        name: str,
        fps: int,
        robot_type: str,
        image_size: int | None,
        cameras: Sequence[str],
        state_names: Sequence[str] = STATE_NAMES,
        action_names: Sequence[str] = ACTION_NAMES,
    ) -> None:
        self._root, self._labels, self._fps, self._robot, self._name = root, labels, fps, robot_type, name
        self._images = root.with_name(root.name + ".images")
        count = labels.max_objects
        shape = (image_size, image_size, 3)
        image = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
        self._features: dict[str, dict[str, Any]] = {
            f"observation.images.{camera}": dict(image) for camera in cameras
        }
        for column, names in (("observation.state", state_names), ("action", action_names)):
            self._features[column] = {"dtype": "float32", "shape": (len(names),), "names": list(names)}
        self._features |= {answer_column(mode): answer_feature(count) for mode in labels.modes}
        offsets = [f"object_{i}.{axis}" for i in range(count) for axis in "xyz"]
        self._features[OFFSET_COLUMN] = {"dtype": "float32", "shape": (3 * count,), "names": offsets}
        self._features[GRASPED_COLUMN] = answer_feature(count)

    def __enter__(self) -> Self:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset  # and torch: seconds to import

        shutil.rmtree(self._images, ignore_errors=True)
        self._images.mkdir(parents=True)
        self._dataset = LeRobotDataset.create(
            repo_id=f"inspire_vla/{self._name}",
            root=self._root,
            fps=self._fps,
            features=self._features,
            robot_type=self._robot,
            use_videos=False,
            video_backend="pyav",
        )
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        complete = False
        try:
            if kind is None:
                self._dataset.finalize()
                write_labels(self._root, self._labels)
                complete = True
        finally:
            if not complete:
                shutil.rmtree(self._root, ignore_errors=True)
            shutil.rmtree(self._images, ignore_errors=True)

    def add_demonstration(self, demonstration: Demonstration) -> None:
        """Append a demonstration."""
        self.add(
            demonstration.instruction,
            demonstration.state,
            demonstration.action,
            demonstration.gripper_to_object_m,
            demonstration.grasped,
            demonstration.images,
        )

    def add(
        self,
        instruction: str,
        state: np.ndarray,
        action: np.ndarray,
        gripper_to_object_m: np.ndarray,
        grasped: np.ndarray,
        images: Mapping[str, Sequence[bytes | np.ndarray]],
    ) -> None:
        """Append one episode of T frames: (T, n), (T, m), (T, k, 3) metres, (T, k) bool, images as PNG or arrays.

        Where a place is not known (NaN) there is no label, and the privileged columns say so: grasped −1, offset 0.
        """
        frames, objects = grasped.shape
        count = self._labels.max_objects
        known = np.isfinite(gripper_to_object_m).all(axis=-1)
        offsets = np.zeros((frames, count, 3), dtype=np.float32)  # no NaN: LeRobot takes means of it
        offsets[:, :objects] = np.where(known[..., None], gripper_to_object_m, 0.0)
        held = np.zeros((frames, count), dtype=np.int16)
        held[:, :objects] = np.where(known, grasped, UNKNOWN_PLACE)
        columns: dict[str, Any] = {
            "observation.state": state.astype(np.float32),
            "action": action.astype(np.float32),
            OFFSET_COLUMN: offsets.reshape(frames, -1),
            GRASPED_COLUMN: held,
        }
        codes = encode_tracks(Tracks(gripper_to_object_m, grasped), self._labels)
        columns |= {answer_column(mode): values for mode, values in codes.items()}
        for camera, shown in images.items():
            columns[f"observation.images.{camera}"] = self._as_files(camera, shown)
        columns |= {
            "size": frames,
            "task": [instruction] * frames,
            "episode_index": self._dataset.meta.total_episodes,
            "frame_index": np.arange(frames),
            "timestamp": (np.arange(frames) / self._fps).astype(np.float32),
            "index": [],  # LeRobot fills in these two
            "task_index": [],
        }
        with _images_embedded_at_once():
            self._dataset.save_episode(columns)

    def _as_files(self, camera: str, images: Sequence[bytes | np.ndarray]) -> list[str]:
        """LeRobot takes images by their paths. The files of the last episode are overwritten."""
        folder = self._images / camera
        folder.mkdir(exist_ok=True)
        paths = [os.fspath(folder / f"frame-{i:06d}.png") for i in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            Path(path).write_bytes(image if isinstance(image, bytes) else png(image))
        return paths


def png(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 → a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


@contextmanager
def _images_embedded_at_once() -> Iterator[None]:
    """LeRobot 0.6 reads an episode's images into its table row by row, which is most of a save, and leaves a
    random fingerprint in the file; here in one go, and the same each time.
    """
    import datasets
    from lerobot.datasets import dataset_writer

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
