"""Whether the videos of a dataset are whole. Reads their packets and decodes nothing."""

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import av
from tqdm.auto import tqdm

from inspire_vla.errors import reason_of
from inspire_vla.labels.lerobot_files import LeRobotFiles, VideoSpan

_SILENT_S = 2.0
"""A check that takes longer shows its progress."""
_SHOWN = 3
_ZEROS = bytes(64)
"""No encoder writes so many zeros in a row; an aborted copy does."""
_OBU_PADDING = 15
_OBU_TYPES = {*range(1, 9), _OBU_PADDING}
"""Those of AV1 that are not reserved."""


def check_videos(files: LeRobotFiles, episodes: Collection[int] | None = None) -> None:
    """Check that the videos of these episodes of a dataset, or of all, are whole: see `defect_of`.

    Raises:
        InspireError: names the first videos that are truncated or damaged, with the episode.
    """
    spans = sorted(files.video_spans(episodes))
    if not spans:
        return
    frame_s = 1 / float(files.info["fps"])
    videos = [(path, list(of_video)) for path, of_video in itertools.groupby(spans, attrgetter("file"))]
    found = list[str]()
    for path, of_video in tqdm(videos, desc="checking videos", unit="file", delay=_SILENT_S):
        if defect := _first_defect(of_video, frame_s):
            found.append(f"{path.relative_to(files.root).as_posix()} {defect}")
    if found:
        listed = ", ".join(found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
        raise files.incomplete(f"truncated or damaged videos, {len(found)} of {len(videos)}: {listed}")


def _first_defect(spans: Sequence[VideoSpan], frame_s: float) -> str:
    """What is wrong with one video where these episodes lie, and in which of them; "" where it is whole."""
    for first_s, last_s in _joined(spans, frame_s):
        if defect := defect_of(spans[0].file, first_s, last_s, frame_s):
            what, time_s = defect
            episode = next((s.episode for s in spans if time_s < s.last_s + frame_s / 2), spans[-1].episode)
            return f"({what}, in episode {episode})"
    return ""


def _joined(spans: Sequence[VideoSpan], frame_s: float) -> list[tuple[float, float]]:
    """First and last second of sorted spans; those that follow each other as one."""
    joined: list[tuple[float, float]] = []
    for span in spans:
        if joined and span.first_s < joined[-1][1] + 1.5 * frame_s:
            joined[-1] = joined[-1][0], max(span.last_s, joined[-1][1])
        else:
            joined.append((span.first_s, span.last_s))
    return joined


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
