"""A page of images with their labels, for a person to check a labeller: the episodes of lowest confidence first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from inspire_vla.errors import reason_of
from inspire_vla.files import write_text
from inspire_vla.labels.columns import read_labelled
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.summary import Timeline, least_confident, timelines
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
    chosen = least_confident(dataset_root, EPISODES)
    shown: dict[int, list[Timeline]] = {number: [] for number in chosen}
    for timeline in timelines(dataset_root, mode=mode):
        if timeline.episode in shown:  # an episode with several tasks has a timeline for each
            shown[timeline.episode].append(timeline)
    bar = tqdm(chosen, "review page", unit="episode", disable=not progress)
    page = render(
        "labels.html",
        episodes=[_episode(files, timeline) for number in bar for timeline in shown[number]],
        count=len(chosen),
        total=files.info["total_episodes"],
        dataset=str(files.root),
        unsure=UNSURE,
        mode=mode,
        other_modes=[name for name in labels.modes if name != mode],
    )
    write_text(path, page)
    return Path(path)


def _episode(files: LeRobotFiles, timeline: Timeline) -> dict[str, Any]:
    numbers = _frames_to_show(timeline)
    frames = [
        {
            "src": source,
            "missing": missing,
            "seconds": (timeline.start + frame) / timeline.fps,
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
        for frame, (source, missing) in zip(numbers, _images(files, timeline, numbers), strict=True)
    ]
    return {"number": timeline.episode, "instruction": timeline.instruction, "frames": frames}


def _frames_to_show(timeline: Timeline) -> list[int]:
    """The first, the last, and frames where a label changes, at most IMAGES."""
    changed = (timeline.answers[1:] != timeline.answers[:-1]).any(axis=1)
    frames = sorted({0, len(timeline.answers) - 1, *(np.flatnonzero(changed) + 1).tolist()})
    return [frames[i] for i in sorted({round(i) for i in np.linspace(0, len(frames) - 1, IMAGES)})]


def _images(files: LeRobotFiles, timeline: Timeline, frames: Sequence[int]) -> list[tuple[str | None, str]]:
    """Return the first camera's images at these frames as data URLs, or None and why there is none."""
    if not files.cameras:
        return [(None, "no camera")] * len(frames)
    from lerobot.datasets import LeRobotDataset

    try:
        dataset = LeRobotDataset(
            files.root.name, root=files.root, episodes=[timeline.episode], video_backend="pyav"
        )
    except Exception as error:  # LeRobot's, that of datasets, of pyarrow
        return [(None, _why(error))] * len(frames)
    return [_image(dataset, files.cameras[0], timeline.start + frame) for frame in frames]


def _image(dataset: Any, camera: str, frame: int) -> tuple[str | None, str]:
    """One image. What cannot be decoded costs no other image."""
    try:
        pixels = (dataset[frame][camera].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        image = Image.fromarray(pixels)
        image.thumbnail((320, 320))
        return data_url("image/jpeg", jpeg(image, quality=80)), ""
    except Exception as error:  # PIL's, FFmpeg's, LeRobot's
        return None, _why(error)


def _why(error: Exception) -> str:
    return f"This image cannot be read: {reason_of(error)[:120]}"
