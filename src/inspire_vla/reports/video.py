"""An episode as a video: the camera image, below it answers, truths, confidences and a growing timeline."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import av
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inspire_vla.errors import InspireError
from inspire_vla.files import atomic_path
from inspire_vla.labels.video import open_video
from inspire_vla.reports.figures import new_figure, pixel_axes, styled
from inspire_vla.reports.fonts import font_file, needs_font, warn_of, with_fonts
from inspire_vla.reports.lines import cut, wrap
from inspire_vla.reports.theme import DARK, answer_name, rgb
from inspire_vla.reports.timeline import Layout, draw_lanes

WIDTH = 384
"""Of the video, in pixels."""
SIZE, ROW, MARGIN = 15, 26, 12
STRIP = Layout(width=WIDTH - 2 * MARGIN, left=0, right=0, answer=10, truth=3, gap=4, gripper=6)
"""The timeline at the foot of the video."""
CODECS = ("libx264", "libopenh264")
"""H.264, which every browser plays; the first that this PyAV has."""
INK, PAPER, SOFT = rgb(DARK["ink"]), rgb(DARK["paper"]), rgb(DARK["soft"])
CORRECT, WRONG, UNKNOWN = (64, 192, 120), (240, 92, 80), (150, 160, 172)
Colour = tuple[int, int, int]
_MATPLOTLIB_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""Has the letters of European languages, which Pillow's font lacks beyond ASCII."""


def write_episode_video(
    path: str | Path, frames: Sequence[np.ndarray], fps: float, record: Mapping[str, Any]
) -> None:
    """Write frames (T, H, W, 3) uint8 with the answers of `record` (an episode's record as a dictionary).

    H.264 in mp4, about 100 kB for ten seconds. Raises InspireError for no frames or frames of different shapes.
    """
    write_video(path, draw_episode(frames, record, hold=round(fps * 0.8)), fps)


def draw_episode(
    frames: Sequence[np.ndarray], record: Mapping[str, Any], *, hold: int = 0
) -> Iterator[np.ndarray]:
    """Yield images uint8 (H', WIDTH, 3): frame t with the last answers; the last image is repeated `hold` times.

    frames: (H, W, 3) uint8. Raises InspireError for no frames or frames of different shapes.
    """
    if not len(frames):
        raise InspireError("A video needs at least one frame, found none.")
    timeline = list(record.get("timeline") or ())
    strips = (
        _strip(record),
        _strip({**record, "timeline": (), "gripper": record.get("gripper") and [(0, "open")]}),
    )
    decision = -1
    for t, frame in enumerate(frames):
        if frame.shape != frames[0].shape:
            raise InspireError(
                f"Frames must have one shape, found {frames[0].shape} and {frame.shape} at step {t}."
            )
        while decision + 1 < len(timeline) and timeline[decision + 1][0] <= t:
            decision += 1
        last = t == len(frames) - 1
        image = _compose(frame, record, timeline[decision] if decision >= 0 else None, t, strips, final=last)
        yield from [image] * (1 + hold * last)


def _compose(
    frame: np.ndarray,
    record: Mapping[str, Any],
    decision: Sequence[Any] | None,
    t: int,
    strips: tuple[np.ndarray, np.ndarray],
    *,
    final: bool,
) -> np.ndarray:
    mentions = list(record.get("mentions") or ())
    text = str(record.get("instruction", ""))
    instruction = _instruction_lines(text)
    height = round(frame.shape[0] * WIDTH / frame.shape[1])
    total = height + _height_below(record)
    canvas = Image.new("RGB", (WIDTH, total + total % 2), PAPER)
    resample = Image.Resampling.NEAREST if WIDTH % frame.shape[1] == 0 else Image.Resampling.BICUBIC
    canvas.paste(Image.fromarray(frame).resize((WIDTH, height), resample), (0, 0))
    draw = ImageDraw.Draw(canvas)
    y = height + MARGIN
    for line in instruction:
        draw.text((MARGIN, y), line, INK, font(SIZE, text))  # one font for all lines
        y += 20
    y += 6
    if not mentions:
        draw.text((MARGIN, y), "acts without reasoning", SOFT, font(SIZE - 2))
        y += ROW
    for i, mention in enumerate(mentions):
        _answer_row(draw, y, mention, decision, i)
        y += ROW
    if len(strips[0]):
        x = round(STRIP.width * min(1.0, t / max(1, int(record.get("steps", 0)))))
        strip = np.concatenate([strips[0][:, :x], strips[1][:, x:]], axis=1)
        canvas.paste(Image.fromarray(strip), (MARGIN, y + 2))
        draw.line((MARGIN + x, y, MARGIN + x, y + 2 + len(strip) - STRIP.gap), fill=INK)
    y += len(strips[0]) + 4
    playing = f"{record.get('policy', '')}   step {t}"
    draw.text((MARGIN, y + 2), playing, SOFT, font(SIZE - 3, playing))
    if final and (record.get("success") is not None or record.get("error")):
        success, crashed = record.get("success"), record.get("error")
        outcome, colour = ("success", CORRECT) if success else ("crashed" if crashed else "failure", WRONG)
        draw.text((WIDTH - MARGIN, y + 2), outcome, colour, font(SIZE), anchor="ra")
        draw.rectangle((0, 0, WIDTH - 1, height - 1), outline=colour, width=4)
    return np.asarray(canvas)


