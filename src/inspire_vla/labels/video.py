"""Videos, decoded in the order of their frames: much faster than one frame at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from inspire_vla.errors import InspireError, reason_of

_GAP_S = 2.0
"""Between two wanted images further apart, the decoder jumps instead of decoding what lies between."""
_ZEROS = bytes(64)
"""No encoder writes so many zeros in a row; an aborted copy does."""
_OBU_PADDING = 15
_OBU_TYPES = {*range(1, 9), _OBU_PADDING}
"""Those of AV1 that are not reserved."""


@contextmanager
def open_video(path: str | Path) -> Iterator[Any]:
    """Open a video to read. Raises InspireError where it is missing or damaged."""
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.error.FFmpegError, IndexError) as error:
        raise InspireError(f"{path} cannot be read as a video: {reason_of(error)}.") from None


def decode_video(
    path: Path, times: Sequence[float], tolerance_s: float, place: Callable[[int], str] | None = None
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The images of a video at `times` (seconds, ascending), decoded in order: each the nearest one, as in LeRobot.

    Args:
        place: where an image belongs, by its number among `times`, such as "episode 3 of observation.images.front".

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
                            f"{found_s:.4f} s. Record it again, or train with a larger -- --tolerance_s=SECONDS."
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


def defect_of(path: Path, first_s: float, last_s: float, frame_s: float) -> tuple[str, float] | None:
    """What is wrong with a video between two wanted images, and at which second; None if nothing is found.

    Reads the index and the packets between, about a second for an hour of video on a local disk. Nothing is decoded.
    Found are a file that ends too early, parts that hold zeros, and packets whose inner lengths do not fit (H.264,
    HEVC, AV1). Not found are other bytes that changed within one packet. The duration that a file states is no
    evidence: LeRobot writes it at the beginning, and a truncated file still states the whole.

    Args:
        first_s, last_s: times of the images.
        frame_s: seconds between two images. The last one may be missing: whether it is needed is a matter of LeRobot's
            tolerance_s, which a training applies.
    """
    end_s = -math.inf
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            is_sound = _packet_check(stream.codec_context)
            container.seek(round(first_s / stream.time_base), backward=True, stream=stream)
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    end_s = -math.inf
                    break
                if packet.pts is None:
                    continue
                time_s = float(packet.pts * packet.time_base)
                if not is_sound(bytes(packet)):
                    return f"is damaged at {time_s:.2f} s", time_s
                end_s = max(end_s, time_s)
                if end_s > last_s - 0.5 * frame_s:
                    return None
    except (av.error.FFmpegError, IndexError, ValueError, OverflowError) as error:
        return f"cannot be opened: {reason_of(error)}", first_s
    return None if end_s > last_s - 1.5 * frame_s else (f"ends before {last_s:.2f} s", last_s)


def _packet_check(codec: Any) -> Callable[[bytes], bool]:
    """What tells whether a packet of this codec can be sound. Other codecs' packets always can."""
    head = bytes(codec.extradata or b"")
    name = codec.codec.canonical_name
    if name == "av1":
        return _sound_av1
    place = {"h264": 4, "hevc": 21}.get(name)
    if place is None or len(head) <= place or head[0] != 1:  # not as mp4 stores it
        return lambda _: True
    return partial(_sound_units, length_bytes=(head[place] & 3) + 1)


def _sound_units(packet: bytes, length_bytes: int) -> bool:
    """H.264 and HEVC in mp4 (ISO/IEC 14496-15): units, each behind its length. They never hold three zeros in a row."""
    position = 0
    while position < len(packet):
        start = position + length_bytes
        length = int.from_bytes(packet[position:start])
        position = start + length
        if length == 0 or position > len(packet):
            return False
    return _ZEROS not in packet


def _sound_av1(packet: bytes) -> bool:
    """AV1 in mp4: units (OBU, section 5.3 of the AV1 specification), each with its type, flags and length."""
    position = 0
    while position < len(packet):
        header, start = packet[position], position + 1
        kind, has_extension, has_length = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        if header & 0x81 or kind not in _OBU_TYPES:
            return False
        start += has_extension
        end = len(packet)
        if has_length:
            length, shift, more = 0, 0, True
            while more:
                if start >= len(packet):
                    return False
                length |= (packet[start] & 127) << shift
                more, shift, start = packet[start] >= 128, shift + 7, start + 1
            end = start + length
        if end > len(packet) or (kind != _OBU_PADDING and packet.find(_ZEROS, start, end) >= 0):
            return False
        position = end
    return True


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
