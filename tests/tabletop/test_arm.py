"""Laws of the arm's kinematics."""

import numpy as np
import pytest

from inspire_vla.tabletop import arm
from inspire_vla.tabletop.arm import arm_kinematics, rotation_matrix, rotation_vector
from inspire_vla.tabletop.env import POINTING_DOWN

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("vector", RNG.uniform(-1.5, 1.5, (10, 3)))
def test_rotation_vector_and_matrix_are_inverses(vector):
    assert np.allclose(rotation_vector(rotation_matrix(vector)), vector, atol=1e-9)


def test_a_rotation_matrix_is_orthogonal_and_right_handed():
    matrix = rotation_matrix(np.array([0.3, -1.0, 2.0]))
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    assert np.isclose(np.linalg.det(matrix), 1.0)


@pytest.mark.parametrize("angle", [0.0, 1e-10, np.pi])
def test_rotation_vector_at_its_ends(angle):
    vector = rotation_vector(rotation_matrix(np.array([angle, 0.0, 0.0])))
    assert np.allclose(np.abs(vector), [angle, 0, 0], atol=1e-6)


def test_solving_then_forward_returns_the_pose_all_over_the_table():
    kinematics = arm_kinematics()
    for x in (0.33, 0.50, 0.64):
        for y in (-0.30, 0.0, 0.30):
            for z in (0.02, 0.20, 0.36):
                target = np.array([x, y, z])
                joints = kinematics.solve(np.array(arm.HOME_QPOS), target, POINTING_DOWN, iterations=80)
                position, rotation = kinematics.forward(joints)
                assert np.linalg.norm(position - target) < 2e-3, target
                assert np.linalg.norm(rotation_vector(POINTING_DOWN @ rotation.T)) < 5e-3, target


def test_the_flange_stands_where_frankas_offsets_put_it():
    position, rotation = arm_kinematics().forward(np.zeros(7))
    # Stretched up: 0.333 + 0.316 + 0.384 high, 0.088 out, then flange and hand hang down 0.107 + 0.1034.
    assert np.allclose(position, [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107 - 0.1034], atol=1e-6)
    assert np.allclose(rotation[:, 2], [0.0, 0.0, -1.0], atol=1e-6)


def test_out_of_reach_stays_within_the_joint_limits():
    joints = arm_kinematics().solve(
        np.array(arm.HOME_QPOS), np.array([3.0, 0.0, 0.1]), POINTING_DOWN, iterations=30
    )
    assert np.isfinite(joints).all()
    assert -3.08 < joints[3] < -0.06
