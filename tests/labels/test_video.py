"""A truncated video is found without decoding it."""

from pathlib import Path

import av
import numpy as np
import pytest

from inspire_vla.labels.video import defect_at_end

FRAMES, FPS = 48, 10


def film(path: Path, *, index_first: bool, group: int) -> bytes:
    """Noise, so that every image takes many bytes. LeRobot writes the index first, and small groups of pictures."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"} if index_first else {}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": str(group), "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(FRAMES):
            image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize("group", [2, 24])
@pytest.mark.parametrize("index_first", [True, False])
def test_a_truncated_video_has_a_defect_from_where_it_is_cut(
    tmp_path: Path, index_first: bool, group: int
) -> None:
    path = tmp_path / "film.mp4"
    whole = film(path, index_first=index_first, group=group)
    times_s = np.arange(FRAMES) / FPS
    assert all(defect_at_end(path, time_s, 1 / FPS) == "" for time_s in times_s)
    for share in (0.0, 0.05, 0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        sound = [defect_at_end(path, time_s, 1 / FPS) == "" for time_s in times_s]
        if index_first:  # the images before the cut are there
            assert sound == sorted(sound, reverse=True)
            assert abs(sum(sound) - share * FRAMES) < 6
        else:  # without its index nothing can be read
            assert not any(sound)
    if index_first:
        path.write_bytes(whole[:-1])
        assert defect_at_end(path, times_s[-1], 1 / FPS) != ""


def test_a_video_that_is_shorter_than_its_episodes_is_called_so_from_the_second_missing_image_on(
    tmp_path: Path,
) -> None:
    film(tmp_path / "film.mp4", index_first=True, group=2)
    for missing, sound in ((0, True), (1, True), (2, False), (30, False)):
        last_s = (FRAMES - 1 + missing) / FPS
        assert (defect_at_end(tmp_path / "film.mp4", last_s, 1 / FPS) == "") is sound
