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


class Grasping(ToyAgent):
    """Holds the red mug from its second to its fourth decision about it."""

    decisions = 0

    def act(self, observations, instructions, *args, **options):
        self.decisions = self.decisions + 1 if instructions[0].startswith("put the red") else 0
        found = super().act(observations, instructions, *args, **options)
        word = "grasped" if 2 <= self.decisions <= 4 else ("left", "right")[self.decisions % 2]
        return [replace(reply, answers=(word, *reply.answers[1:])) for reply in found]


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


TWO = ("put the red mug on the tray", "put the blue ball on the tray")


@pytest.mark.parametrize(
    ("ahead", "given"),
    [(0, TWO), (1, TWO), (0, ("put the red mug and the blue ball on the tray", "--split-steps"))],
)
def test_the_answers_tell_when_the_next_instruction_begins(
    ahead: int,
    given: tuple[str, ...],
    running,
    examples: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    import robot_loop

    server = running(Grasping(size=96))
    command = ["robot_loop.py", "--remote", server.url, "--steps", "40", "--hz", "100", "--ahead", str(ahead)]
    monkeypatch.setattr(sys, "argv", [*command, "--instructions", *given])
    robot_loop.main()
    lines = capsys.readouterr().out.splitlines()
    (changed,) = [line for line in lines if "next:" in line]
    step, said = changed.split(maxsplit=1)
    assert said == f"next: {TWO[1]}"
    assert ahead or step == "10"  # the sixth decision, two steps each
    before, after = lines[: lines.index(changed)], lines[lines.index(changed) :]
    assert "the red mug: left" in before[-1]  # why it changed is said first
    assert not any("the red mug:" in line for line in after)  # also not by a reply that was on its way
    assert any("the blue ball: left" in line for line in after)


def test_the_loop_ends_when_all_is_done(
    running, examples: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import robot_loop

    command = ["robot_loop.py", "--remote", running(Grasping(size=96)).url, "--hz", "100", "--ahead", "0"]
    monkeypatch.setattr(sys, "argv", [*command, "--instructions", "put the red mug on the tray"])
    robot_loop.main()
    *_, done, outcome = capsys.readouterr().out.splitlines()
    step, said = done.split(maxsplit=1)
    assert said == "all done"
    assert outcome.startswith(f"no success after {int(step) + 1} steps")


@pytest.mark.parametrize(
    ("instructions", "asked", "says"),
    [
        (
            ["pick up the red mug", "open the drawer"],
            {"enabled": False},
            "2 instructions need a policy that answers",
        ),
        (
            ["pick up the red mug", "open the drawer"],
            {"separate_questions": True},
            "2 instructions need a policy",
        ),
        (["pick up the red mug", "open the drawer"], {"grasped_word": False}, "2 instructions need a policy"),
        (["pick up the red mug", ""], {}, "none empty"),
    ],
)
def test_what_is_not_possible_is_said_before_the_robot_moves(
    instructions: list[str], asked: dict, says: str, running, examples: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import robot_loop

    agent = ToyAgent(size=96)
    vars(agent.config.reasoning).update(asked)
    server = running(agent)
    warm = len(agent.batches)
    command = ["robot_loop.py", "--remote", server.url, "--instructions", *instructions]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match=says):
        robot_loop.main()
    assert len(agent.batches) == warm


def test_a_policy_without_answers_follows_one_instruction(
    running, examples: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import robot_loop

    agent = ToyAgent(size=96)
    agent.config.reasoning.enabled = False
    command = ["robot_loop.py", "--remote", running(agent).url, "--steps", "4", "--hz", "100"]
    monkeypatch.setattr(sys, "argv", [*command, "--instructions", "pick up the red mug"])
    robot_loop.main()
    assert "no success after 4 steps" in capsys.readouterr().out


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
