"""The example: a policy server controls a LeRobot robot."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.serving.toy_server import ToyAgent

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.mark.parametrize("ahead", [0, 2])
def test_the_loop_controls_the_robot(
    ahead: int, running, examples: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import robot_loop

    agent = ToyAgent(size=96)
    server = running(agent)
    warm = len(agent.batches)
    command = f"robot_loop.py --remote {server.url} --steps 8 --hz 100 --ahead {ahead}"
    monkeypatch.setattr(sys, "argv", command.split())
    robot_loop.main()
    assert len(agent.batches) - warm >= 8 / agent.n_action_steps  # its chunks are twice as long
    said = capsys.readouterr().out
    assert "left" in said
    assert "no success after 8 steps" in said


def test_the_answers_tell_when_the_next_instruction_begins(
    running, examples: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import robot_loop

    class Grasping(ToyAgent):
        """Holds the object from its second to its fourth decision about it."""

        decisions = 0

        def act(self, observations, instructions, *args, **options):
            self.decisions = self.decisions + 1 if instructions[0].startswith("put the red") else 0
            found = super().act(observations, instructions, *args, **options)
            word = "grasped" if 2 <= self.decisions <= 4 else "left"
            return [replace(reply, answers=(word, *reply.answers[1:])) for reply in found]

    server = running(Grasping(size=96))
    command = ["robot_loop.py", "--remote", server.url, "--steps", "16", "--hz", "100", "--ahead", "0"]
    instructions = ["put the red mug on the tray", "put the blue ball on the tray"]
    monkeypatch.setattr(sys, "argv", [*command, "--instructions", *instructions])
    robot_loop.main()
    lines = capsys.readouterr().out.splitlines()
    (changed,) = [line for line in lines if "next:" in line]
    assert changed.split(maxsplit=1) == [
        "10",
        f"next: {instructions[1]}",
    ]  # the sixth decision, two steps each
    assert any("the blue ball: left" in line for line in lines)


def test_the_robot_implements_lerobots_interface(examples: None, tmp_path: Path) -> None:
    from lerobot.robots import RobotConfig, make_robot_from_config
    from lerobot_tabletop import ACTION, TabletopRobotConfig

    assert RobotConfig.get_choice_class("tabletop") is TabletopRobotConfig
    robot = make_robot_from_config(TabletopRobotConfig(calibration_dir=tmp_path))
    with pytest.raises(ValueError, match="not connected"):
        robot.get_observation()
    with robot:
        seen = robot.get_observation()
        assert set(seen) == set(robot.observation_features)
        assert seen["image"].shape == robot.observation_features["image"]
        sent = robot.send_action(dict.fromkeys(ACTION, 9.0))
        assert set(sent) == set(robot.action_features)
        np.testing.assert_array_equal(list(sent.values()), 1.0)
    assert not robot.is_connected
