"""Writes a new labelled LeRobot dataset, episode by episode: shared by collections and importers.

`build_dataset` has the demonstrations written, and `LabelledDatasetWriter` puts them into a dataset. Images are stored
as PNG in the parquet files (LeRobot's dtype "image"), not as video: small images are read five times faster at random,
and they are exactly what a policy gets.
"""

import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError, some_of
from inspire_vla.labels.columns import (
    GRASPED_COLUMN,
    OFFSET_COLUMN,
    UNKNOWN_PLACE,
    LabelInfo,
    answer_column,
    answer_feature,
    write_labels,
)
from inspire_vla.labels.demonstration import (
    Demonstration,
    SkippedDemonstration,
    load_or_make,
)
from inspire_vla.labels.labeller import Tracks, encode_tracks
from inspire_vla.lerobot_internals import fast_image_embedding
from inspire_vla.resumable_job import ResumableJob
from inspire_vla.worker_processes import map_in_processes

STATE_NAMES = ("x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_left", "finger_right")
ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
"""Names of the values of LIBERO and of the tabletop."""


class LabelledDatasetWriter:
    """A context manager: `root` is a complete dataset if the block ends without an error, else it is removed.

    Args:
        root: folder to make. name: of the dataset. image_size: side of the images in pixels, of all cameras or of
            each; None for no images.
        state_names, action_names: names of the values; their number is the width of the columns.
    """

    def __init__(
        self,
        root: Path,
        labels: LabelInfo,
        *,
        name: str,
        fps: int,
        robot_type: str,
        image_size: int | Mapping[str, int] | None,
        cameras: Sequence[str],
        state_names: Sequence[str] = STATE_NAMES,
        action_names: Sequence[str] = ACTION_NAMES,
    ) -> None:
        self._root, self._labels, self._fps, self._robot, self._name = root, labels, fps, robot_type, name
        self._images = root.with_name(root.name + ".images")
        count = labels.max_objects
        sizes = image_size if isinstance(image_size, Mapping) else dict.fromkeys(cameras, image_size)
        image = {"dtype": "image", "names": ["height", "width", "channels"]}
        self._features: dict[str, dict[str, Any]] = {
            f"observation.images.{camera}": image | {"shape": (sizes[camera], sizes[camera], 3)}
            for camera in cameras
        }
        for column, names in (("observation.state", state_names), ("action", action_names)):
            self._features[column] = {"dtype": "float32", "shape": (len(names),), "names": list(names)}
        self._features |= {answer_column(mode): answer_feature(count) for mode in labels.modes}
        offsets = [f"object_{i}.{axis}" for i in range(count) for axis in "xyz"]
        self._features[OFFSET_COLUMN] = {"dtype": "float32", "shape": (3 * count,), "names": offsets}
        self._features[GRASPED_COLUMN] = answer_feature(count)

    def __enter__(self) -> Self:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset  # imports torch: seconds

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

    def add(
        self,
        instruction: str,
        state: np.ndarray,
        action: np.ndarray,
        gripper_to_object_m: np.ndarray,
        grasped: np.ndarray,
        images: Mapping[str, Sequence[bytes]],
    ) -> None:
        """Append one episode of T frames.

        An object whose position is NaN has no label, and the privileged columns mark it: grasped −1, offset 0.

        Args:
            state: (T, n). action: (T, m). gripper_to_object_m: (T, k, 3) metres, base frame. grasped: (T, k) bool.
            images: camera → T images as PNG bytes.
        """
        frames, objects = grasped.shape
        count = self._labels.max_objects
        known = np.isfinite(gripper_to_object_m).all(axis=-1)
        offsets = np.zeros((frames, count, 3), dtype=np.float32)  # no NaN: LeRobot averages the column
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
        for camera, camera_images in images.items():
            columns[f"observation.images.{camera}"] = self._write_images(camera, camera_images)
        columns |= {
            "size": frames,
            "task": [instruction] * frames,
            "episode_index": self._dataset.meta.total_episodes,
            "frame_index": np.arange(frames),
            "timestamp": (np.arange(frames) / self._fps).astype(np.float32),
            "index": [],  # LeRobot fills these two
            "task_index": [],
        }
        with fast_image_embedding():
            self._dataset.save_episode(columns)

    def _write_images(self, camera: str, images: Sequence[bytes]) -> list[str]:
        """Write the images as files over those of the last episode, and return their paths: LeRobot takes paths."""
        folder = self._images / camera
        folder.mkdir(exist_ok=True)
        paths = [os.fspath(folder / f"frame-{i:06d}.png") for i in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            Path(path).write_bytes(image)
        return paths


def build_dataset(
    job: ResumableJob,
    count: int,
    make_shard: Callable[[int], int | None],
    labels: LabelInfo,
    *,
    processes: int,
    progress: bool,
    order: Callable[[int], int] = lambda number: number,
    write_record: Callable[[Path, list[Demonstration | str]], None] | None = None,
    **writer: Any,
) -> list[Demonstration | str]:
    """Make the missing shards of a started job, then write the LeRobot dataset. A damaged shard is made again.

    Returns each shard's demonstration without its images, or why it was skipped.

    Args:
        make_shard: writes the shard of a number; may return how many attempts failed.
        order: the key by which shards are made one after the other. The dataset has them in the order of their numbers.
        write_record: writes more files into the dataset's folder.
        writer: arguments of LabelledDatasetWriter.

    Raises:
        InspireError: every demonstration was skipped, or a worker process died.
    """
    missing, failed = sorted(job.missing(count), key=order), 0
    with tqdm(total=count, initial=count - len(missing), desc=job.doing, disable=not progress) as bar:
        for attempts in map_in_processes(make_shard, missing, processes):
            failed += attempts or 0
            bar.update()
            bar.set_postfix({"failed attempts": failed} if failed else {}, refresh=False)

    def assemble(folder: Path) -> list[Demonstration | str]:
        made: list[Demonstration | str] = []
        with LabelledDatasetWriter(folder, labels, **writer) as dataset:
            for number in tqdm(range(count), desc="writing the dataset", disable=not progress):
                try:
                    one = load_or_make(job.shard(number), partial(make_shard, number))
                except SkippedDemonstration as error:
                    made.append(str(error))
                    continue
                dataset.add(
                    one.instruction, one.state, one.action, one.gripper_to_object_m, one.grasped, one.images
                )
                made.append(replace(one, images={}))
            if all(isinstance(one, str) for one in made):
                raise InspireError(f"no demonstration is left: {some_of(map(str, made))}.")
        if write_record is not None:
            write_record(folder, made)
        return made

    return job.finish(assemble)


def png(image: np.ndarray) -> bytes:
    """Encode uint8 (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(
        buffer, "PNG", compress_level=3
    )  # half the time of 6, files 2 % larger
    return buffer.getvalue()
