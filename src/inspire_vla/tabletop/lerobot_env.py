"""The tabletop as a LeRobot environment: `lerobot-eval --env.type=inspire_tabletop --env.task=tabletop_seen`.

Environments are built from tasks and not through gymnasium's registry: LeRobot's workers are new processes, in which
a plug-in's registration may not have run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import gymnasium
import numpy as np
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.envs.utils import freeze_after_episode_end
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from inspire_vla.errors import InspireError, possible
from inspire_vla.lerobot_internals import lazy_vector_env
from inspire_vla.tabletop.benchmark import tasks_of
from inspire_vla.tabletop.env import CONTROL_HZ, TabletopEnv, check_sizes
from inspire_vla.tabletop.scene import check_layout_randomness
from inspire_vla.tabletop.suites import SUITES


@EnvConfig.register_subclass("inspire_tabletop")
@dataclass
class InspireTabletopEnv(EnvConfig):
    """`task` names one suite, or several separated by commas.

    The images become observation.images.image (agent view) and, with `wrist`, observation.images.image2. The state
    becomes observation.state (8,). Raises InspireError for an unknown suite or task number, another frame rate, or a
    number out of range.
    """

    task: str | None = "tabletop_seen"
    task_ids: list[int] | None = None
    """Indices of tasks in the suite; all by default."""
    fps: int = CONTROL_HZ
    episode_length: int | None = None
    """Control steps until truncation; the task's own number by default."""
    image_size: int = 96
    wrist: bool = False
    layout_randomness: float = 0.0
    render_size: int = 256
    """Side of the images in evaluation videos, pixels."""
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fps != CONTROL_HZ:
            raise InspireError(f"The tabletop is controlled at {CONTROL_HZ} Hz, found fps {self.fps}.")
        if self.episode_length is not None and self.episode_length < 1:
            raise InspireError(f"episode_length must be at least 1 step, found {self.episode_length}.")
        check_sizes(image_size=self.image_size, render_size=self.render_size)
        check_layout_randomness(self.layout_randomness)
        for suite in self.suites():
            self._numbers(suite)
        image = PolicyFeature(type=FeatureType.VISUAL, shape=(self.image_size, self.image_size, 3))
        self.features = {f"pixels/{camera}": image for camera in self.cameras} | {
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(8,)),
            ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(7,)),
        }
        self.features_map = {f"pixels/{camera}": f"{OBS_IMAGES}.{camera}" for camera in self.cameras} | {
            "agent_pos": OBS_STATE,
            ACTION: ACTION,
        }

    @property
    def cameras(self) -> tuple[str, ...]:
        return ("image", "image2") if self.wrist else ("image",)

    @property
    def gym_kwargs(self) -> dict:
        """The arguments of TabletopEnv."""
        return {
            "cameras": self.cameras,
            "image_size": self.image_size,
            "layout_randomness": self.layout_randomness,
            "render_size": self.render_size,
            "max_steps": self.episode_length,
        }

    def suites(self) -> list[str]:
        """Return the suites that `task` names. Raises InspireError for none, or an unknown one."""
        names = [name.strip() for name in (self.task or "").split(",") if name.strip()]
        if not names:
            raise InspireError(f"--env.task must name a suite.{possible(SUITES)}")
        for name in names:
            tasks_of(name)
        return names

    def create_envs(
        self, n_envs: int, use_async_envs: bool = False
    ) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
        """Return suite → task index → vector environment of `n_envs`. The seeds of reset fix the initial states."""
        if n_envs < 1:
            raise InspireError(f"n_envs must be at least 1, found {n_envs}.")
        envs: dict[str, dict[int, gymnasium.vector.VectorEnv]] = {}
        for suite in self.suites():
            numbers = self._numbers(suite)
            envs[suite] = {number: self._vector(suite, number, n_envs, use_async_envs) for number in numbers}
        return envs

    def _numbers(self, suite: str) -> list[int]:
        """The numbers of the tasks that are played in a suite. Raises InspireError for one that it does not have."""
        count = len(SUITES[suite])
        numbers = [*range(count)] if self.task_ids is None else self.task_ids
        for number in numbers:
            if not 0 <= number < count:
                raise InspireError(f"{suite} has no task number {number}; possible: 0 to {count - 1}.")
        return numbers

    def _vector(self, suite: str, number: int, n_envs: int, use_async: bool) -> gymnasium.vector.VectorEnv:
        make: Callable[[], gymnasium.Env] = partial(make_env, suite, number, **self.gym_kwargs)
        if use_async and n_envs > 1:
            return lazy_vector_env([make] * n_envs)
        mode = gymnasium.vector.AutoresetMode.NEXT_STEP
        return gymnasium.vector.SyncVectorEnv([freeze_after_episode_end(make)] * n_envs, autoreset_mode=mode)


def make_env(suite: str, number: int, **options) -> gymnasium.Env:
    """Make the environment of a suite's task, for LeRobot's rollout. `options` are those of TabletopEnv."""
    return _LeRobotWrapper(TabletopEnv(SUITES[suite][number], **options))


class _LeRobotWrapper(gymnasium.Wrapper):
    """Has the attributes that LeRobot's rollout reads, and an `info` of numbers only."""

    env: TabletopEnv

    def __init__(self, env: TabletopEnv) -> None:
        super().__init__(env)
        self.task = env.task.name
        self.task_description = env.task_description
        self._max_episode_steps = env.max_steps

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        observation, info = self.env.reset(seed=seed)
        return observation, {"is_success": bool(info["is_success"])}

    def step(self, action) -> tuple[dict, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = self.env.step(np.asarray(action))
        success = {"is_success": bool(info["is_success"])}
        return observation, float(reward), bool(terminated), bool(truncated), success
