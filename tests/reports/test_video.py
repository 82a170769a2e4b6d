import av
import numpy as np
import pytest
from tests.reports.synthetic import frames

from inspire_vla.errors import InspireError
from inspire_vla.reports.theme import DARK, rgb
from inspire_vla.reports.video import STRIP, draw_episode, first_image, frame_rate, write_episode_video

RECORD = {
    "instruction": "put the black bowl on the plate",
    "mentions": ("the black bowl", "the plate"),
    "success": True,
    "policy": "InSpire",
    "timeline": (
        (0, ("left", "up"), ("left", "down"), (0.9, 0.5)),
        (4, ("grasped", "up"), ("grasped", None), (1, 0.2)),
    ),
}


def test_a_browser_can_play_it_and_it_is_small(tmp_path):
    write_episode_video(tmp_path / "v.mp4", frames(50, 0), 10, RECORD)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 10
        assert sum(1 for _ in container.decode(video=0)) == 58  # the end is held
    assert (tmp_path / "v.mp4").stat().st_size < 100_000
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
    assert first_image(tmp_path / "v.mp4").width == 384
    assert frame_rate(tmp_path / "v.mp4") == 10


def test_what_is_drawn_follows_the_dialogue():
    images = list(draw_episode(frames(8, 0), RECORD))
    panel = 384
    assert np.array_equal(images[1][panel : panel + 60], images[2][panel : panel + 60])
    assert not np.array_equal(images[3][panel:], images[4][panel:])  # a new answer
    assert {p.shape for p in images} == {images[0].shape}
    assert images[0].shape[0] % 2 == 0


def test_green_when_true_and_red_when_false():
    first = next(iter(draw_episode(frames(1, 0), RECORD))).astype(int)
    green = (first[..., 1] - first[..., 0] > 60).sum(axis=1)
    red = (first[..., 0] - first[..., 1] > 80).sum(axis=1)
    assert green[384:].argmax() < red[384:].argmax()  # "left" is true and stands above "up", which is not


def test_the_timeline_grows_with_the_film():
    record = {**RECORD, "steps": 7, "gripper": ((0, "open"), (2, "closed"), (4, "holding"))}
    images = [p.astype(int) for p in draw_episode(frames(8, 0), record)]
    foot = slice(384 + 20 + 12 + 2 * 26, 384 + 20 + 12 + 2 * 26 + 6 + STRIP.height(record))
    left = np.array(rgb(DARK["w-left"]))
    lit = [int((np.abs(p[foot] - left).sum(-1) < 60).sum()) for p in images]
    assert lit[0] == 0
    assert lit[1] < lit[2] < lit[3] < lit[4]
    assert lit[7] - lit[4] < 20  # from then on it says "grasped"; the line of now may hide a column
    green = [int((np.abs(p[foot] - np.array(rgb(DARK["w-grasped"]))).sum(-1) < 60).sum()) for p in images]
    assert green[4] == 0 < green[5] < green[6]
    assert STRIP.height({}) == 0


def test_a_base_models_episode_is_drawn_too():
    record = {
        "instruction": "open the drawer " * 12,
        "success": False,
        "timeline": (),
        "error": "RuntimeError",
    }
    assert len(list(draw_episode(frames(3, 0, size=100), record, hold=2))) == 5


def test_bad_frames_are_refused(tmp_path):
    with pytest.raises(InspireError, match="at least one"):
        write_episode_video(tmp_path / "v.mp4", [], 10, RECORD)
    with pytest.raises(InspireError, match="one shape"):
        write_episode_video(tmp_path / "v.mp4", [*frames(2, 0), *frames(1, 0, size=64)], 10, RECORD)
    assert not list(tmp_path.iterdir())
