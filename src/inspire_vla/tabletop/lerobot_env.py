"""The tabletop as a LeRobot environment: `lerobot-eval --env.type=inspire_tabletop --env.task=tabletop_seen`.

Environments are built here, from tasks, and not through gymnasium's registry: LeRobot's workers are fresh
processes in which a plug-in's registration may not have run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import gymnasium
import numpy as np
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.envs.utils import _LazyAsyncVectorEnv, freeze_after_episode_end
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.benchmark import TabletopBenchmark

CONTROL_HZ = 10


@EnvConfig.register_subclass("inspire_tabletop")
@dataclass
class InspireTabletopEnv(EnvConfig):
    """`task`: a suite, or several with commas between. The images become observation.images.image (agent view)
    and, with `wrist`, observation.images.image2; the state becomes observation.state (8,).

    Raises:
        InspireError: an unknown suite or task number.
    """

    task: str | None = "tabletop_seen"
    task_ids: list[int] | None = None
    """Numbers of tasks in the suite; all by default."""
    fps: int = CONTROL_HZ
    episode_length: int | None = None
    """Control steps until an episode is cut; each task's own number by default."""
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
        """Names of the images."""
        return ("image", "image2") if self.wrist else ("image",)

    @property
    def gym_kwargs(self) -> dict:
        return {
            "cameras": self.cameras,
            "image_size": self.image_size,
            "layout_randomness": self.layout_randomness,
            "max_steps": self.episode_length,
        }

    def suites(self) -> list[str]:
        """The suites that `task` names."""
        known = TabletopBenchmark()
        names = [name.strip() for name in (self.task or "").split(",") if name.strip()]
        if not names:
            raise InspireError(f"--env.task must name a suite. Possible: {sorted(known.suites())}.")
        for name in names:
            known.tasks(name)
        return names

    def create_envs(
        self, n_envs: int, use_async_envs: bool = False
    ) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
        """suite → number of the task → `n_envs` environments of it. Seeds given at reset fix the initial states."""
        if n_envs < 1:
            raise InspireError(f"n_envs must be at least 1, found {n_envs}.")
        made: dict[str, dict[int, gymnasium.vector.VectorEnv]] = {}
        for suite in self.suites():
            count = len(TabletopBenchmark().tasks(suite))
            numbers = range(count) if self.task_ids is None else self.task_ids
            wrong = [number for number in numbers if not 0 <= number < count]
            if wrong:
                raise InspireError(f"{suite} has no task number {wrong[0]}; possible: 0 to {count - 1}.")
            made[suite] = {number: self._vector(suite, number, n_envs, use_async_envs) for number in numbers}
        return made

    def _vector(
        self, suite: str, number: int, n_envs: int, use_async_envs: bool
    ) -> gymnasium.vector.VectorEnv:
        make: Callable[[], gymnasium.Env] = partial(
            make_one, suite, number, self.render_size, **self.gym_kwargs
        )
        if use_async_envs and n_envs > 1:
            return _LazyAsyncVectorEnv([make] * n_envs)  # freezes finished ones itself
        mode = gymnasium.vector.AutoresetMode.NEXT_STEP
        return gymnasium.vector.SyncVectorEnv([freeze_after_episode_end(make)] * n_envs, autoreset_mode=mode)


def make_one(suite: str, number: int, render_size: int, **options) -> gymnasium.Env:
    """One environment of a suite's task, as LeRobot's evaluation wants it."""
    benchmark = TabletopBenchmark()
    return _ForLeRobot(benchmark.make(suite, benchmark.tasks(suite)[number], **options), render_size)


class _ForLeRobot(gymnasium.Wrapper):
    """Has the attributes that LeRobot's rollout reads, and an `info` of numbers alone."""

    def __init__(self, env: gymnasium.Env, render_size: int) -> None:
        super().__init__(env)
        self.task = env.unwrapped.task.name  # type: ignore[attr-defined]
        self.task_description = env.unwrapped.task.instruction  # type: ignore[attr-defined]
        self._max_episode_steps = env.unwrapped.max_steps  # type: ignore[attr-defined]
        self._render_size = render_size

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        observation, info = self.env.reset(seed=seed)
        return observation, {"is_success": bool(info["is_success"])}

    def step(self, action) -> tuple[dict, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = self.env.step(np.asarray(action))
        return (
            observation,
            float(reward),
            bool(terminated),
            bool(truncated),
            {"is_success": bool(info["is_success"])},
        )

    def render(self) -> np.ndarray:
        """The agent view at `render_size`, uint8 (H, W, 3)."""
        return self.env.unwrapped.image("image", self._render_size, self._render_size)  # type: ignore[attr-defined]
