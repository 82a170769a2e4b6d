"""The robot arm: a Franka Panda as MJCF text, with forward and inverse kinematics.

The base frame is the world frame: the origin is where the base stands, the table top is z = 0, +x points front (away
from the base), +y left, +z up. Link offsets and joint limits are Franka's published values. The links do not collide;
the hand and the fingers do. The fingers hold objects by friction only.
"""

import functools
from math import sqrt

import numpy as np

from inspire_vla.tabletop.rendering import choose_gl_backend

choose_gl_backend()
import mujoco  # noqa: E402  (MUJOCO_GL must be chosen first)

ARM_DOFS = 7
HOME_QPOS = (0.0, 0.2, 0.0, -2.3, 0.0, 2.5, 0.785)
FINGER_OPEN_M = 0.04
"""Travel of each finger. The opening between them is twice as wide."""

GRIPPER_SITE = "gripper"
FINGER_PADS = ("left_pad", "right_pad")
WRIST_CAMERA = "wrist"

_DAMPING = 1e-3
_POSTURE_GAIN = 0.1

_H = sqrt(0.5)
_DARK, _MID, _LIGHT, _ACCENT = "0.16 0.17 0.20 1", "0.24 0.26 0.30 1", "0.36 0.38 0.43 1", "0.93 0.55 0.18 1"

# (offset to parent, quaternion, lower, upper, kp, force limit, mass)
_LINKS = (
    ("0 0 0.333", "1 0 0 0", -2.8973, 2.8973, 4500, 87, 3.0),
    ("0 0 0", f"{_H} {-_H} 0 0", -1.7628, 1.7628, 4500, 87, 3.0),
    ("0 -0.316 0", f"{_H} {_H} 0 0", -2.8973, 2.8973, 3500, 87, 3.0),
    ("0.0825 0 0", f"{_H} {_H} 0 0", -3.0718, -0.0698, 3500, 87, 2.5),
    ("-0.0825 0.384 0", f"{_H} {-_H} 0 0", -2.8973, 2.8973, 2000, 40, 2.5),
    ("0 0 0", f"{_H} {_H} 0 0", -0.0175, 3.7525, 2000, 40, 1.5),
    ("0.088 0 0", f"{_H} {_H} 0 0", -2.8973, 2.8973, 2000, 40, 0.7),
)

# Visual geoms of each link, in its own frame: (type, fromto, size, colour)
_VISUAL_GEOMS = (
    (
        ("capsule", "0 0 -0.16 0 0 -0.02", "0.058", _MID),
        ("cylinder", "0 0 -0.21 0 0 -0.195", "0.06", _ACCENT),
    ),
    (("capsule", "0 0 -0.05 0 0 0.05", "0.058", _DARK), ("capsule", "0 -0.02 0 0 -0.12 0", "0.054", _DARK)),
    (("capsule", "0 0 -0.14 0 0 -0.04", "0.05", _MID), ("capsule", "0 0 -0.04 0.0825 0 0", "0.045", _MID)),
    (("capsule", "0 0 -0.045 0 0 0.045", "0.05", _DARK), ("capsule", "0 0 0 -0.0825 0.07 0", "0.045", _DARK)),
    (
        ("capsule", "0 0 -0.28 0 0 -0.06", "0.044", _MID),
        ("cylinder", "0 0 -0.20 0 0 -0.185", "0.046", _ACCENT),
    ),
    (("capsule", "0 0 -0.04 0 0 0.03", "0.046", _DARK), ("capsule", "0 0 0 0.088 0 0", "0.038", _DARK)),
    (
        ("cylinder", "0 0 -0.02 0 0 0.095", "0.041", _MID),
        ("cylinder", "0 0 0.095 0 0 0.107", "0.036", _LIGHT),
    ),
)

_HAND = f"""
<body name="hand" pos="0 0 0.107" quat="0.9238795 0 0 -0.3826834" gravcomp="1">
 <inertial pos="0 0 0.04" mass="0.7" diaginertia="0.002 0.002 0.001"/>
 <geom name="hand" type="box" size="0.030 0.082 0.030" pos="0 0 0.033" rgba="{_DARK}" class="gripper"/>
 <geom type="box" size="0.032 0.042 0.007" pos="0 0 0.018" rgba="{_ACCENT}" class="visual"/>
 <site name="{GRIPPER_SITE}" pos="0 0 0.1034"/>
 <camera name="{WRIST_CAMERA}" pos="0.085 0 0.035" xyaxes="0 1 0 0.94 0 0.34" fovy="75"/>
 <body name="left_finger" pos="0 0 0.0584" gravcomp="1">
  <inertial pos="0 0 0.02" mass="0.03" diaginertia="0.00002 0.00002 0.00001"/>
  <joint name="left_finger" type="slide" axis="0 1 0" range="0 {FINGER_OPEN_M}" damping="20" armature="0.2"/>
  <geom type="box" size="0.011 0.008 0.014" pos="0 0.012 0.010" rgba="{_LIGHT}" class="visual"/>
  <geom name="left_pad" type="box" size="0.011 0.006 0.019" pos="0 0.006 0.035" class="pad"/>
 </body>
 <body name="right_finger" pos="0 0 0.0584" gravcomp="1">
  <inertial pos="0 0 0.02" mass="0.03" diaginertia="0.00002 0.00002 0.00001"/>
  <joint name="right_finger" type="slide" axis="0 -1 0" range="0 {FINGER_OPEN_M}" damping="20" armature="0.2"/>
  <geom type="box" size="0.011 0.008 0.014" pos="0 -0.012 0.010" rgba="{_LIGHT}" class="visual"/>
  <geom name="right_pad" type="box" size="0.011 0.006 0.019" pos="0 -0.006 0.035" class="pad"/>
 </body>
</body>"""

