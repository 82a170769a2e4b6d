"""A labelled LeRobot dataset, written episode by episode: what importers share."""

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from inspire_vla.labels.columns import (
    GRASPED_COLUMN,
    OFFSET_COLUMN,
    LabelInfo,
    answer_column,
    answer_feature,
    write_labels,
)
from inspire_vla.labels.labeller import Tracks, encode_tracks


class NewDataset:
    """Use as a context: the dataset in `root` is complete when the block ends without an error, else it is removed.

    Args:
        root: folder to make. image_size: of the pictures, None for none.
        state_names, action_names: what the numbers are called; their count is the columns' width.
    """

    def __init__(
        self,
        root: Path,
        labels: LabelInfo,
        *,
        fps: int,
        robot_type: str,
        image_size: int | None,
        cameras: Sequence[str],
        state_names: Sequence[str],
        action_names: Sequence[str],
    ) -> None:
        self._root, self._labels, self._fps, self._robot = root, labels, fps, robot_type
        count = labels.max_objects
        shape = (image_size, image_size, 3)
        picture = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
        self._features: dict[str, dict[str, Any]] = {
            f"observation.images.{camera}": dict(picture) for camera in cameras
        }
        for name, names in (("observation.state", state_names), ("action", action_names)):
            self._features[name] = {"dtype": "float32", "shape": (len(names),), "names": list(names)}
        self._features |= {answer_column(mode): answer_feature(count) for mode in labels.modes}
        offsets = [f"object_{i}.{axis}" for i in range(count) for axis in "xyz"]
        self._features[OFFSET_COLUMN] = {"dtype": "float32", "shape": (3 * count,), "names": offsets}
        self._features[GRASPED_COLUMN] = answer_feature(count)

    def __enter__(self) -> Self:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        self._dataset = LeRobotDataset.create(
            repo_id=f"inspire_vla/{self._root.name.strip('.')}",
            root=self._root,
            fps=self._fps,
            features=self._features,
            robot_type=self._robot,
            use_videos=False,
        )
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._dataset.finalize()
            write_labels(self._root, self._labels)
        else:
            shutil.rmtree(self._root, ignore_errors=True)

    def add(
        self,
        instruction: str,
        state: np.ndarray,
        action: np.ndarray,
        gripper_to_object_m: np.ndarray,
        grasped: np.ndarray,
        pictures: Mapping[str, Sequence[bytes | np.ndarray]],
    ) -> None:
        """Append one episode of T frames: (T, n), (T, m), (T, k, 3) metres, (T, k) bool, pictures as PNG or arrays."""
        frames, objects = grasped.shape
        count = self._labels.max_objects
        codes = encode_tracks(Tracks(gripper_to_object_m, grasped), self._labels)
        offsets = np.zeros((frames, count, 3), dtype=np.float32)
        offsets[:, :objects] = np.nan_to_num(gripper_to_object_m)  # an unknown place has no label; zero here
        held = np.zeros((frames, count), dtype=np.int16)
        held[:, :objects] = grasped
        for t in range(frames):
            row: dict[str, Any] = {
                "observation.state": state[t].astype(np.float32),
                "action": action[t].astype(np.float32),
                OFFSET_COLUMN: offsets[t].ravel(),
                GRASPED_COLUMN: held[t],
                "task": instruction,
            }
            row |= {answer_column(mode): values[t] for mode, values in codes.items()}
            for camera, shown in pictures.items():
                picture = shown[t]
                row[f"observation.images.{camera}"] = (
                    np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
                    if isinstance(picture, bytes)
                    else picture
                )
            self._dataset.add_frame(row)
        self._dataset.save_episode()
