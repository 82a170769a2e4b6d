"""The tabletop as a LeRobot `Robot`. A policy uses it like a real arm."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.benchmark import TabletopBenchmark

STATE = tuple(f"{name}.pos" for name in "x y z rx ry rz finger_1 finger_2".split())
"""Pose of the gripper in the base frame (m, rotation vector in rad) and both finger joints (m)."""
ACTION = tuple(f"{name}.vel" for name in "x y z rx ry rz gripper".split())
"""The tabletop's action, seven numbers in [-1, 1]; gripper: -1 opens, +1 closes. LeRobot records .pos and .vel only."""

CONNECTED: list["TabletopRobot"] = []
"""The robots in this process, for the teleoperator."""


@RobotConfig.register_subclass("tabletop")
@dataclass(kw_only=True)
class TabletopRobotConfig(RobotConfig):
    """The task and the seed of its initial state."""

    suite: str = "tabletop_seen"
    task: str = ""
    seed: int = 1_000_000
    image_size: int = 96


class TabletopRobot(Robot):
    """A simulated robot. Each `send_action` advances the time by 0.1 s."""

    config_class = TabletopRobotConfig
    name = "tabletop"

    def __init__(self, config: TabletopRobotConfig) -> None:
        super().__init__(config)
        self.config = config
        self.cameras: dict[str, Any] = {}
        self._env: Any = None
        self._observation: dict[str, Any] = {}
        self.info: dict[str, Any] = {}
        self.over = False

    @property
    def env(self) -> Any:
        """The simulated environment, for the scripted expert."""
        self._require_connection()
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
        """The task's instruction."""
        return str(self.info["task"])

    @property
    def is_connected(self) -> bool:
        return self._env is not None

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        """Set up the task."""
        benchmark = TabletopBenchmark()
        task = self.config.task or benchmark.tasks(self.config.suite)[0]
        self._env = benchmark.make(self.config.suite, task, image_size=self.config.image_size)
        self._observation, self.info = self._env.reset(seed=self.config.seed)
        self.over = False
        CONNECTED.append(self)

    def calibrate(self) -> None:
        pass

    def configure(self) -> None:
        pass

    def get_observation(self) -> dict[str, Any]:
        self._require_connection()
        state = dict(zip(STATE, map(float, self._observation["agent_pos"]), strict=True))
        return {**state, "image": self._observation["pixels"]["image"]}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move for 0.1 s. After the end of the task the arm does not move."""
        self._require_connection()
        sent = np.clip([float(action[name]) for name in ACTION], -1, 1).astype(np.float32)
        if not self.over:
            self._observation, _, terminated, truncated, self.info = self._env.step(sent)
            self.over = terminated or truncated
        return dict(zip(ACTION, map(float, sent), strict=True))

    def disconnect(self) -> None:
        if self._env is not None:
            self._env.close()
            CONNECTED.remove(self)
        self._env = None

    def _require_connection(self) -> None:
        if self._env is None:
            raise InspireError("The robot is not connected; call connect() first.")