DEFAULTS = """
<default class="visual"><geom contype="0" conaffinity="0" mass="0" group="1"/></default>
<default class="gripper"><geom contype="2" conaffinity="1" mass="0" group="1"/></default>
<default class="pad"><geom contype="2" conaffinity="1" mass="0" group="1" condim="4" friction="1.6 0.03 0.001"
  priority="0" rgba="0.80 0.82 0.86 1"/></default>"""


def body_xml() -> str:
    """Return the arm's bodies, for <worldbody>."""
    opened, closed = [], []
    for i, (pos, quat, low, high, _, _, mass) in enumerate(_LINKS, start=1):
        visual = "".join(
            f'<geom type="{kind}" fromto="{fromto}" size="{size}" rgba="{colour}" class="visual"/>'
            for kind, fromto, size, colour in _VISUAL_GEOMS[i - 1]
        )
        opened.append(
            f'<body name="link{i}" pos="{pos}" quat="{quat}" gravcomp="1">'
            f'<inertial pos="0 0 0" mass="{mass}" diaginertia="0.03 0.03 0.03"/>'
            f'<joint name="joint{i}" axis="0 0 1" range="{low} {high}" damping="2" armature="0.2"/>{visual}'
        )
        closed.append("</body>")
    base = f"""<body name="base">
     <geom type="cylinder" fromto="0 0 0 0 0 0.06" size="0.085" rgba="{_DARK}" class="visual"/>
     <geom type="capsule" fromto="0 0 0.05 0 0 0.13" size="0.062" rgba="{_DARK}" class="visual"/>"""
    return base + "".join(opened) + _HAND + "".join(closed) + "</body>"


def actuator_xml() -> str:
    """Return the actuators: one per joint, then one per finger. Both fingers always get the same command."""
    motors = "".join(
        f'<position joint="joint{i}" kp="{kp}" kv="{kp / 10}" forcerange="{-f} {f}" ctrlrange="{low} {high}"/>'
        for i, (_, _, low, high, kp, f, _) in enumerate(_LINKS, start=1)
    )
    fingers = "".join(
        f'<position joint="{side}_finger" kp="500" kv="30" forcerange="-15 15" ctrlrange="0 {FINGER_OPEN_M}"/>'
        for side in ("left", "right")
    )
    return f"<actuator>{motors}{fingers}</actuator>"


class ArmKinematics:
    """Forward and inverse kinematics of the gripper point (between the finger tips), in the base frame.

    The inverse is damped least squares on MuJoCo's Jacobian. It runs on a model that holds only the arm, so its cost
    does not depend on the scene.
    """

    def __init__(self) -> None:
        text = (
            f"<mujoco><compiler angle='radian' autolimits='true'/><default>{DEFAULTS}</default>"
            f"<worldbody>{body_xml()}</worldbody></mujoco>"
        )
        self._model = mujoco.MjModel.from_xml_string(text)
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site(GRIPPER_SITE).id
        self._jacobian = np.zeros((6, self._model.nv))
        limits = self._model.jnt_range[:ARM_DOFS]
        self._low, self._high = limits[:, 0] + 0.01, limits[:, 1] - 0.01
        self._home = np.array(HOME_QPOS)

    def forward(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gripper's position (3,) in metres and rotation matrix (3, 3) at joint angles (7,) in rad."""
        self._data.qpos[:ARM_DOFS] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def solve(
        self, qpos: np.ndarray, position: np.ndarray, rotation: np.ndarray, iterations: int = 3
    ) -> np.ndarray:
        """Return joint angles (7,) in rad that bring the gripper to a pose, starting from `qpos`.

        The null space pulls the arm towards its home posture, so a pose has one solution. A target out of reach
        ends at a nearby pose. The joint limits always hold.
        """
        model, data, n = self._model, self._data, ARM_DOFS
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
    """Return the instance that this process shares."""
    return ArmKinematics()


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """Convert a rotation matrix (3, 3) to axis times angle (3,) in rad, with an angle of at most pi.

    Not scipy's `Rotation`: its last bits differ, and so would every recorded demonstration.
    """
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
    axis = np.sqrt(np.maximum(0.0, (np.diag(matrix) + 1.0) / 2.0))  # half a turn: either sign is right
    return axis / np.linalg.norm(axis) * np.pi


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Convert axis times angle (3,) in rad to a rotation matrix (3, 3) by Rodrigues' formula."""
    angle = float(np.sqrt(vector @ vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
