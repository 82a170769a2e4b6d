"""The expert of examples/lerobot_tabletop solves the task through LeRobot's interfaces."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_expert_solves_the_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from lerobot.teleoperators import TeleoperatorConfig
    from lerobot_tabletop import ExpertTeleop, ExpertTeleopConfig, TabletopRobot, TabletopRobotConfig

    assert TeleoperatorConfig.get_choice_class("tabletop_expert") is ExpertTeleopConfig
    expert = ExpertTeleop(ExpertTeleopConfig(calibration_dir=tmp_path))
    with expert, pytest.raises(ValueError, match="0 are connected"):
        expert.get_action()
    with TabletopRobot(TabletopRobotConfig(calibration_dir=tmp_path)) as robot, expert:
        assert set(expert.action_features) == set(robot.action_features)
        while not robot.over:
            robot.send_action(expert.get_action())
        assert robot.info["is_success"]
