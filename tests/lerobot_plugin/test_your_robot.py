"""docs/robot.md, word for word: from `lerobot-record` to a served policy, with a simulated arm and a short training."""

import re
import shlex
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import pytest
from lerobot.datasets import LeRobotDataset
from lerobot.scripts import lerobot_record
from tests.lerobot_plugin import so101
from tests.lerobot_plugin.tiny_runs import TINY
from tests.serving.toy_server import serve

from inspire_vla.cli import main, parse
from inspire_vla.labels.forward_kinematics import ForwardKinematics
from inspire_vla.lerobot_plugin import training
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.serving.client import PolicyClient

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
