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

from inspire_vla.errors import InspireError, is_machine_fault
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
        rows = self.files.read(segment.file, names, segment.episode)
        count, shown = len(rows.episode_index), slice(segment.start, segment.start + len(segment))
        return {name: values.reshape(count, -1)[shown] for name, values in rows.columns.items()}

    def actions_sha256(self) -> str:
        """A hash of the actions of all episodes: the same for a dataset that was moved, copied or labelled."""
        actions, episodes = self.files.column(ACTION)
        if (np.diff(episodes) < 0).any():
            order = np.argsort(episodes, kind="stable")
            actions, episodes = actions[order], episodes[order]
        digest = hashlib.sha256(np.ascontiguousarray(episodes, "<i8"))
        digest.update(np.ascontiguousarray(actions, "<f4"))
        return digest.hexdigest()

    def column_sha256(self, name: str) -> str:
        """A hash of one column of numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.files.column(name)[0])).hexdigest()

    def images(
        self, segment: Segment, camera: str, frames: Sequence[int] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield a camera's images (H, W, 3) as they are decoded.

        Args:
            camera: name of the column.
            frames: which, counted from the segment's first frame, ascending; None: all.

        Raises:
            InspireError: an image is missing or damaged.
        """
        shown = np.arange(len(segment)) if frames is None else np.asarray(frames)
        if self.files.info["features"][camera]["dtype"] != "video":
            return self._stored_images(segment, camera, shown)
        from inspire_vla.labels.video import decode_video

        span = next(self.files.video_spans([segment.episode], [camera]), None)
        if span is None:
            raise InspireError(f"{self.files.root} has no episode {segment.episode}.")
        timestamps = self.columns(segment, ["timestamp"])["timestamp"][shown, 0].astype(float)
        return decode_video(
            span.file,
            (span.first_s + timestamps).tolist(),
            0.5 / self.fps,
            lambda _: f"episode {segment.episode} of {camera}",
            advice="Record it again.",
        )

    def _stored_images(
        self, segment: Segment, camera: str, shown: NDArray[np.intp]
    ) -> Iterator[NDArray[np.uint8]]:
        """Images that are stored in the data file, not in a video."""
        from PIL import Image

        cells = read_table(segment.file, [camera], segment.episode)[camera]
        for frame in (segment.start + shown).tolist():
            try:
                image = np.asarray(Image.open(io.BytesIO(cells[frame].as_py()["bytes"])).convert("RGB"))
            except Exception as error:  # PIL's, of many kinds, or the cell holds something else
                if is_machine_fault(error):
                    raise
                raise InspireError(
                    f"{segment.file}: frame {frame} of episode {segment.episode} holds no image in {camera!r}."
                ) from None
            yield image
