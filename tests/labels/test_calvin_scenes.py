"""CALVIN's tables: positions and grasps of blocks, words for fixtures, the scene of a frame."""

import numpy as np
import pytest
from tests.labels.calvin_split import frames

from inspire_vla.errors import InspireError
from inspire_vla.labels.calvin_scenes import SCENES, ScenesOfSplit, get_scene, track


def test_blocks_are_where_the_scene_says():
    robot, scene = frames()
    said = ("the red block", "the blue block", "the block", "top of another block", "the table")
    tracks = track(robot, scene, said, SCENES["D"])
    np.testing.assert_allclose(tracks.gripper_to_object_m[0, :2], [[0.2, 0, 0], [0, 0.3, 0]], atol=1e-6)
    assert tracks.grasped[:, 0].tolist() == [False] * 3 + [True] * 3
    assert not tracks.grasped[:, 1].any()
    np.testing.assert_array_equal(tracks.grasped[:, 2], tracks.grasped[:, 0])  # the block that moved
    np.testing.assert_array_equal(tracks.gripper_to_object_m[:, 3], tracks.gripper_to_object_m[:, 1])
    assert np.isnan(tracks.gripper_to_object_m[:, 4]).all()


def test_the_order_of_the_blocks_is_the_scenes():
    """The same numbers are other blocks on another table: the first is the pink one on A, the blue one on C."""
    robot, scene = frames()
    first = {name: track(robot, scene, ("the red block",), SCENES[name]) for name in SCENES}
    assert {name: bool(tracks.grasped[-1, 0]) for name, tracks in first.items()} == {
        "A": False, "B": True, "C": False, "D": True,
    }  # fmt: skip
    assert track(robot, scene, ("the pink block",), SCENES["A"]).grasped[-1, 0]
    assert track(robot, scene, ("the blue block",), SCENES["C"]).grasped[-1, 0]


@pytest.mark.parametrize(
    ("mention", "name"),
    [
        ("the drawer handle", "drawer"), ("the handle of the drawer", "drawer"), ("the handle", "drawer"),
        ("the cabinet drawer", "drawer"), ("the door handle", "door"), ("the sliding door", "door"),
        ("the sliding cabinet", "shelf"), ("the slider", "shelf"), ("the light switch", "switch"),
        ("the led light", "led"), ("the green lamp", "led"), ("the yellow light", "bulb"), ("the light bulb", "bulb"),
        ("the button", "button"), ("the red block in the drawer", "red"), ("the tower", None),
    ],
)  # fmt: skip
def test_words_for_fixtures(mention, name):
    places = SCENES["D"].positions(frames()[1])
    assert SCENES["D"].name_of(mention, places) == name


def test_doors_and_drawers_move_with_their_joints():
    state = np.zeros((2, 24))
    state[1, :4] = [0.28, 0.22, 0.01, 0.088]
    for scene in SCENES.values():
        places = scene.positions(state)
        moved = {name: places[name][1] - places[name][0] for name in scene.fixtures}
        np.testing.assert_allclose(moved["door"], [-0.28, 0, 0], atol=1e-9)
        np.testing.assert_allclose(moved["drawer"], [0, -0.22, 0], atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(moved["switch"]), 0.088, atol=1e-4)
        assert not moved["led"].any()
        assert not moved["shelf"].any()


def test_the_scene_of_a_split(tmp_path):
    with pytest.raises(InspireError, match="--scene A, B, C or D"):
        ScenesOfSplit(tmp_path)
    with pytest.raises(InspireError, match="unknown scene 'E'"):
        ScenesOfSplit(tmp_path, "E")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/merged_config.yaml").write_text("file: calvin_table_C/urdf/calvin_table_C.urdf")
    assert ScenesOfSplit(tmp_path).of(7) is SCENES["C"]
    several = ScenesOfSplit(tmp_path, None, {"calvin_scene_A": [0, 9], "calvin_scene_C": [10, 19]})
    assert [several.of(frame) for frame in (0, 9, 10)] == [SCENES["A"], SCENES["A"], SCENES["C"]]
    with pytest.raises(InspireError, match="does not say"):
        several.of(20)
    assert ScenesOfSplit(tmp_path, "calvin_scene_D").of(3) is get_scene("d")


def test_scenes_that_contradict_each_other_are_an_error_that_names_both(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/merged_config.yaml").write_text("calvin_table_D", encoding="utf-8")
    found = {"calvin_scene_B": [0, 9], "calvin_scene_A": [10, 19]}
    with pytest.raises(
        InspireError, match=r"scene_info.npy says scene A, B, and .*merged_config.yaml says scene D"
    ):
        ScenesOfSplit(tmp_path, None, found)
    assert ScenesOfSplit(tmp_path, "A", found).of(3) is get_scene("A")
