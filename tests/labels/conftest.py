"""A small LeRobot dataset with a synthetic path: reach, grasp, carry, release, retract."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from inspire_vla.labels.labeller import Episode

INSTRUCTION = "put the red cube on the plate"
MENTIONS = ("the red cube", "the plate")
STATE_NAMES = ["x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_left", "finger_right"]
ACTION_NAMES = ["dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper"]
START, CUBE, PLATE = np.array([0.4, 0.0, 0.3]), np.array([0.5, 0.2, 0.02]), np.array([0.6, -0.15, 0.04])


def path(steps: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (T, 3), command (T,) −1 open / +1 close, width (T,) metres: to the cube, to the plate, away."""

    def way(a, b):
        return a + (b - a) * np.linspace(0, 1, steps)[:, None]

    above = np.array([0.0, 0.0, 0.2])
    legs = [way(START, CUBE), np.tile(CUBE, (4, 1)), way(CUBE, CUBE + above), way(CUBE + above, PLATE)]
    legs += [np.tile(PLATE, (3, 1)), way(PLATE, PLATE + above)]
    hand = np.concatenate(legs)
    command = -np.ones(len(hand))
    close, let_go = steps, len(hand) - steps - 2
    command[close:let_go] = 1
    width = np.full(len(hand), 0.08)
    width[close + 1], width[close + 2 : let_go + 1] = 0.06, 0.04
    return hand, command, width


def make_dataset(root: Path, episodes: int = 4) -> Path:
    """Write it with LeRobot, without images, and put a file where its videos would be."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        "observation.state": {"dtype": "float32", "shape": (8,), "names": STATE_NAMES},
        "action": {"dtype": "float32", "shape": (7,), "names": ACTION_NAMES},
    }
    dataset = LeRobotDataset.create("any/name", fps=10, features=features, root=root, use_videos=False)
    for _ in range(episodes):
        hand, command, width = path()
        for position, told, opening in zip(hand, command, width, strict=True):
            state = np.array([*position, 0, 0, 0, opening / 2, -opening / 2], dtype=np.float32)
            action = np.array([0, 0, 0, 0, 0, 0, told], dtype=np.float32)
            dataset.add_frame({"observation.state": state, "action": action, "task": INSTRUCTION})
        dataset.save_episode()
    dataset.finalize()
    (root / "videos").mkdir()
    (root / "videos/film.mp4").write_bytes(b"film")
    return root


def in_two_files(dataset: Path) -> Path:
    """Move the last two episodes to a second data file."""
    (first,) = (dataset / "data").rglob("*.parquet")
    table = pq.read_table(first)
    last = pc.greater(table["episode_index"], 1)
    pq.write_table(table.filter(pc.invert(last)), first)
    pq.write_table(table.filter(last), first.with_name("file-001.parquet"))
    return dataset


@pytest.fixture(scope="session")
def synthetic() -> SimpleNamespace:
    """The words, places and functions above."""
    return SimpleNamespace(
        instruction=INSTRUCTION,
        mentions=MENTIONS,
        cube=CUBE,
        plate=PLATE,
        path=path,
        make_dataset=make_dataset,
        in_two_files=in_two_files,
        state_names=tuple(STATE_NAMES),
        action_names=tuple(ACTION_NAMES),
    )


@pytest.fixture
def shown(synthetic) -> Episode:
    """An episode of the synthetic path, as a labeller gets it."""
    return Episode(1, synthetic.instruction, synthetic.mentions, {"observation.state": synthetic.path()[0]})
