"""Videos, decoded in the order of their frames: much faster than one frame at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from inspire_vla.errors import InspireError, reason_of

_GAP_S = 2.0
"""Between two wanted images further apart, the decoder jumps instead of decoding what lies between."""


@contextmanager
def open_video(path: str | Path) -> Iterator[Any]:
    """Open a video to read. Raises InspireError where it is missing or damaged."""
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.error.FFmpegError, IndexError) as error:
        raise InspireError(f"{path} cannot be read as a video: {reason_of(error)}.") from None


def decode_video(
    path: Path,
    times: Sequence[float],
    tolerance_s: float,
    place: Callable[[int], str] | None = None,
    *,
    advice: str = "Record it again, or train with a larger -- --tolerance_s=SECONDS.",
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The images of a video at `times` (seconds, ascending), decoded in order: each the nearest one, as in LeRobot.

    Args:
        place: where an image belongs, by its number among `times`, such as "episode 3 of observation.images.front".
        advice: what to do where there is no image within the tolerance.

    Raises:
        InspireError: the video is damaged, or has no image within `tolerance_s` of a time.
    """

    def of(number: int) -> str:
        return "" if place is None else f", {place(number)}"

    done = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for group in _groups(times):
                if group[0] > _GAP_S:
                    container.seek(round(group[0] / stream.time_base) - 1, backward=True, stream=stream)
                for time_s, (found_s, frame) in zip(
                    group, _nearest(container.decode(stream), group), strict=True
                ):
                    if abs(found_s - time_s) >= tolerance_s:
                        raise InspireError(
                            f"{path} has no image at {time_s:.4f} s, the time of a frame{of(done)}; the nearest is at "
                            f"{found_s:.4f} s. {advice}"
                        )
                    yield frame.to_ndarray(format="rgb24")
                    done += 1
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        if isinstance(error, InspireError):
            raise
        number = min(done, len(times) - 1)
        raise undecodable(path, times[number], of(number), error) from None


def undecodable(path: Path, time_s: float, of: str, error: Exception) -> InspireError:
    """The error for an image that cannot be decoded. A decoder with threads is some images ahead, so the time is rough.

    of: where the image belongs, such as ", episode 3 of observation.images.front"; "" if unknown.
    """
    return InspireError(
        f"{path} cannot be decoded at {time_s:.2f} s or soon after{of}: {reason_of(error)}. Copy it again from where "
        "it was recorded."
    )


def _nearest(frames: Iterator[Any], times: Sequence[float]) -> Iterator[tuple[float, Any]]:
    """For each of the ascending `times` the time and the frame that is nearest to it."""
    before: tuple[float, Any] | None = None
    remaining = iter(times)
    time_s = next(remaining, None)
    for frame in frames:
        if frame.pts is None:
            continue
        now = float(frame.pts * frame.time_base), frame
        while time_s is not None and time_s <= now[0]:
            yield now if before is None or now[0] - time_s <= time_s - before[0] else before
            time_s = next(remaining, None)
        if time_s is None:
            return
        before = now
    if before is None:
        raise ValueError("it holds no images")
    while time_s is not None:  # after the last frame
        yield before
        time_s = next(remaining, None)


def _groups(times: Sequence[float]) -> list[list[float]]:
    """Times cut where two are more than `_GAP_S` apart."""
    groups: list[list[float]] = []
    for time_s in times:
        if not groups or time_s - groups[-1][-1] > _GAP_S:
            groups.append([])
        groups[-1].append(time_s)
    return groups
