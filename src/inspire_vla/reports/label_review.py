"""A page of images with labels, for a person to check what a labeller said: the least sure episodes first."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.summary import Timeline, least_confident, timelines

_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#1c2430}"
    "section{margin:2rem 0;border-top:1px solid #d5dae1}figure{display:inline-block;margin:.4rem;width:190px;"
    "vertical-align:top}img{width:100%;border-radius:4px;background:#eee}figcaption{font-size:12px}"
    ".unsure{color:#b3261e}b{font-weight:600}"
)
UNSURE = 0.6


def write_review(dataset_root: str | Path, path: str | Path, *, episodes: int = 12, images: int = 5) -> Path:
    """Write one self-contained HTML file. Every change of a label within reason gets an image.

    Raises InspireError: no labels.
    """
    files = LeRobotFiles.open(dataset_root)
    chosen = least_confident(dataset_root, episodes)
    shown = {timeline.episode: timeline for timeline in timelines(dataset_root) if timeline.episode in chosen}
    sections = []
    for episode in chosen:
        timeline = shown[episode]
        frames = _frames_to_show(timeline, images)
        views = _images(files, timeline, frames)
        figures = "".join(
            f"<figure>{_image(view)}<figcaption>{_caption(timeline, frame)}</figcaption></figure>"
            for frame, view in zip(frames, views, strict=True)
        )
        heading = f"<h2>Episode {episode}: {escape(timeline.instruction)}</h2>"
        sections.append(f"<section>{heading}{figures}</section>")
    page = (
        f"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Labels to check</title><style>{_STYLE}</style><h1>Labels to check</h1>"
        f"<p>{len(chosen)} of {files.info['total_episodes']} episodes of {escape(str(files.root))}, the least sure "
        f"first. Red: less sure than {UNSURE:.0%}.</p>{''.join(sections)}"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _frames_to_show(timeline: Timeline, count: int) -> list[int]:
    """First, last, and the frames after changes of a label, thinned out evenly."""
    changed = (timeline.answers[1:] != timeline.answers[:-1]).any(axis=1)
    frames = sorted({0, len(timeline.answers) - 1, *(np.flatnonzero(changed) + 1).tolist()})
    return [frames[i] for i in sorted({round(i) for i in np.linspace(0, len(frames) - 1, count)})]


def _caption(timeline: Timeline, frame: int) -> str:
    lines = [f"{frame / timeline.fps:.1f} s"]
    for i, mention in enumerate(timeline.mentions):
        sure = None if timeline.confidence is None else float(timeline.confidence[frame, i])
        word = escape(str(timeline.answers[frame, i]) or "no label")
        mark = "" if sure is None else f" <span{' class=unsure' if sure < UNSURE else ''}>{sure:.0%}</span>"
        lines.append(f"{escape(mention)}: <b>{word}</b>{mark}")
    return "<br>".join(lines)


def _image(view: np.ndarray | None) -> str:
    if view is None:
        return "<p>no image</p>"
    buffer = io.BytesIO()
    image = Image.fromarray(view)
    image.thumbnail((320, 320))
    image.save(buffer, "JPEG", quality=80)
    return f"<img alt='' src='data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}'>"


def _images(files: LeRobotFiles, timeline: Timeline, frames: Sequence[int]) -> list[np.ndarray | None]:
    """The first camera's images at these frames; None where there is none."""
    if not files.cameras:
        return [None] * len(frames)
    camera = files.cameras[0]
    if files.info["features"][camera]["dtype"] == "image":
        return _embedded(files, camera, timeline.episode, frames)
    return _filmed(files, camera, timeline, frames)


def _embedded(
    files: LeRobotFiles, camera: str, episode: int, frames: Sequence[int]
) -> list[np.ndarray | None]:
    for path in files.data_files():
        table = pq.read_table(path, columns=[camera], filters=[("episode_index", "=", episode)])
        if len(table):
            found = [table[camera][frame].as_py()["bytes"] for frame in frames]
            return [
                np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) if data else None for data in found
            ]
    return [None] * len(frames)


def _filmed(
    files: LeRobotFiles, camera: str, timeline: Timeline, frames: Sequence[int]
) -> list[np.ndarray | None]:
    """Decode from the episode's stretch of its video file."""
    import av

    key = f"videos/{camera}"
    columns = ["episode_index", f"{key}/chunk_index", f"{key}/file_index", f"{key}/from_timestamp"]
    for path in sorted((files.root / "meta/episodes").glob("**/*.parquet")):
        rows = pq.read_table(
            path, columns=columns, filters=[("episode_index", "=", timeline.episode)]
        ).to_pylist()
        if rows:
            break
    else:
        return [None] * len(frames)
    row = rows[0]
    film = files.root / str(files.info["video_path"]).format(
        video_key=camera, chunk_index=row[f"{key}/chunk_index"], file_index=row[f"{key}/file_index"]
    )
    start = float(row[f"{key}/from_timestamp"])
    wanted = [start + frame / timeline.fps for frame in frames]
    found: list[np.ndarray | None] = [None] * len(frames)
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        container.seek(int(start / stream.time_base), stream=stream)  # type: ignore[operator]
        at = 0
        for image in container.decode(stream):
            while (
                at < len(wanted) and image.time is not None and image.time >= wanted[at] - 0.5 / timeline.fps
            ):
                found[at] = image.to_ndarray(format="rgb24")
                at += 1
            if at == len(wanted):
                break
    return found
