"""The tabletop as a LeRobot `Robot`: what a real arm's driver looks like to our policies, without the arm."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.benchmark import TabletopBenchmark

STATE = tuple(f"{name}.pos" for name in "x y z rx ry rz finger_1 finger_2".split())
"""Gripper in the base frame (m, axis times angle in rad) and both finger joints (m)."""
ACTION = tuple(f"{name}.vel" for name in "x y z rx ry rz gripper".split())
"""The tabletop's seven numbers in [-1, 1]; the gripper: -1 opens, +1 closes. LeRobot keeps .pos and .vel only."""

CONNECTED: list["TabletopRobot"] = []
"""The robots in this process, for the hand that teleoperates them."""


@RobotConfig.register_subclass("tabletop")
@dataclass(kw_only=True)
class TabletopRobotConfig(RobotConfig):
    """Which task is set up, and from which seed."""

    suite: str = "tabletop_seen"
    task: str = ""
    seed: int = 1_000_000
    image_size: int = 96


class TabletopRobot(Robot):
    """Simulated: time passes with each `send_action`, a tenth of a second a time."""

    config_class = TabletopRobotConfig
    name = "tabletop"

    def __init__(self, config: TabletopRobotConfig) -> None:
        super().__init__(config)
        self.config = config
        self.cameras: dict[str, Any] = {}
        self._env: Any = None
        self._seen: dict[str, Any] = {}
        self.info: dict[str, Any] = {}
        self.over = False

    @property
    def env(self) -> Any:
        """The simulated table, for whoever may know more than a robot does."""
        self._needs_connection()
        return self._env

    @property
    def observation_features(self) -> dict[str, Any]:
        size = self.config.image_size
        return {**dict.fromkeys(STATE, float), "image": (size, size, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(ACTION, float)

    @property
    def instruction(self) -> str:
        """What the task's instruction says."""
        return str(self.info["task"])

    @property
    def is_connected(self) -> bool:
        return self._env is not None

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        """Set the task up."""
        benchmark = TabletopBenchmark()
        task = self.config.task or benchmark.tasks(self.config.suite)[0]
        self._env = benchmark.make(self.config.suite, task, image_size=self.config.image_size)
        self._seen, self.info = self._env.reset(seed=self.config.seed)
        self.over = False
        CONNECTED.append(self)

    def calibrate(self) -> None:
        pass

    def configure(self) -> None:
        pass

    def get_observation(self) -> dict[str, Any]:
        self._needs_connection()
        state = dict(zip(STATE, map(float, self._seen["agent_pos"]), strict=True))
        return {**state, "image": self._seen["pixels"]["image"]}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move for a tenth of a second; once the task is over the arm stands still."""
        self._needs_connection()
        sent = np.clip([float(action[name]) for name in ACTION], -1, 1).astype(np.float32)
        if not self.over:
            self._seen, _, terminated, truncated, self.info = self._env.step(sent)
            self.over = terminated or truncated
        return dict(zip(ACTION, map(float, sent), strict=True))

    def disconnect(self) -> None:
        if self._env is not None:
            self._env.close()
            CONNECTED.remove(self)
        self._env = None

    def _needs_connection(self) -> None:
        if self._env is None:
            raise InspireError("The robot is not connected; call connect() first.")
