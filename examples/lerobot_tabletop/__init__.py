"""The tabletop for LeRobot's own commands: a simulated robot, and a teleoperator for it.

    PYTHONPATH=examples lerobot-rollout --robot.discover_packages_path=lerobot_tabletop --robot.type=tabletop …

Importing this package registers `--robot.type=tabletop` and `--teleop.type=tabletop_expert`. docs/serve.md has the
complete commands; tests/e2e/test_lerobot_commands.py runs them.
"""

from lerobot_tabletop.robot import ACTION, STATE, TabletopRobot, TabletopRobotConfig
from lerobot_tabletop.teleoperator import ExpertTeleop, ExpertTeleopConfig

__all__ = ["ACTION", "STATE", "ExpertTeleop", "ExpertTeleopConfig", "TabletopRobot", "TabletopRobotConfig"]
