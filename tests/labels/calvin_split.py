"""A small split in CALVIN's format: six frames, in which the red block is grasped from the fourth on."""

from pathlib import Path

import numpy as np


def frames(count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """robot_obs (T, 15) and scene_obs (T, 24)."""
    robot, scene = np.zeros((count, 15)), np.zeros((count, 24))
    robot[:, :3] = [0.0, 0.0, 0.5]
    robot[:, 6], robot[:, 14] = 0.08, 1
    scene[:, 6:9], scene[:, 12:15], scene[:, 18:21] = [0.2, 0, 0.5], [0, 0.3, 0.5], [0, 0, 0.1]
    robot[3:, 6], robot[3:, 14] = 0.04, -1
    scene[3:, 6:9] = robot[3:, :3] + [0, 0, -0.01]
    return robot, scene


def write_split(folder: Path) -> Path:
    """Write it, with three annotated sequences: one is whole, one names no block, one lacks frames."""
    robot, scene = frames()
    for number in range(6):
        np.savez(
            folder / f"episode_{number:07d}.npz",
            robot_obs=robot[number], scene_obs=scene[number], rel_actions=np.zeros(7),
            rgb_static=np.full((16, 16, 3), number, np.uint8),
            rgb_gripper=np.full((8, 8, 3), 100 + number, np.uint8), depth_static=np.zeros((16, 16)),
        )  # fmt: skip
    (folder / "lang_annotations").mkdir()
    annotations = {
        "language": {"ann": ["lift the red block", "push the tower", "lift the blue block"]},
        "info": {"indx": [(0, 5), (1, 4), (3, 9)]},
    }
    np.save(folder / "lang_annotations/auto_lang_ann.npy", annotations, allow_pickle=True)
    return folder
