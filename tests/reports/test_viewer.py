"""Moments follow the record; the dialogue is readable; a recording is written and reads back."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.reports.moments import Moment, moments_of
from inspire_vla.reports.video import camera_frames, first_image, frame_rate, write_episode_video
from inspire_vla.reports.viewer import dialogue_text, layout, view

RECORD = {
    "instruction": "pick up the red cube", "mentions": ("the red cube",), "steps": 6, "success": True,
    "policy": "InSpire",
    "timeline": ((0, ("left",), ("left",), (0.9,)), (4, ("down",), ("up",), (0.5,))),
}  # fmt: skip


def test_what_was_said_holds_until_the_next_decision() -> None:
    moments = moments_of(RECORD)
    assert len(moments) == 7
    assert [m.answers[0] for m in moments] == ["left"] * 4 + ["down"] * 3
    assert moments_of({"steps": 2})[0] == Moment(0)


def test_actions_states_and_gripper_stand_at_their_step() -> None:
    actions, states = np.arange(42).reshape(6, 7), np.arange(14).reshape(7, 2)
    record = {**RECORD, "gripper": ((1, "open"), (3, "holding"))}
    moments = moments_of(record, actions=actions, states=states)
    assert moments[2].action == dict(zip("x y z rx ry rz gripper".split(), range(14, 21), strict=True))
    assert moments[6].action == {}
    joints = [f"joint_{n}" for n in range(7)]
    assert list(moments_of(record, actions=actions, action_names=joints)[2].action) == joints
    assert list(moments_of(record, states=np.zeros((7, 7)))[2].state) == [str(n) for n in range(7)]
    assert moments[6].state == {"0": 12.0, "1": 13.0}
    assert [m.gripper for m in moments] == [None, "open", "open", *["holding"] * 4]


def test_the_dialogue_says_what_is_true() -> None:
    first, last = moments_of(RECORD)[0], moments_of(RECORD)[-1]
    assert "| the red cube | **left** | 90% | left ✓ |" in dialogue_text("go", RECORD["mentions"], first)
    assert "| the red cube | **down** | 50% | up ✗ |" in dialogue_text("go", RECORD["mentions"], last)
    assert "**–** | – | – |" in dialogue_text("go", ("the plate",), Moment(0))


@pytest.mark.parametrize("mentions", [(), ("the red cube",), ("a", "b", "c")])
@pytest.mark.parametrize("gripper", [(), ((0, "open"),)])
@pytest.mark.parametrize("size", [(96, 96), (48, 64), (96, 72)])
def test_images_come_back_from_an_episodes_video(tmp_path: Path, size, gripper, mentions) -> None:
    """Most robots' cameras are no squares: nothing of what stands below the image comes with it."""
    frames = [np.full((*size, 3), 30 * t, np.uint8) for t in range(7)]
    record = RECORD | {"mentions": mentions, "gripper": gripper, "success": None}
    write_episode_video(tmp_path / "x.mp4", frames, 10, record)
    back = camera_frames(tmp_path / "x.mp4", record)
    assert len(back) == 7
    assert back[0].shape == pytest.approx((384 * size[0] / size[1], 384, 3), abs=1)
    assert [round(float(p[:-2].mean()) / 30) for p in back] == list(range(7))
    assert max(float(p[:-2].std()) for p in back) < 5


def test_values_of_one_name_stand_apart() -> None:
    """LIBERO's datasets name both fingers "gripper"."""
    names = ("x", "gripper", "gripper")
    (moment, _) = moments_of({"steps": 1}, actions=[np.array([1, 2, 3])], action_names=names)
    assert moment.action == {"x": 1.0, "gripper 1": 2.0, "gripper 2": 3.0}


def test_a_recording_is_written(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    moments = [
        Moment(
            t,
            {"agent view": np.zeros((8, 8, 3), np.uint8)},
            ("left",),
            ("up",),
            (0.5,),
            {"x": 1.0},
            {"a/b": 0.1},
            "closed",
        )
        for t in range(3)
    ]
    view("an episode", "pick up the red cube", ("the red cube",), moments, save=tmp_path / "new" / "x.rrd")
    data = (tmp_path / "new" / "x.rrd").read_bytes()
    assert data[:3] == b"RRF"
    for entity in (
        b"/camera/agent_view",
        b"/confidence/the_red_cube",
        b"/action/a_b",
        b"/dialogue",
        b"/gripper",
    ):
        assert entity in data
    with pytest.raises(InspireError, match=r"\.rrd"):
        view("x", "go", (), [], save=tmp_path / "x.mp4")


def test_each_camera_has_a_view_of_its_own() -> None:
    """rerun draws the images of one view on top of each other."""
    blueprint = pytest.importorskip("rerun.blueprint")
    shown = layout(blueprint, ["front", "left wrist"]).root_container.contents[0].contents
    assert [view.origin for view in shown] == ["camera/front", "camera/left_wrist"]


def test_an_episode_that_cannot_be_read_leaves_no_recording(tmp_path: Path) -> None:
    pytest.importorskip("rerun")

    def moments() -> Iterator[Moment]:
        yield Moment(0, {"front": np.zeros((8, 8, 3), np.uint8)})
        raise InspireError("the second image is damaged")

    with pytest.raises(InspireError, match="second image"):
        view("x", "go", (), moments(), save=tmp_path / "x.rrd")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_damaged_video_of_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InspireError, match=r"none\.mp4 cannot be read as a video: No such file"):
        camera_frames(tmp_path / "none.mp4", RECORD)
    (tmp_path / "half.mp4").write_bytes(b"half a video")
    for read in (first_image, frame_rate, lambda path: camera_frames(path, RECORD)):
        with pytest.raises(InspireError, match=r"half\.mp4 cannot be read as a video"):
            read(tmp_path / "half.mp4")
