"""An image that cannot be decoded is named."""

import re
from pathlib import Path

import av
import pytest
from tests.labels.films import FPS, FRAMES, LAST_S, film

from inspire_vla.errors import InspireError
from inspire_vla.labels.video import decode_video
from inspire_vla.labels.video_defects import defect_of


def test_an_image_that_cannot_be_decoded_is_named_by_file_time_and_place(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    whole = bytearray(film(path, index_first=True, group=2, codec="libsvtav1"))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos]
    number = FRAMES // 2 + 1
    start = packets[number].pos + 3  # behind type, flags and length: the frame's header
    whole[start : start + 40] = 40 * b"\xff"
    path.write_bytes(whole)
    assert defect_of(path, 0, LAST_S, 1 / FPS) is None
    times = [number / FPS for number in range(FRAMES)]
    wanted = (
        r"film\.mp4 cannot be decoded at (\d\.\d\d) s or soon after, image (\d+) of front: .*Copy it again"
    )
    with pytest.raises(InspireError, match=wanted) as raised:
        list(decode_video(path, times, 0.5 / FPS, lambda number: f"image {number} of front"))
    time_s, image = re.findall(wanted, str(raised.value))[0]
    assert float(time_s) == pytest.approx(int(image) / FPS)
    assert float(time_s) == pytest.approx(number / FPS, abs=0.5)
