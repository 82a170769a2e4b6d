"""LeRobot's own commands with our policy type and the simulated robot of examples/: record, roll out, or both.

Nothing is patched: `--robot.discover_packages_path` is how LeRobot finds a robot that is not its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets import LeRobotDataset

from inspire_vla.cli.policies import find

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
EXAMPLES = Path(__file__).parents[2] / "examples"
ROBOT = ("--robot.discover_packages_path=lerobot_tabletop", "--robot.type=tabletop", "--play_sounds=false")
TASK = "put the red mug on the plate"


def lerobot(command: str, *arguments: str) -> str:
    path = os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", f"lerobot.scripts.lerobot_{command}", *ROBOT, *arguments],
        capture_output=True, text=True, timeout=500, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr


def recording(root: Path) -> tuple[str, ...]:
    return (
        f"--dataset.repo_id=local/{root.name}", f"--dataset.root={root}", "--dataset.fps=10",
        "--dataset.num_episodes=1",
        "--dataset.episode_time_s=5", "--dataset.reset_time_s=0", f"--dataset.single_task={TASK}",
        "--dataset.push_to_hub=false", "--dataset.video=false",
    )  # fmt: skip


def policy() -> tuple[str, ...]:
    return f"--policy.path={find('nano_inspire')}", "--fps=10", "--return_to_initial_position=false"


def check(root: Path) -> np.ndarray:
    """One episode of the robot's features and a task; returns its actions (frames, 7)."""
    dataset = LeRobotDataset(f"local/{root.name}", root=root)
    assert dataset.num_episodes == 1
    assert dataset[0]["task"] == TASK
    assert tuple(dataset[0]["observation.images.image"].shape) == (3, 96, 96)
    assert tuple(dataset[0]["observation.state"].shape) == (8,)
    actions = np.stack([dataset[i]["action"].numpy() for i in range(len(dataset))])
    assert 10 < len(actions) <= 50
    assert np.abs(actions).max() <= 1
    assert np.ptp(actions, axis=0)[:3].max() > 0.1  # it moves
    return actions


def test_lerobot_record_by_a_hand(tmp_path: Path) -> None:
    root = tmp_path / "by_hand"
    lerobot("record", "--teleop.type=tabletop_hand", *recording(root))
    check(root)


def test_lerobot_rollout(tmp_path: Path) -> None:
    said = lerobot("rollout", *policy(), f"--task={TASK}", "--duration=4")
    assert "Rollout finished" in said


def test_lerobot_rollout_that_records(tmp_path: Path) -> None:
    root = tmp_path / "rollout_by_policy"
    lerobot("rollout", *policy(), "--strategy.type=episodic", *recording(root))
    check(root)
