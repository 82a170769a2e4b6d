"""What the name of a recorded value says: a coordinate of the end effector, an opening of the gripper, or neither.

ee_x, tcp.pos.y, left_eef_pos_z, x           coordinates
vel_x, delta_x, force_x, axis_angle_x, obj_x none: one of their words says something else
gripper, gripper_pos, finger_left            openings
gripper_x, gripper_vel                       none: part of a pose, and a velocity
"""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

AXES = ("x", "y", "z")
_END_EFFECTOR = frozenset(
    "ee eef effector tcp tool tip tips fingertip hand gripper flange wrist endeffector cartesian cart".split()
)
_PLACE = frozenset("pos position positions pose xyz trans translation coord coordinates location".split())
_NEUTRAL = frozenset(
    "state states observation observations obs proprio robot arm end follower actual measured abs "
    "absolute m mm cm meter meters metre metres world frame in left right l r panda franka ur ur5 ur5e "
    "ur10 xarm piper kinova jaco so so100 so101 koch aloha viperx widowx sawyer iiwa".split()
)
_NOT_OF_A_JOINT = _PLACE | _NEUTRAL | {"main", "follower"}
_CONTRARY = frozenset(
    "vel velocity velocities speed twist linear angular ang acc accel acceleration jerk force forces "
    "torque torques effort efforts wrench current load delta deltas d diff rel relative offset error err "
    "axis angle angles rot rotation quat quaternion orientation orient ori euler rpy rotvec joint joints "
    "motor motors qpos qvel camera cam object obj goal target desired cmd command commanded base mobile "
    "odom head torso waist shoulder elbow imu gyro gravity mag normalized normalised".split()
)
_GRIPPER = frozenset("gripper grippers finger fingers claw jaw jaws grip".split())
FINGERS = frozenset("finger fingers jaw jaws".split())
_NO_OPENING = frozenset(
    "vel velocity velocities speed acc accel force forces torque torques effort efforts current load temp "
    "temperature voltage pressure tactile contact delta diff roll pitch yaw rx ry rz qx qy qz qw wx wy wz "
    "w axis angle rot rotation quat orientation euler rotvec tip".split()
) | set(AXES)
_COMMANDED = frozenset("goal target desired cmd command commanded action".split())
_OPEN = frozenset("open opening opened openness width aperture".split())
_CLOSED = frozenset("closed close closing closedness grasping".split())


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case: "kLeftShoulder.pos_1" → k, left, shoulder, pos, 1."""
    return tuple(word.lower() for word in _WORD.findall(name))


def axis_of(name: str, column: str) -> tuple[str, tuple[str, ...], int] | None:
    """Read a coordinate of a position.

    Returns:
        The axis, the other words, and how clearly they name the end effector: 2 by a word, 1 they say nothing else, 0
        there is an unknown word. None: the name is no coordinate, or a word of it, or of the column, says otherwise.
    """
    words = words_of(name)
    axes = [word for word in words if word in AXES]
    others = tuple(word for word in words if word not in AXES)
    context = {*others, *words_of(column)} - {"observation", "state"}
    contrary = (context & _CONTRARY) - ({"base"} if context & _END_EFFECTOR else set())
    if len(axes) != 1 or contrary:
        return None
    known = _END_EFFECTOR | _PLACE | _NEUTRAL
    if any(word not in known and not word.isdigit() for word in others):
        return axes[0], others, 0
    return axes[0], others, 2 if context & (_END_EFFECTOR | _PLACE) else 1


def is_position_column(column: str) -> bool:
    """Whether a column's own name says that it begins with the end effector's x, y, z, as cartesian_position does."""
    words = set(words_of(column))
    return bool(words & (_END_EFFECTOR - _GRIPPER) and words & _PLACE and not words & _CONTRARY)


def is_opening(name: str, column: str, *, several: bool = False) -> bool:
    """Whether a value is an opening of the gripper, or a finger's position.

    several: the column holds other values too, so its own name says nothing about this one.
    """
    words = set(words_of(name))
    context = words if several else words | set(words_of(column))
    return bool(context & _GRIPPER) and not (words | set(words_of(column))) & _NO_OPENING


def is_commanded(name: str) -> bool:
    """Whether the name says that the value was commanded, not measured."""
    return bool(set(words_of(name)) & _COMMANDED)


def open_is_high(name: str) -> bool | None:
    """What the name says about the sign: True for gripper_open or width, False for gripper_closed, else None."""
    words = set(words_of(name))
    says_open, says_closed = bool(words & _OPEN), bool(words & _CLOSED)
    return says_open if says_open != says_closed else None


def arm_of(name: str, column: str, *, short: bool) -> str:
    """ "left", "right" or "": the arm that a value belongs to. short: "l" and "r" stand for arms."""
    words = words_of(name) + words_of(column)
    for arm in ("left", "right"):
        if arm in words or (short and arm[0] in words):
            return arm
    return ""


def is_joint(name: str) -> bool:
    """Whether the name says that the value is a joint's."""
    joints = "joint joints motor motors shoulder elbow wrist waist forearm j qpos"
    return bool(set(words_of(name)) & set(joints.split()))


def joint_words(name: str) -> tuple[str, ...]:
    """The words of a joint's name that tell it from the other joints of its arm: left_shoulder_pan.pos → shoulder, pan.

    All words where none is left.
    """
    words = words_of(name)
    return tuple(word for word in words if word not in _NOT_OF_A_JOINT) or words


def uses_short_arms(names: Iterable[str]) -> bool:
    """Whether both "l" and "r" stand in the names, as in r_gripper and l_gripper."""
    words = {word for name in names for word in words_of(name)}
    return {"l", "r"} <= words


def is_action(column: str) -> bool:
    """Whether a column holds what the robot was commanded: LeRobot's `action`, openpi's `actions`, or a part."""
    return words_of(column)[:1] in (("action",), ("actions",))


def state_and_action_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a dataset's number columns in which the end effector and the gripper may be."""
    return tuple(
        name
        for name in names
        if is_action(name)
        or (
            name.startswith(("observation.", "observation/", "state", "states"))
            and not name.startswith(("observation.answers.", "observation.environment"))
        )
    )
