"""A page of images with their labels, for a person to check a labeller: the episodes of lowest confidence first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inspire_vla.files import write_text
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.summary import Timeline, least_confident, timelines
from inspire_vla.reports.attention import jpeg
from inspire_vla.reports.page import data_url, render

UNSURE = 0.6


def write_review(dataset_root: str | Path, path: str | Path, *, episodes: int = 12, images: int = 5) -> Path:
    """Write one self-contained HTML file: of each episode first, last and some frames where a label changes.

    Raises InspireError: no labels.
    """
    files = LeRobotFiles.open(dataset_root)
    chosen = least_confident(dataset_root, episodes)
    shown = {timeline.episode: timeline for timeline in timelines(dataset_root) if timeline.episode in chosen}
    page = render(
        "labels.html",
        episodes=[_episode(files, shown[number], images) for number in chosen],
        total=files.info["total_episodes"],
        dataset=str(files.root),
        unsure=UNSURE,
    )
    write_text(path, page)
    return Path(path)


def _episode(files: LeRobotFiles, timeline: Timeline, images: int) -> dict[str, Any]:
    numbers = _frames_to_show(timeline, images)
    frames = [
        {
            "src": None if image is None else _data(image),
            "seconds": frame / timeline.fps,
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
        for frame, image in zip(numbers, _images(files, timeline, numbers), strict=True)
    ]
    return {"number": timeline.episode, "instruction": timeline.instruction, "frames": frames}


def _data(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((320, 320))
    return data_url("image/jpeg", jpeg(image, quality=80))


def _frames_to_show(timeline: Timeline, count: int) -> list[int]:
    """The first, the last, and frames where a label changes, at most `count`."""
    changed = (timeline.answers[1:] != timeline.answers[:-1]).any(axis=1)
    frames = sorted({0, len(timeline.answers) - 1, *(np.flatnonzero(changed) + 1).tolist()})
    return [frames[i] for i in sorted({round(i) for i in np.linspace(0, len(frames) - 1, count)})]


def _images(files: LeRobotFiles, timeline: Timeline, frames: Sequence[int]) -> list[np.ndarray | None]:
    """Return the first camera's images (H, W, 3) uint8 at these frames; None without a camera."""
    if not files.cameras:
        return [None] * len(frames)
    from lerobot.datasets import LeRobotDataset

    dataset = LeRobotDataset(
        files.root.name, root=files.root, episodes=[timeline.episode], video_backend="pyav"
    )
    images = [dataset[frame][files.cameras[0]] for frame in frames]
    return [(image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for image in images]
