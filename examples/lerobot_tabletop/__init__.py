"""The tabletop for LeRobot's own commands: a robot, and a hand that moves it.

    PYTHONPATH=examples lerobot-rollout --robot.discover_packages_path=lerobot_tabletop --robot.type=tabletop …

Importing this package registers `--robot.type=tabletop` and `--teleop.type=tabletop_hand`. docs/serve.md has the
whole commands; tests/e2e/test_lerobot_commands.py runs them.
"""

from lerobot_tabletop.hand import TabletopHand, TabletopHandConfig
from lerobot_tabletop.robot import ACTION, STATE, TabletopRobot, TabletopRobotConfig

__all__ = ["ACTION", "STATE", "TabletopHand", "TabletopHandConfig", "TabletopRobot", "TabletopRobotConfig"]
