"""An episode as a video: what the camera saw and, beneath it, what was said, what was true, and how surely.

At its foot a timeline grows with it; see video_strip.py.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from inspire_vla.errors import InspireError
from inspire_vla.reports.drawing import FAINT, FALSE, INK, PAPER, TRUE, UNKNOWN, Colour, fit, font, wrap
from inspire_vla.reports.video_strip import draw_strip, strip_height, word_colour

WIDTH = 384
"""Of the video, pixels."""
SIZE, ROW, MARGIN = 15, 26, 12
CODECS = ("libx264", "libopenh264")
"""H.264, which every browser plays; the first that this PyAV has."""


def write_episode_video(
    path: str | Path, frames: Sequence[np.ndarray], fps: float, record: Mapping[str, Any]
) -> None:
    """Write frames (T, H, W, 3) uint8 with the dialogue of `record` (an episode's record as a dictionary).

    H.264 in mp4, about 100 kB for ten seconds. Raises InspireError for no or unequal frames.
    """
    write_video(path, draw_episode(frames, record, hold=round(fps * 0.8)), fps)


def draw_episode(
    frames: Sequence[np.ndarray], record: Mapping[str, Any], *, hold: int = 0
) -> Iterator[np.ndarray]:
    """Yield (H', WIDTH, 3) images: frame t with what was said last; the end is held for `hold` frames."""
    if not len(frames):
        raise InspireError("a video needs at least one frame, found none.")
    height = round(frames[0].shape[0] * WIDTH / frames[0].shape[1])
    timeline = list(record.get("timeline") or ())
    at = -1
    for t, frame in enumerate(frames):
        if frame.shape != frames[0].shape:
            raise InspireError(
                f"frames must have one shape, found {frames[0].shape} and {frame.shape} at step {t}."
            )
        while at + 1 < len(timeline) and timeline[at + 1][0] <= t:
            at += 1
        said = timeline[at] if at >= 0 else None
        last = t == len(frames) - 1
        image = _compose(frame, height, record, said, t, final=last)
        yield image
        if last:
            for _ in range(hold):
                yield image


def _compose(
    frame: np.ndarray,
    height: int,
    record: Mapping[str, Any],
    said: Sequence[Any] | None,
    t: int,
    *,
    final: bool,
) -> np.ndarray:
    mentions = list(record.get("mentions") or ())
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    instruction = wrap(ruler, str(record.get("instruction", "")), SIZE, WIDTH - 2 * MARGIN)[:3]
    strip = strip_height(record)
    total = height + MARGIN + 20 * len(instruction) + 6 + ROW * max(1, len(mentions)) + strip + 28 + MARGIN
    canvas = Image.new("RGB", (WIDTH, total + total % 2), PAPER)
    resample = Image.Resampling.NEAREST if WIDTH % frame.shape[1] == 0 else Image.Resampling.BICUBIC
    canvas.paste(Image.fromarray(frame).resize((WIDTH, height), resample), (0, 0))
    draw = ImageDraw.Draw(canvas)
    y = height + MARGIN
    for line in instruction:
        draw.text((MARGIN, y), line, INK, font(SIZE))
        y += 20
    y += 6
    if not mentions:
        draw.text((MARGIN, y), "acts without saying where things are", FAINT, font(SIZE - 2))
        y += ROW
    for i, mention in enumerate(mentions):
        _answer_row(draw, y, mention, said, i)
        y += ROW
    draw_strip(draw, MARGIN, y + 2, WIDTH - 2 * MARGIN, record, t)
    y += strip + 4
    outcome, colour = ("success", TRUE) if record.get("success") else ("failure", FALSE)
    draw.text((MARGIN, y + 2), f"{record.get('policy', '')}   step {t}", FAINT, font(SIZE - 3))
    if final:
        if record.get("error"):
            outcome = "crashed"
        draw.text((WIDTH - MARGIN, y + 2), outcome, colour, font(SIZE), anchor="ra")
        draw.rectangle((0, 0, WIDTH - 1, height - 1), outline=colour, width=4)
    return np.asarray(canvas)


def _answer_row(draw: ImageDraw.ImageDraw, y: int, mention: str, said: Sequence[Any] | None, i: int) -> None:
    """One row: mention, answer in its colour, the truth where it differs, a bar as long as the confidence."""
    answer = truth = None
    confidence = 0.0
    if said is not None:
        _, answers, truths, confidences = said
        answer = answers[i] if i < len(answers) else None
        truth = truths[i] if i < len(truths) else None
        confidence = float(confidences[i]) if i < len(confidences) else 0.0
    colour: Colour = UNKNOWN if answer is None or truth is None else TRUE if answer == truth else FALSE
    draw.text((MARGIN, y), fit(draw, mention, SIZE - 2, 168), INK, font(SIZE - 2))
    text = "–" if answer is None else answer
    at = MARGIN + 178
    if answer is not None:
        draw.rounded_rectangle((at, y + 5, at + 9, y + 14), 2, fill=word_colour(answer))  # as in the timeline
    draw.text((at + 16, y), text, colour, font(SIZE))
    if truth is not None and answer != truth:
        x = at + 16 + draw.textlength(text, font(SIZE)) + 8
        draw.text((x, y + 2), fit(draw, f"is {truth}", SIZE - 3, int(WIDTH - 70 - x)), FAINT, font(SIZE - 3))
    left, right = WIDTH - MARGIN - 50, WIDTH - MARGIN
    draw.rectangle((left, y + 6, right, y + 13), outline=FAINT)
    if answer is not None:
        draw.rectangle(
            (left, y + 6, left + (right - left) * min(1.0, max(0.0, confidence)), y + 13), fill=colour
        )


def write_video(path: str | Path, images: Iterator[np.ndarray] | Sequence[np.ndarray], fps: float) -> None:
    """Write (H, W, 3) uint8 images, even in height and width, as H.264 mp4; whole or not at all."""
    target = Path(path)
    partial = target.with_name(target.stem + ".partial.mp4")
    codec = next((name for name in CODECS if name in av.codecs_available), None)
    if codec is None:
        raise InspireError(
            f"this PyAV has none of the H.264 encoders {list(CODECS)}; reinstall the package `av`."
        )
    try:
        with av.open(str(partial), "w", options={"movflags": "faststart"}) as container:
            stream: Any = None
            for image in images:
                if stream is None:
                    stream = container.add_stream(codec, rate=max(1, round(fps)))
                    stream.height, stream.width = image.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    stream.thread_count = 1
                    if codec == "libx264":
                        stream.options = {"crf": "27", "preset": "medium", "tune": "animation"}
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"))
                )
            if stream is None:
                raise InspireError("a video needs at least one frame, found none.")
            container.mux(stream.encode(None))
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def first_image(path: str | Path) -> Image.Image:
    """Return the first frame of a video, to show where videos don't play."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            return frame.to_image()
    raise InspireError(f"{path} holds no image.")


def frame_rate(path: str | Path) -> float:
    """Return the images a second of a video."""
    with av.open(str(path)) as container:
        return float(container.streams.video[0].average_rate or 10)
