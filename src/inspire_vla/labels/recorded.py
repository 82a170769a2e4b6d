"""Recorded episodes of a LeRobot dataset, for playback: numbers, labels, and images in the order of the frames.

Videos are decoded from an episode's first frame to its last, which is much faster than one frame at a time.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.lerobot_files import LeRobotFiles, Segment
from inspire_vla.labels.parquet import read_table

ACTION = "action"


class EpisodeReader:
    """Reads the episodes of a dataset. Raises InspireError for what is no complete LeRobot v3 dataset."""

    def __init__(self, root: str | Path) -> None:
        self.files = LeRobotFiles.open(root)
        self.fps = float(self.files.info["fps"])

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """All episodes, in order."""
        segments = [segment for segment, _ in self.files.segments()]
        return tuple(sorted(segments, key=lambda segment: (segment.episode, segment.part)))

    @property
    def episodes(self) -> int:
        """The number of episodes."""
        return int(self.files.info["total_episodes"])

    def columns(self, segment: Segment, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Columns of numbers, each (T, n)."""
        rows = self.files.read(segment.file, tuple(names))
        count = len(rows.episode_index)
        return {name: values.reshape(count, -1)[segment.rows] for name, values in rows.columns.items()}

    def actions_sha256(self) -> str:
        """A hash of the actions of all episodes: the same for a dataset that was moved, copied or labelled."""
        actions, episodes = self.files.column(ACTION)
        order = np.argsort(episodes, kind="stable")
        digest = hashlib.sha256(np.ascontiguousarray(episodes[order], "<i8").tobytes())
        digest.update(np.ascontiguousarray(actions[order], "<f4").tobytes())
        return digest.hexdigest()

    def column_sha256(self, name: str) -> str:
        """A hash of one column of numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.files.column(name)[0]).tobytes()).hexdigest()

    def images(self, segment: Segment, camera: str) -> Iterator[NDArray[np.uint8]]:
        """Yield a camera's images (H, W, 3), one for each frame. `camera` is the name of the column.

        Raises InspireError for images that are missing or damaged.
        """
        if self.files.info["features"][camera]["dtype"] != "video":
            return self._stored_images(segment, camera)
        from inspire_vla.labels.video import decode_video

        span = next(self.files.video_spans([segment.episode], [camera]), None)
        if span is None:
            raise InspireError(f"{self.files.root} has no episode {segment.episode}.")
        timestamps = self.columns(segment, ["timestamp"])["timestamp"][:, 0].astype(float)
        return decode_video(
            span.file,
            (span.first_s + timestamps).tolist(),
            0.5 / self.fps,
            lambda _: f"episode {segment.episode} of {camera}",
        )

    def _stored_images(self, segment: Segment, camera: str) -> Iterator[NDArray[np.uint8]]:
        """Images that are stored in the data file, not in a video."""
        from PIL import Image

        table = read_table(segment.file, [camera], segment.episode).slice(segment.start, len(segment))
        for frame, cell in enumerate(table[camera]):
            try:
                image = np.asarray(Image.open(io.BytesIO(cell.as_py()["bytes"])).convert("RGB"))
            except Exception:  # PIL's, of many kinds, or the cell holds something else
                raise InspireError(
                    f"{segment.file}: frame {segment.start + frame} of episode {segment.episode} holds no image in "
                    f"{camera!r}."
                ) from None
            yield image
