"""CALVIN's files: blocks are found, held ones are grasped, hostile and broken files are refused."""

import os
import pickle

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.calvin import BLOCKS, import_calvin, read_annotations, read_frame, track


def frames(count=6):
    robot, scene = np.zeros((count, 15)), np.zeros((count, 24))
    robot[:, :3] = [0.0, 0.0, 0.5]
    robot[:, 6], robot[:, 14] = 0.08, 1
    scene[:, 6:9], scene[:, 12:15], scene[:, 18:21] = [0.2, 0, 0.5], [0, 0.3, 0.5], [0, 0, 0.1]
    robot[3:, 6], robot[3:, 14] = 0.04, -1
    scene[3:, 6:9] = robot[3:, :3] + [0, 0, -0.01]
    return robot, scene


def test_blocks_are_where_the_scene_says():
    robot, scene = frames()
    tracks = track(robot, scene, ("the red block", "the blue block", "the block", "the drawer"), {})
    np.testing.assert_allclose(tracks.gripper_to_object_m[0, :2], [[0.2, 0, 0], [0, 0.3, 0]], atol=1e-6)
    assert tracks.grasped[:, 0].tolist() == [False] * 3 + [True] * 3
    assert not tracks.grasped[:, 1].any()
    np.testing.assert_array_equal(tracks.grasped[:, 2], tracks.grasped[:, 0])  # the block that moved
    assert np.isnan(tracks.gripper_to_object_m[:, 3]).all()
    placed = track(robot, scene, ("the drawer",), {"drawer": np.array([0.1, 0.2, 0.3])})
    np.testing.assert_allclose(placed.gripper_to_object_m[0, 0], [0.1, 0.2, -0.2], atol=1e-6)
    assert set(BLOCKS.values()) == {6, 12, 18}


@pytest.fixture
def split(tmp_path):
    robot, scene = frames()
    for number in range(6):
        np.savez(
            tmp_path / f"episode_{number:07d}.npz",
            robot_obs=robot[number], scene_obs=scene[number], rel_actions=np.zeros(7),
            rgb_static=np.zeros((16, 16, 3), np.uint8),
        )  # fmt: skip
    (tmp_path / "lang_annotations").mkdir()
    annotations = {
        "language": {"ann": ["lift the red block", "push the sliding door", "lift the blue block"]},
        "info": {"indx": [(0, 5), (1, 4), (3, 9)]},
    }
    np.save(tmp_path / "lang_annotations/auto_lang_ann.npy", annotations, allow_pickle=True)
    return tmp_path


def test_a_split_becomes_a_dataset_and_gaps_are_counted(split, tmp_path):
    report = import_calvin(split, tmp_path / "out", pictures=False)
    assert (report.episodes, report.frames) == (2, 10)
    assert report.skipped == {"a frame is missing": 1}
    assert report.unplaced == {"the sliding door": 1}


def test_annotations_cannot_run_anything(split):
    class Hostile:
        def __reduce__(self):
            return os.getcwd, ()

    path = split / "lang_annotations/auto_lang_ann.npy"
    assert len(read_annotations(split)) == 3
    np.save(path, np.array(Hostile(), dtype=object), allow_pickle=True)
    with pytest.raises(InspireError, match="no part of annotations"):
        read_annotations(split)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(InspireError, match="no language annotations"):
        read_annotations(split)


def test_broken_frames_are_refused(split):
    with pytest.raises(InspireError, match="missing"):
        read_frame(split, 99)
    path = split / "episode_0000000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InspireError, match="damaged"):
        read_frame(split, 0)
    np.savez(path, robot_obs=np.zeros(3))
    with pytest.raises(InspireError, match="lacks robot_obs of 15"):
        read_frame(split, 0)
