"""Truncated and damaged videos are found without decoding them."""

from pathlib import Path

import numpy as np
import pytest
from tests.labels.films import CODECS, FPS, FRAMES, LAST_S, film

from inspire_vla.labels.video_defects import defect_of


@pytest.mark.parametrize("group", [2, 24])
@pytest.mark.parametrize("index_first", [True, False])
def test_a_truncated_video_has_a_defect_from_where_it_is_cut(
    tmp_path: Path, index_first: bool, group: int
) -> None:
    path = tmp_path / "film.mp4"
    whole = film(path, index_first=index_first, group=group)
    times_s = np.arange(FRAMES) / FPS
    assert all(defect_of(path, 0, time_s, 1 / FPS) is None for time_s in times_s)
    for share in (0.0, 0.05, 0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        sound = [defect_of(path, 0, time_s, 1 / FPS) is None for time_s in times_s]
        if index_first:  # the images before the cut are there
            assert sound == sorted(sound, reverse=True)
            assert abs(sum(sound) - share * FRAMES) < 6
        else:  # without its index nothing can be read
            assert not any(sound)
    if index_first:
        path.write_bytes(whole[:-1])
        assert defect_of(path, 0, times_s[-1], 1 / FPS) is not None


def test_a_video_that_is_shorter_than_its_episodes_is_called_so_from_the_second_missing_image_on(
    tmp_path: Path,
) -> None:
    film(tmp_path / "film.mp4", index_first=True, group=2)
    for missing, sound in ((0, True), (1, True), (2, False), (30, False)):
        last_s = (FRAMES - 1 + missing) / FPS
        assert (defect_of(tmp_path / "film.mp4", 0, last_s, 1 / FPS) is None) is sound


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("group", [2, 24])
def test_zeros_in_a_video_are_found_where_they_are(tmp_path: Path, codec: str, group: int) -> None:
    """As a copy leaves them whose blocks were not written: at the end of the file or in its middle."""
    path = tmp_path / "film.mp4"
    whole = film(path, index_first=True, group=group, codec=codec)
    assert defect_of(path, 0, LAST_S, 1 / FPS) is None
    for share, count in ((0.5, 512), (0.3, 5000), (0.7, len(whole))):
        start = int(share * len(whole))
        zeros = bytes(len(whole[start : start + count]))
        path.write_bytes(whole[:start] + zeros + whole[start + count :])
        found = defect_of(path, 0, LAST_S, 1 / FPS)
        assert found is not None
        assert found[0] == f"is damaged at {found[1]:.2f} s"
        assert found[1] == pytest.approx(share * LAST_S, abs=1)
        assert defect_of(path, 0, found[1] - 1, 1 / FPS) is None  # not in what is wanted


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_of_another_file_in_a_video_are_found(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "film.mp4"
    whole = film(path, index_first=True, group=2, codec=codec)
    start, other = len(whole) // 2, np.random.default_rng(1).bytes(len(whole) // 4)
    path.write_bytes(whole[:start] + other + whole[start + len(other) :])
    assert defect_of(path, 0, LAST_S, 1 / FPS) is not None
