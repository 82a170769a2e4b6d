"""Recorded episodes of a LeRobot dataset, for playback: numbers, labels, and images in the order of the frames.

Videos are decoded from an episode's first frame to its last, which is much faster than one frame at a time.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.lerobot_files import LeRobotFiles, Segment
from inspire_vla.labels.parquet import read_table

ACTION = "action"
_RANGE = re.compile(r"(\d*):(\d*)|(\d+)")


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


def check_selection(text: str) -> None:
    """Check the form of a selection of episodes, before a dataset is read.

    Raises:
        InspireError: another text, or a number alone, which stands for a number of episodes elsewhere.
    """
    parts = text.replace(" ", "").split(",")
    if not all(map(_RANGE.fullmatch, parts)):
        raise InspireError(f"Episodes are written as 40:50 (40 to 49), 40: or 3,7; found {text!r}.")
    if len(parts) == 1 and text.strip().isdecimal():
        number = int(text)
        first = f", or 0:{number} for the first {number}" if number else ""
        raise InspireError(f"Which episodes? Write {number}:{number + 1} for episode {number}{first}.")


def parse_episodes(text: str, total: int) -> tuple[int, ...]:
    """Return the episodes that a selection such as "40:50", "40:", "3,7" or "0:5,12" names, in order.

    Args:
        total: number of episodes in the dataset; their numbers begin at 0, and a range excludes its end.

    Raises:
        InspireError: another text, a number alone, an episode that does not exist, or none at all.
    """
    check_selection(text)
    chosen: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, end, single = _RANGE.fullmatch(part).groups()  # type: ignore[union-attr]  # checked
        numbers = range(int(single or first or 0), int(single) + 1 if single else int(end or total))
        if not numbers or numbers[-1] >= total:
            raise InspireError(f"There are no episodes {part!r}; the dataset has 0 to {total - 1}.")
        chosen.update(numbers)
    return tuple(sorted(chosen))


def format_episodes(episodes: Sequence[int]) -> str:
    """Return ascending episodes as a selection that `parse_episodes` reads, with ranges: "3,40:50"."""
    ranges: list[list[int]] = []
    for episode in episodes:
        if ranges and episode == ranges[-1][1]:
            ranges[-1][1] += 1
        else:
            ranges.append([episode, episode + 1])
    return ",".join(f"{a}:{b}" if b - a > 1 or len(ranges) == 1 else str(a) for a, b in ranges)


def hold_out(segments: Sequence[Segment], count: int) -> tuple[int, ...]:
    """Return `count` episodes to keep out of a training: the last one of each task, then the one before it, and so on.

    Raises InspireError where no episode would be left.
    """
    by_task: dict[str, list[int]] = {}
    for segment in segments:
        if not segment.part:
            by_task.setdefault(segment.instruction, []).append(segment.episode)
    total = sum(map(len, by_task.values()))
    if not 0 < count < total:
        possible = f"1 to {total - 1}" if total > 2 else str(max(total - 1, 0))
        raise InspireError(f"{possible} of {counted(total, 'episode')} can be held out, found {count}.")
    chosen: list[int] = []
    while len(chosen) < count:
        for episodes in by_task.values():
            if episodes and len(chosen) < count:
                chosen.append(episodes.pop())
    return tuple(sorted(chosen))
