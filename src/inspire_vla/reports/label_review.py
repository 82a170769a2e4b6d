"""A page of images with their labels, for a person to check a labeller: the episodes of lowest confidence first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.files import write_text
from inspire_vla.labels.columns import read_labelled
from inspire_vla.labels.lerobot_files import Segment
from inspire_vla.labels.recorded import EpisodeReader
from inspire_vla.labels.summary import Timeline, least_confident, timelines_of
from inspire_vla.reports.images import data_url, jpeg
from inspire_vla.reports.page import render

UNSURE = 0.6
EPISODES, IMAGES = 12, 5
"""Episodes on the page, and images of each."""


def write_review(
    dataset_root: str | Path, path: str | Path, *, mode: str | None = None, progress: bool = False
) -> Path:
    """Write one self-contained HTML file: of each episode first, last and some frames where a label changes.

    mode: whose labels are shown; by default the first. Raises InspireError: no labels, or no such mode.
    """
    labels, files = read_labelled(dataset_root)
    mode = mode or next(iter(labels.modes))
    chosen = least_confident(timelines_of(labels, files), EPISODES)
    shown: dict[int, list[Timeline]] = {number: [] for number in chosen}
    for timeline in timelines_of(labels, files, mode, chosen):
        shown[timeline.segment.episode].append(timeline)  # one for each task of the episode
    reader = EpisodeReader(dataset_root)
    bar = tqdm(chosen, "review page", unit="episode", disable=not progress)
    page = render(
        "labels.html",
        episodes=[_episode(reader, timeline) for number in bar for timeline in shown[number]],
        count=len(chosen),
        total=files.info["total_episodes"],
        dataset=str(files.root),
        unsure=UNSURE,
        mode=mode,
        other_modes=[name for name in labels.modes if name != mode],
    )
    write_text(path, page)
    return Path(path)


def _episode(reader: EpisodeReader, timeline: Timeline) -> dict[str, Any]:
    numbers = _frames_to_show(timeline)
    frames = [
        {
            "src": source,
            "missing": missing,
            "seconds": (timeline.segment.start + frame) / timeline.fps,
            "labels": [
                {
                    "mention": mention,
                    "answer": str(timeline.answers[frame, i]),
                    "confidence": None
                    if timeline.confidence is None
                    else float(timeline.confidence[frame, i]),
                }
                for i, mention in enumerate(timeline.mentions)
            ],
        }
        for frame, (source, missing) in zip(numbers, _images(reader, timeline.segment, numbers), strict=True)
    ]
    return {
        "number": timeline.segment.episode,
        "instruction": timeline.segment.instruction,
        "frames": frames,
    }


def _frames_to_show(timeline: Timeline) -> list[int]:
    """The first, the last, and frames where a label changes, at most IMAGES."""
    changed = (timeline.answers[1:] != timeline.answers[:-1]).any(axis=1)
    frames = sorted({0, len(timeline.answers) - 1, *(np.flatnonzero(changed) + 1).tolist()})
    return [frames[i] for i in sorted({round(i) for i in np.linspace(0, len(frames) - 1, IMAGES)})]


def _images(reader: EpisodeReader, segment: Segment, frames: Sequence[int]) -> list[tuple[str | None, str]]:
    """Return the first camera's images at these frames as data URLs, or None and why there is none."""
    if not reader.files.cameras:
        return [(None, "no camera")] * len(frames)
    return [_image(reader, segment, frame) for frame in frames]


def _image(reader: EpisodeReader, segment: Segment, frame: int) -> tuple[str | None, str]:
    """One image. What cannot be decoded costs no other image."""
    try:
        image = Image.fromarray(next(reader.images(segment, reader.files.cameras[0], [frame])))
    except InspireError as error:
        return None, f"This image cannot be read: {reason_of(error)[:120]}"
    image.thumbnail((320, 320))
    return data_url("image/jpeg", jpeg(image, quality=80)), ""