def _height_below(record: Mapping[str, Any]) -> int:
    """Pixels below the camera image: the instruction, a row for each object, the timeline, and the step."""
    lines, mentions = _instruction_lines(str(record.get("instruction", ""))), record.get("mentions") or ()
    return 20 * len(lines) + ROW * max(1, len(mentions)) + STRIP.height(record) + 2 * MARGIN + 34


@styled
def _strip(record: Mapping[str, Any]) -> np.ndarray:
    """The whole timeline of an episode as an image (h, STRIP.width, 3) uint8, without its axis."""
    height = STRIP.height(record)
    if not height:
        return np.zeros((0, STRIP.width, 3), np.uint8)
    figure = new_figure(STRIP.width, height)
    figure.set_facecolor(DARK["paper"])
    axis = pixel_axes(figure, 0, 0, STRIP.width, height)
    draw_lanes(axis, record, max(1, int(record.get("steps", 0))), STRIP, DARK)
    axis.set_axis_off()
    with_fonts(figure, figure.canvas.draw)
    return np.array(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]


def _answer_row(
    draw: ImageDraw.ImageDraw, y: int, mention: str, decision: Sequence[Any] | None, i: int
) -> None:
    """Draw the mention, its answer, the truth where it differs, and the confidence as a bar."""
    _, answers, truths, confidences = decision or (0, (), (), ())
    answer = (answers[i] or None) if i < len(answers) else None
    truth = truths[i] if i < len(truths) else None
    confidence = float(confidences[i]) if i < len(confidences) else 0.0
    colour: Colour = UNKNOWN if answer is None or truth is None else CORRECT if answer == truth else WRONG
    draw.text((MARGIN, y), cut(mention, 168, _pixels(SIZE - 2)), INK, font(SIZE - 2, mention))
    x: float = MARGIN + 178
    if answer is not None:  # in the colour of the timeline
        draw.rounded_rectangle((x, y + 5, x + 9, y + 14), 2, fill=rgb(DARK["w-" + answer_name(answer)]))
    text = "–" if answer is None else answer
    draw.text((x + 16, y), text, colour, font(SIZE, text))
    if truth is not None and answer != truth:
        x += 16 + draw.textlength(text, font(SIZE, text)) + 8
        draw.text((x, y + 2), cut(f"is {truth}", WIDTH - 70 - x, _pixels(SIZE - 3)), SOFT, font(SIZE - 3))
    left, right = WIDTH - MARGIN - 50, WIDTH - MARGIN
    draw.rectangle((left, y + 6, right, y + 13), outline=SOFT)
    if answer is not None:
        draw.rectangle((left, y + 6, left + 50 * min(1.0, max(0.0, confidence)), y + 13), fill=colour)


@lru_cache(maxsize=64)  # every frame has it
def _instruction_lines(text: str) -> list[str]:
    return wrap(text, WIDTH - 2 * MARGIN, font(SIZE, text).getlength, most=3)


def _pixels(size: int) -> Callable[[str], float]:
    """What measures a text in pixels."""
    return lambda text: font(size, text).getlength(text)


def font(size: int, text: str = "") -> Any:
    """Return a font with the letters of a text: Pillow's own, else matplotlib's, else one of the machine's."""
    if not needs_font(text):
        return _font(size, None if text.replace("…", "").isascii() else _MATPLOTLIB_FONT)
    if (file := font_file()) is None:
        warn_of("".join(filter(needs_font, text)))
    return _font(size, file)


@cache
def _font(size: int, file: Path | None) -> Any:
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


def write_video(path: str | Path, images: Iterator[np.ndarray] | Sequence[np.ndarray], fps: float) -> None:
    """Write images (H, W, 3) uint8, even in height and width, as H.264 mp4, atomically."""
    codec = next((name for name in CODECS if name in av.codecs_available), None)
    if codec is None:
        raise InspireError(
            f"This PyAV has none of the H.264 encoders {list(CODECS)}; reinstall the package `av`."
        )
    options = {"movflags": "faststart"}
    with (
        atomic_path(path) as partial,
        av.open(os.fspath(partial), "w", format="mp4", options=options) as container,
    ):
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
            raise InspireError("A video needs at least one frame, found none.")
        container.mux(stream.encode(None))


def camera_frames(path: str | Path, record: Mapping[str, Any]) -> list[np.ndarray]:
    """Return the camera's images (H, WIDTH, 3) uint8 of an episode's video, without the text below, and not the last
    one's repetitions.

    record: of the episode, as it was when the video was written. Raises InspireError for a video that is missing or
    damaged.
    """
    frames: list[np.ndarray] = []
    with open_video(path) as container:
        for frame in container.decode(video=0):
            if len(frames) > int(record.get("steps", 0)):
                break
            image = frame.to_ndarray(format="rgb24")
            height = len(image) - _height_below(record)
            if height == WIDTH + 1:  # a square image; the height of a video is even
                height = WIDTH
            frames.append(np.ascontiguousarray(image[:height]))
    return frames


def first_image(path: str | Path) -> Image.Image:
    """Return the first frame of a video."""
    with open_video(path) as container:
        for frame in container.decode(video=0):
            return frame.to_image()
    raise InspireError(f"{path} holds no image.")


def frame_rate(path: str | Path) -> float:
    """Return the frames per second of a video."""
    with open_video(path) as container:
        return float(container.streams.video[0].average_rate or 10)
