"""A simulated SO-101: its URDF, and recordings as `lerobot-record` makes them: motor steps, two cameras of video."""

from pathlib import Path

import numpy as np
from lerobot.datasets import LeRobotDataset

HEIGHT, UPPER, FORE, HAND = 0.10, 0.16, 0.16, 0.08
"""Of the shoulder, and lengths of the links, in metres."""
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
HOME = np.array([0.20, 0.0, 0.15])
RANGES = (2687, 2389, 3210, 2311, 4095)
"""Of the joints in steps of their motors, as somebody's calibration may have them."""
URDF = f"""<robot name="so101">
  <link name="base"/> <link name="shoulder"/> <link name="upper"/> <link name="fore"/> <link name="wrist"/>
  <link name="hand"/> <link name="gripper_frame_link"/>
  {{joints}}
  <joint name="tip" type="fixed">
    <parent link="hand"/><child link="gripper_frame_link"/><origin xyz="0 0 {HAND}"/>
  </joint>
</robot>"""


def write_urdf(path: Path) -> None:
    """Five joints: pan about z, three about y, roll about z. At zero the arm points straight up."""
    chain = (
        ("base", "shoulder", 0, "0 0 1"),
        ("shoulder", "upper", HEIGHT, "0 1 0"),
        ("upper", "fore", UPPER, "0 1 0"),
        ("fore", "wrist", FORE, "0 1 0"),
        ("wrist", "hand", 0, "0 0 1"),
    )
    joints = "\n  ".join(
        f'<joint name="{name}" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="0 0 {z}"/><axis xyz="{axis}"/><limit lower="-3.1" upper="3.1" effort="1" velocity="1"/></joint>'
        for name, (parent, child, z, axis) in zip(JOINTS, chain, strict=False)
    )
    path.write_text(URDF.format(joints=joints), encoding="utf-8")


def joints_of(point: np.ndarray) -> np.ndarray:
    """Joint angles in degrees at which the hand points down and its tip is at `point`."""
    reach, up = np.hypot(*point[:2]), point[2] + HAND - HEIGHT
    elbow = np.arccos((reach**2 + up**2 - UPPER**2 - FORE**2) / (2 * UPPER * FORE))
    lift = np.arctan2(reach, up) - np.arctan2(FORE * np.sin(elbow), UPPER + FORE * np.cos(elbow))
    return np.degrees([np.arctan2(point[1], point[0]), lift, elbow, np.pi - lift - elbow, 0.0])


def episode(brick: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tip's path (T, 3) and the commanded gripper (T,), 70 open … 22 closed on the brick."""
    up = np.array([0.0, 0.0, 1.0])
    above, grasp, over, drop = brick + 0.09 * up, brick + 0.01 * up, box + 0.11 * up, box + 0.06 * up
    parts = [
        (HOME, above, 15, 70, 70), (above, grasp, 9, 70, 70), (grasp, grasp, 5, 70, 22), (grasp, above, 9, 22, 22),
        (above, over, 16, 22, 22), (over, drop, 6, 22, 22), (drop, drop, 4, 22, 70), (drop, over, 11, 70, 70),
    ]  # fmt: skip
    smooth = [np.linspace(0, 1, n, endpoint=False)[:, None] for _, _, n, _, _ in parts]
    path = [a + (b - a) * (t * t * (3 - 2 * t)) for t, (a, b, *_) in zip(smooth, parts, strict=True)]
    grip = [np.linspace(first, last, n) for _, _, n, first, last in parts]
    return np.concatenate(path), np.concatenate(grip)


def as_recorded(joints: np.ndarray, unit: str) -> np.ndarray:
    """(T, 6) joints in degrees and the gripper → what LeRobot records in this unit, in whole steps of the motors."""
    if unit == "old-degrees":
        old = joints * [1, -1, 1, 1, 1, 1] + [0, 90, 90, 0, 0, 0]
        return np.c_[np.round(old[:, :5] * 4096 / 360) * 360 / 4096, joints[:, 5:]]
    steps = np.round(joints[:, :5] * 4095 / 360 - np.divide(RANGES, 2) % 1) + np.divide(RANGES, 2) % 1
    if unit == "degrees":
        return np.c_[steps * 360 / 4095, joints[:, 5:]]
    return np.c_[np.clip(steps / np.divide(RANGES, 200), -100, 100), joints[:, 5:]]


def record(
    root: Path,
    task: str,
    *,
    episodes: int = 6,
    size: tuple[int, int] = (48, 64),
    fps: int = 30,
    unit: str = "degrees",
) -> Path:
    """Write a dataset. The measured state follows the command two frames later; the fingers stop at the brick."""
    name, robot = ("main_{}", "so101") if unit == "old-degrees" else ("{}.pos", "so101_follower")
    vector = {"dtype": "float32", "shape": (6,), "names": [name.format(joint) for joint in JOINTS]}
    video = {"dtype": "video", "shape": (*size, 3), "names": ["height", "width", "channels"]}
    features = {"observation.state": vector, "action": vector}
    features |= {f"observation.images.{camera}": video for camera in ("front", "wrist")}
    dataset = LeRobotDataset.create(
        "local/so101", fps, features, root=root, robot_type=robot, use_videos=True
    )
    rng = np.random.default_rng(0)
    for number in range(episodes):
        side = 1 if number % 2 else -1
        brick = np.array([rng.uniform(0.17, 0.25), side * rng.uniform(0.05, 0.12), 0.01])
        box = np.array([rng.uniform(0.17, 0.25), -side * rng.uniform(0.05, 0.12), 0.0])
        path, grip = episode(brick, box)
        action = np.array([[*joints_of(point), opening] for point, opening in zip(path, grip, strict=True)])
        state = np.concatenate([action[:1], action[:1], action[:-2]])
        state, action = as_recorded(state + rng.normal(0, 0.05, state.shape), unit), as_recorded(action, unit)
        for i in range(len(action)):
            images = {
                f"observation.images.{camera}": picture(path[i], brick, box, size, wrist=camera == "wrist")
                for camera in ("front", "wrist")
            }
            dataset.add_frame(
                {
                    **images,
                    "observation.state": np.float32(state[i]),
                    "action": np.float32(action[i]),
                    "task": task,
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return root


def picture(
    tip: np.ndarray, brick: np.ndarray, box: np.ndarray, size: tuple[int, int], *, wrist: bool
) -> np.ndarray:
    """The table from above, or from the hand: squares for box, brick and hand."""
    height, width = size
    image = np.full((*size, 3), (120, 110, 100), np.uint8)
    for place, colour, half in (
        (box, (240, 240, 240), 5),
        (brick, (240, 210, 30), 2),
        (tip, (30, 30, 30), 1),
    ):
        x, y = 2 * (place[:2] - tip[:2]) if wrist else place[:2] - [0.22, 0]
        row, column = int(height / 2 - x * height / 0.35), int(width / 2 - y * width / 0.45)
        if not (wrist and place is tip):
            image[max(row - half, 0) : max(row + half, 0), max(column - half, 0) : max(column + half, 0)] = (
                colour
            )
    return image
