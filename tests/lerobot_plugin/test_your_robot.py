"""docs/robot.md, word for word: from `lerobot-record` to a moving arm, which is simulated, and a short training."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import pytest
from lerobot.datasets import LeRobotDataset
from lerobot.robots import so_follower
from lerobot.rollout import RolloutConfig
from lerobot.scripts import lerobot_record
from tests.lerobot_plugin import so101
from tests.lerobot_plugin.tiny_runs import TINY
from tests.serving.toy_server import ToyAgent, serve

from inspire_vla.cli import main, parse
from inspire_vla.labels.forward_kinematics import ForwardKinematics
from inspire_vla.lerobot_plugin import training
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.serving.client import PolicyClient, Reply

PAGE = Path(__file__).parents[2] / "docs" / "robot.md"


def commands(page: Path = PAGE) -> list[list[str]]:
    """The words of each command of a page's first block, arrays of the shell filled in."""
    block = re.search(r"(?:^    .*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert block
    arrays: dict[str, str] = {}
    found = []
    for line in block[0].splitlines():
        if array := re.fullmatch(r"\s*(\w+)=\((.*)\)", line):
            arrays[array[1]] = array[2]
            continue
        for name, words in arrays.items():
            line = line.replace(f'"${{{name}[@]}}"', words)
        found.append(shlex.split(line))
    return found


def recorded(words: list[str]) -> None:
    """In place of `lerobot-record`: read its command line as it does, and let the simulated arm demonstrate."""
    config = draccus.parse(lerobot_record.RecordConfig, args=words)
    assert set(config.robot.cameras) == {"front", "wrist"}
    so101.record(Path(config.dataset.root), config.dataset.single_task, episodes=8)


class SimulatedArm:
    """In place of LeRobot's `SO101Follower`: shows grey images, and a person stops it after some steps."""

    def __init__(self, config: so_follower.SO101FollowerConfig) -> None:
        self.config, self.connected, self.sent = config, False, list[dict[str, float]]()
        self.action_features = {f"{joint}.pos": float for joint in so101.JOINTS}

    def connect(self) -> None:
        self.connected = True

    def disconnect(self) -> None:
        self.connected = False

    def get_observation(self) -> dict[str, Any]:
        cameras = self.config.cameras.items()
        images = {name: np.full((camera.height, camera.width, 3), 120, np.uint8) for name, camera in cameras}
        return {**{name: float(i) for i, name in enumerate(self.action_features)}, **images}

    def send_action(self, action: dict[str, float]) -> None:
        self.sent.append(action)
        if len(self.sent) == 6:  # more than a chunk
            raise KeyboardInterrupt


class Still(ToyAgent):
    """Two cameras and six joints; the arm is to stay where it is."""

    def __init__(self) -> None:
        super().__init__(("front", "wrist"))
        for camera in self.config.image_features.values():
            camera.shape = (3, 48, 64)
        self.config.robot_state_feature.shape = self.config.action_feature.shape = (6,)
        self.config.n_action_steps = 4

    def _decide(self, observation: Any, instruction: str, *_: Any) -> Reply:
        return Reply(np.tile(observation["agent_pos"], (4, 1)))


class Falters(Still):
    """Its first actions close the gripper by one more than is measured; later tokens stand for no action."""

    def _decide(self, observation: Any, instruction: str, *more: Any) -> Reply:
        if getattr(self, "asked", False):
            return Reply(None)
        self.asked = observation["agent_pos"].any()  # not while the server warms up
        return Reply(np.tile(observation["agent_pos"] + [0, 0, 0, 0, 0, 1], (4, 1)))


def test_the_simulated_arm_is_where_its_joints_say(tmp_path: Path) -> None:
    so101.write_urdf(tmp_path / "so101.urdf")
    arm = ForwardKinematics.read(tmp_path / "so101.urdf", "gripper_frame_link")
    points = np.array([[0.2, 0.1, 0.05], [0.25, -0.1, 0.15]])
    found = arm.positions(np.radians([so101.joints_of(point) for point in points]))
    np.testing.assert_allclose(found, points, atol=1e-6)


def test_what_lerobot_recorded_in_three_units_gets_the_same_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    so101.write_urdf(tmp_path / "so101.urdf")
    arm = ["--urdf", str(tmp_path / "so101.urdf"), "--tip", "gripper_frame_link", "--modes", "direction_3d"]
    answers = {}

    def label(unit: str, out: str, *given: str) -> str:
        assert main(["label", str(tmp_path / unit), "--out", str(tmp_path / out), *arm, *given]) == 0
        frames = LeRobotDataset("local/so101", root=tmp_path / out).hf_dataset.with_format("numpy")
        answers[out] = np.stack(frames["observation.answers.direction_3d"])
        return capsys.readouterr().out

    shown = {"degrees": "degrees", "normalized": "−100 … 100", "old-degrees": "until June 2025"}
    for unit in shown:
        so101.record(tmp_path / unit, "put the yellow brick in the white box", episodes=4, unit=unit)
        assert re.search(rf"joints +in .*{shown[unit]}", label(unit, f"{unit}_labelled"))
    label("old-degrees", "wrong", "--joint-unit", "degrees")
    found = answers["degrees_labelled"]
    assert len(np.unique(found)) > 4
    np.testing.assert_array_equal(answers["normalized_labelled"], found)
    agree = {name: np.mean(answers[name] == found) for name in ("old-degrees_labelled", "wrong")}
    assert (
        agree["old-degrees_labelled"] > 0.75
    )  # its steps lie elsewhere, and many labels are near a boundary
    assert agree["wrong"] < 0.5


def test_the_arm_that_is_driven_is_the_one_that_was_recorded() -> None:
    page = PAGE.read_text(encoding="utf-8")
    (rollout,) = re.findall(r"^    lerobot-rollout (.*)$", page, re.MULTILINE)
    words = [word for word in shlex.split(rollout) if not word.startswith("--policy.path=")]
    driven = draccus.parse(RolloutConfig, args=[*words, "--policy.type=inspire_vla"])
    recording = draccus.parse(lerobot_record.RecordConfig, args=commands()[0][1:])
    limit = driven.robot.max_relative_target
    assert isinstance(limit, float)  # LeRobot fails on an integer when it sends the first action
    assert driven.robot == replace(recording.robot, max_relative_target=limit)
    assert (driven.task, driven.fps) == (recording.dataset.single_task, recording.dataset.fps)


@pytest.mark.parametrize(("agent", "further"), [(Still, 0), (Falters, 1)])
def test_the_loop_drives_the_arm_as_it_is_printed(
    agent: type[Still], further: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a new action the last one is repeated: where the gripper is measured it would lose its grip."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (loop,) = (code for code in blocks if "SO101Follower(" in code)
    arms: list[SimulatedArm] = []

    def make(config: so_follower.SO101FollowerConfig) -> SimulatedArm:
        arms.append(SimulatedArm(config))
        return arms[-1]

    monkeypatch.setattr(so_follower, "SO101Follower", make)
    with serve(agent()) as server, pytest.raises(KeyboardInterrupt):
        exec(loop.replace("ws://127.0.0.1:8000", server.url), {})
    (arm,) = arms
    expected = {f"{joint}.pos": float(i) for i, joint in enumerate(so101.JOINTS)}
    expected[f"{so101.JOINTS[-1]}.pos"] += further
    assert arm.sent == [expected] * 6
    assert not arm.connected
    (rollout,) = re.findall(r"max_relative_target=([\d.]+) ", PAGE.read_text(encoding="utf-8"))
    assert arm.config.max_relative_target == float(rollout)


@pytest.mark.timeout(900)  # it trains; a busy machine needs long
def test_the_recipe_runs_as_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    original, served = training.train, []

    def shortened(arguments: list[str], **options: Any) -> None:
        original([*arguments, *TINY, "--policy.vq.codes_per_level=32", "--steps=3"], **options)

    monkeypatch.setattr(training, "train", shortened)
    monkeypatch.chdir(tmp_path)
    so101.write_urdf(Path("so101.urdf"))
    for command, *words in commands():
        if command == "lerobot-record":
            recorded(words)
        elif words[0] == "serve":
            served.append(parse(words))
        else:
            assert command == "inspire"
            assert main(words) == 0, words
    assert Path("check.html").stat().st_size > 10_000
    (options,) = served
    labelled = capsys.readouterr().out
    assert "1 each in 8 episodes" in labelled  # grasps
    task = "put the yellow brick in the white box"
    with serve(load_policy(options.policy)) as server, PolicyClient(server.url) as client:
        keys = client.metadata["cameras"]
        assert keys == {"front": "observation/front", "wrist": "observation/wrist"}
        images = {key: np.zeros((48, 64, 3), np.uint8) for key in keys.values()}
        reply = client.infer({**images, "observation/state": np.zeros(6), "prompt": task})
        assert set(reply.answers_by_mention) == {"the yellow brick", "the white box"}
        assert reply.actions.shape == (8, 6)
    assert not load_policy("runs/base").reasoning_enabled
