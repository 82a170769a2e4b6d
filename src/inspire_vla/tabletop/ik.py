"""Damped-least-squares inverse kinematics on MuJoCo's Jacobian, for the arm alone.

It runs on a model that holds only the arm, so its cost does not grow with the scene.
"""

import functools

import numpy as np

from inspire_vla.tabletop import arm
from inspire_vla.tabletop.rendering import choose_gl_backend

choose_gl_backend()
import mujoco  # noqa: E402  (MUJOCO_GL must be chosen first)

_DAMPING = 1e-3
_POSTURE_GAIN = 0.1


class ArmKinematics:
    """Forward and inverse kinematics of the gripper point (between the finger tips), in the base frame."""

    def __init__(self) -> None:
        text = (
            f"<mujoco><compiler angle='radian' autolimits='true'/><default>{arm.DEFAULTS}</default>"
            f"<worldbody>{arm.body_xml()}</worldbody></mujoco>"
        )
        self._model = mujoco.MjModel.from_xml_string(text)
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site(arm.GRIPPER_SITE).id
        self._jacobian = np.zeros((6, self._model.nv))
        limits = self._model.jnt_range[: arm.ARM_DOFS]
        self._low, self._high = limits[:, 0] + 0.01, limits[:, 1] - 0.01
        self._home = np.array(arm.HOME_QPOS)

    def forward(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint angles (7,) rad → gripper position (3,) m and rotation matrix (3, 3)."""
        self._data.qpos[: arm.ARM_DOFS] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def solve(
        self, qpos: np.ndarray, position: np.ndarray, rotation: np.ndarray, iterations: int = 3
    ) -> np.ndarray:
        """Joint angles (7,) rad that bring the gripper to a pose, starting from `qpos`.

        What freedom is left pulls the arm towards its home posture, so that a pose has one answer.
        Out-of-reach targets end at a nearby pose; joint limits hold.
        """
        model, data, n = self._model, self._data, arm.ARM_DOFS
        q = np.array(qpos, dtype=np.float64)
        error = np.empty(6)
        for _ in range(iterations):
            data.qpos[:n] = q
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = self._jacobian[:, :n]
            error[:3] = position - data.site_xpos[self._site]
            error[3:] = rotation_vector(rotation @ data.site_xmat[self._site].reshape(3, 3).T)
            rest = _POSTURE_GAIN * (self._home - q)
            gram = jacobian @ jacobian.T
            gram.flat[::7] += _DAMPING
            step = rest + jacobian.T @ np.linalg.solve(gram, error - jacobian @ rest)
            q = np.clip(q + np.clip(step, -0.3, 0.3), self._low, self._high)
        return q


@functools.cache
def arm_kinematics() -> ArmKinematics:
    """The one instance of this process."""
    return ArmKinematics()


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) → axis times angle (3,) rad. Inverse of `rotation_matrix` for angles below pi."""
    twice_sine_axis = np.array(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    sine = 0.5 * np.sqrt(twice_sine_axis @ twice_sine_axis)
    cosine = 0.5 * (matrix[0, 0] + matrix[1, 1] + matrix[2, 2] - 1.0)
    angle = np.arctan2(sine, cosine)
    if sine > 1e-9:
        return twice_sine_axis * (0.5 * angle / sine)
    if cosine > 0:
        return 0.5 * twice_sine_axis
    axis = np.sqrt(np.maximum(0.0, (np.diag(matrix) + 1.0) / 2.0))  # a half turn: the sign is free
    return axis / np.linalg.norm(axis) * np.pi


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Axis times angle (3,) rad → rotation matrix (3, 3), by Rodrigues' formula."""
    angle = float(np.sqrt(vector @ vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
