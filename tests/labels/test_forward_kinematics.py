"""Laws of forward kinematics: known poses, distances are kept; unreadable files are refused."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.forward_kinematics import ForwardKinematics

URDF = """<robot name="two"><link name="base"/><link name="upper"/><link name="lower"/><link name="slide"/>
<link name="tip"/>
<joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/>
  <origin xyz="0 0 1" rpy="0 0 0"/><axis xyz="0 0 2"/></joint>
<joint name="elbow" type="continuous"><parent link="upper"/><child link="lower"/>
  <origin xyz="0.5 0 0"/><axis xyz="0 0 1"/></joint>
<joint name="rail" type="prismatic"><parent link="lower"/><child link="slide"/><axis xyz="1 0 0"/></joint>
<joint name="hand" type="fixed"><parent link="slide"/><child link="tip"/><origin xyz="0.25 0 0" rpy="0 0 1.57"/></joint>
</robot>"""


@pytest.fixture
def urdf(tmp_path):
    path = tmp_path / "robot.urdf"
    path.write_text(URDF)
    return path


def test_known_poses(urdf):
    chain = ForwardKinematics.read(urdf, "tip")
    assert chain.joint_names == ("shoulder", "elbow", "rail")
    quarter = np.pi / 2
    poses = np.array([[0, 0, 0], [quarter, 0, 0], [0, quarter, 0], [0, 0, 0.1], [quarter, -quarter, 0]])
    wanted = [[0.75, 0, 1], [0, 0.75, 1], [0.5, 0.25, 1], [0.85, 0, 1], [0.25, 0.5, 1]]
    np.testing.assert_allclose(chain.positions(poses), wanted, atol=1e-12)


def test_rotation_keeps_the_distance(urdf):
    angles = np.random.default_rng(0).uniform(-3, 3, (20, 2))
    chain = ForwardKinematics.read(urdf, "tip")
    straight, turned = (
        chain.positions(np.c_[angles + np.array([turn, 0]), np.zeros(20)]) for turn in (0.0, 1.0)
    )
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(straight, axis=1))


def test_a_link_that_no_joint_moves_is_refused(urdf):
    with pytest.raises(InspireError, match=r"no joint of .* moves link 'base'.*ends of the arm: tip"):
        ForwardKinematics.read(urdf, "base")


@pytest.mark.parametrize(
    ("text", "tip", "says"),
    [
        ("<robot", "tip", "cannot be read as URDF"),
        ("<!DOCTYPE r [<!ENTITY a 'b'>]><robot/>", "tip", "DOCTYPE"),
        (URDF, "tipp", "Did you mean 'tip'"),
        (URDF.replace("prismatic", "floating"), "tip", "floating"),
        (URDF.replace("0 0 2", "0 0 0"), "tip", "axis too small in joint.*shoulder"),
        (URDF.replace("0.5 0 0", "0.5 nan 0"), "tip", "not a finite number"),
    ],
)
def test_unreadable_urdfs_are_refused(tmp_path, text, tip, says):
    path = tmp_path / "robot.urdf"
    path.write_text(text)
    with pytest.raises(InspireError, match=says):
        ForwardKinematics.read(path, tip)


def test_a_missing_urdf_is_told_in_plain_words(tmp_path):
    with pytest.raises(InspireError) as told:
        ForwardKinematics.read(tmp_path / "robot.urdf", "tip")
    assert str(told.value) == f"{tmp_path / 'robot.urdf'} cannot be read as URDF: No such file or directory."


def test_a_wrong_number_of_joints_is_refused(urdf):
    with pytest.raises(InspireError, match="has 3 joints"):
        ForwardKinematics.read(urdf, "tip").positions(np.zeros((4, 6)))
