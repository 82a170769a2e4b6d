"""The hand of examples/lerobot_tabletop solves the task by the robot's own interface."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_hand_does_the_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from lerobot.teleoperators import TeleoperatorConfig
    from lerobot_tabletop import TabletopHand, TabletopHandConfig, TabletopRobot, TabletopRobotConfig

    assert TeleoperatorConfig.get_choice_class("tabletop_hand") is TabletopHandConfig
    hand = TabletopHand(TabletopHandConfig(calibration_dir=tmp_path))
    with hand, pytest.raises(ValueError, match="0 are connected"):
        hand.get_action()
    with TabletopRobot(TabletopRobotConfig(calibration_dir=tmp_path)) as robot, hand:
        assert set(hand.action_features) == set(robot.action_features)
        while not robot.over:
            robot.send_action(hand.get_action())
        assert robot.info["is_success"]
