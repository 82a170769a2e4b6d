"""The arm: Franka-Panda kinematics clothed in primitives, as MJCF text.

The base frame is the world frame: origin where the base stands, table top at z = 0, +x front (away
from the base), +y left, +z up. Link offsets and joint limits are Franka's published ones. Links do
not collide; hand and fingers do. The fingers hold by friction alone.
"""

from math import sqrt

ARM_DOFS = 7
HOME_QPOS = (0.0, 0.2, 0.0, -2.3, 0.0, 2.5, 0.785)
FINGER_OPEN_M = 0.04
"""Travel of each finger; the opening is twice as wide."""

GRIPPER_SITE = "gripper"
FINGER_PADS = ("left_pad", "right_pad")
WRIST_CAMERA = "wrist"

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

# Looks of each link, drawn in its own frame: (type, fromto or pos, size, colour)
_CLOTHES = (
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
 <geom type="box" size="0.032 0.042 0.007" pos="0 0 0.018" rgba="{_ACCENT}" class="look"/>
 <site name="{GRIPPER_SITE}" pos="0 0 0.1034"/>
 <camera name="{WRIST_CAMERA}" pos="0.085 0 0.035" xyaxes="0 1 0 0.94 0 0.34" fovy="75"/>
 <body name="left_finger" pos="0 0 0.0584" gravcomp="1">
  <inertial pos="0 0 0.02" mass="0.03" diaginertia="0.00002 0.00002 0.00001"/>
  <joint name="left_finger" type="slide" axis="0 1 0" range="0 {FINGER_OPEN_M}" damping="20" armature="0.2"/>
  <geom type="box" size="0.011 0.008 0.014" pos="0 0.012 0.010" rgba="{_LIGHT}" class="look"/>
  <geom name="left_pad" type="box" size="0.011 0.006 0.019" pos="0 0.006 0.035" class="pad"/>
 </body>
 <body name="right_finger" pos="0 0 0.0584" gravcomp="1">
  <inertial pos="0 0 0.02" mass="0.03" diaginertia="0.00002 0.00002 0.00001"/>
  <joint name="right_finger" type="slide" axis="0 -1 0" range="0 {FINGER_OPEN_M}" damping="20" armature="0.2"/>
  <geom type="box" size="0.011 0.008 0.014" pos="0 -0.012 0.010" rgba="{_LIGHT}" class="look"/>
  <geom name="right_pad" type="box" size="0.011 0.006 0.019" pos="0 -0.006 0.035" class="pad"/>
 </body>
</body>"""

DEFAULTS = """
<default class="look"><geom contype="0" conaffinity="0" mass="0" group="1"/></default>
<default class="gripper"><geom contype="2" conaffinity="1" mass="0" group="1"/></default>
<default class="pad"><geom contype="2" conaffinity="1" mass="0" group="1" condim="4" friction="1.6 0.03 0.001"
  priority="0" rgba="0.80 0.82 0.86 1"/></default>"""


def body_xml() -> str:
    """The arm's bodies, for <worldbody>."""
    opened, closed = [], []
    for i, (pos, quat, low, high, _, _, mass) in enumerate(_LINKS, start=1):
        looks = "".join(
            f'<geom type="{kind}" fromto="{place}" size="{size}" rgba="{colour}" class="look"/>'
            for kind, place, size, colour in _CLOTHES[i - 1]
        )
        opened.append(
            f'<body name="link{i}" pos="{pos}" quat="{quat}" gravcomp="1">'
            f'<inertial pos="0 0 0" mass="{mass}" diaginertia="0.03 0.03 0.03"/>'
            f'<joint name="joint{i}" axis="0 0 1" range="{low} {high}" damping="2" armature="0.2"/>{looks}'
        )
        closed.append("</body>")
    base = f"""<body name="base">
     <geom type="cylinder" fromto="0 0 0 0 0 0.06" size="0.085" rgba="{_DARK}" class="look"/>
     <geom type="capsule" fromto="0 0 0.05 0 0 0.13" size="0.062" rgba="{_DARK}" class="look"/>"""
    return base + "".join(opened) + _HAND + "".join(closed) + "</body>"


def machinery_xml() -> str:
    """Actuators: one per joint, then one per finger. Both fingers always get the same command."""
    motors = "".join(
        f'<position joint="joint{i}" kp="{kp}" kv="{kp / 10}" forcerange="{-f} {f}" ctrlrange="{low} {high}"/>'
        for i, (_, _, low, high, kp, f, _) in enumerate(_LINKS, start=1)
    )
    fingers = "".join(
        f'<position joint="{side}_finger" kp="500" kv="30" forcerange="-15 15" ctrlrange="0 {FINGER_OPEN_M}"/>'
        for side in ("left", "right")
    )
    return f"<actuator>{motors}{fingers}</actuator>"
