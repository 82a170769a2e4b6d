"""LeRobot's own commands with our policy type and the simulated robot of examples/, as docs/serve.md writes them.

Nothing is patched: `--robot.discover_packages_path` is how LeRobot finds a robot that is not its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets import LeRobotDataset

from inspire_vla.lerobot_plugin.checkpoints import find

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "serve.md"
TASK = "put the red mug on the plate"


def on_the_page() -> tuple[str, list[str]]:
    """What the page sets first, as a script, and its commands."""
    section = PAGE.read_text(encoding="utf-8").split("### With LeRobot's own commands")[1].split("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    commands = [line for line in lines if line.startswith("lerobot-")]
    return "\n".join(line for line in lines if line not in commands), commands


SETTING, COMMANDS = on_the_page()


def test_what_is_on_the_page_can_be_pasted() -> None:
    """Every flag is one word to the shell, the task's among them."""
    assert len(COMMANDS) == 3
    for command in COMMANDS:
        script = f'set -eu\n{SETTING}\nfor word in {command}; do echo "$word"; done'
        words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
        name, *flags = words.splitlines()
        assert name in ("lerobot-record", "lerobot-rollout")
        assert all(flag.startswith("--") for flag in flags)
        assert f"--task={TASK}" in flags or f"--dataset.single_task={TASK}" in flags


def pasted(number: int, folder: Path) -> str:
    """Run the page's command in a folder that has what the repository's would; LeRobot's datasets go there too."""
    (folder / "examples").symlink_to(ROOT / "examples")
    trained = folder / "runs" / "inspire" / "checkpoints" / "last"
    trained.mkdir(parents=True)
    (trained / "pretrained_model").symlink_to(find("nano_inspire"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", f"{SETTING}\n{COMMANDS[number]}"], cwd=folder,
        capture_output=True, text=True, timeout=500,
        env={**os.environ, "PATH": path, "HF_LEROBOT_HOME": str(folder / "lerobot")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr


def check(name: str, folder: Path) -> None:
    """One episode of the robot's features and the task, in which something moves."""
    (root,) = (folder / "lerobot" / "local").glob(f"{name}_*")  # LeRobot adds date and time
    dataset = LeRobotDataset(f"local/{root.name}", root=root)
    assert dataset.num_episodes == 1
    assert dataset[0]["task"] == TASK
    assert tuple(dataset[0]["observation.images.image"].shape) == (3, 96, 96)
    assert tuple(dataset[0]["observation.state"].shape) == (8,)
    actions = np.stack([dataset[i]["action"].numpy() for i in range(len(dataset))])
    assert 10 < len(actions) <= 50
    assert np.abs(actions).max() <= 1
    assert np.ptp(actions, axis=0)[:3].max() > 0.1


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_lerobot_record(tmp_path: Path) -> None:
    pasted(0, tmp_path)
    check("demonstration", tmp_path)


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_lerobot_rollout(tmp_path: Path) -> None:
    assert "Rollout finished" in pasted(1, tmp_path)


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_lerobot_rollout_that_records(tmp_path: Path) -> None:
    pasted(2, tmp_path)
    check("rollout_it", tmp_path)
