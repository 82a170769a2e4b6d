"""LIBERO's five suites as evaluation wants a benchmark, through LeRobot's environment.

Fixed initial states: seed s starts from initial state s modulo their number (50 a task), and nothing else depends on
chance except where fixtures stand, which the seed fixes too. Two policies with the same seed meet the same scene.
"""

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.files import json_sha256
from inspire_vla.libero.bddl import SUITES, LiberoMissing, instruction_of, task_files
from inspire_vla.libero.plus import PLUS_SUITES, changed_instruction, changed_task_file, plus_tasks
from inspire_vla.libero.simulation import SETTLING_STEPS, Truth, axis_angle, require_libero

MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""Step limits as published with OpenVLA, MiniVLA, InSpire and π0-FAST. LeRobot gives libero_spatial 280."""


class LiberoBenchmark:
    """Tasks are named as their files are; see the module's words on seeds. `libero_plus_…` suites are LIBERO-Plus's.

    Args:
        cameras: `image` (agent view) and `image2` (wrist), turned by 180° as LeRobot's images are.
        image_size: pixels; the size that the policy was trained on.
        mapping: instruction → mention → name(s) of the scene, where grounding shall be overruled.
    """

    initial_states = dict.fromkeys(SUITES, 50) | dict.fromkeys(PLUS_SUITES, 1)
    """Of each task. LIBERO-Plus plays its tasks once; many of them have one initial state."""

    def __init__(
        self,
        cameras: Sequence[str] = ("image",),
        image_size: int = 256,
        mapping: Mapping[str, Mapping[str, Sequence[str] | str]] | None = None,
    ) -> None:
        unknown = [camera for camera in cameras if camera not in LiberoTask.CAMERAS]
        if unknown:
            raise InspireError(
                f"unknown camera {unknown[0]!r}.{did_you_mean(unknown[0], LiberoTask.CAMERAS)}"
            )
        self._cameras, self._image_size, self._mapping = tuple(cameras), image_size, dict(mapping or {})
        self.conditions = {
            "mapping": json_sha256(mapping) if mapping else None,
            "step_limits": dict(MAX_STEPS),
        }

    def suites(self) -> tuple[str, ...]:
        """libero_90 (seen), libero_spatial, libero_object, libero_goal, libero_10 (long)."""
        return (*SUITES, *PLUS_SUITES)

    def tasks(self, suite: str) -> tuple[str, ...]:
        """Names of a suite's tasks. Raises LiberoMissing without LIBERO, or LIBERO-Plus for its suites."""
        if suite in PLUS_SUITES:
            return plus_tasks(suite)
        return tuple(path.stem for path in task_files(suite))

    def make(self, suite: str, task: str) -> "LiberoTask":
        """An environment. Keep one alive per process (slots=1): robosuite does not switch GL contexts."""
        names = self.tasks(suite)
        if task not in names:
            raise InspireError(f"unknown task {task!r} of {suite}.{did_you_mean(task, names)}")
        return LiberoTask(suite, task, self._cameras, self._image_size, self._mapping)


class LiberoTask(gymnasium.Env):
    """One task, as evaluation wants an environment: truth in `info`, `reset(seed)` fixes the initial state."""

    CAMERAS = ("image", "image2")
    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(
        self,
        suite: str,
        task: str,
        cameras: tuple[str, ...],
        image_size: int,
        mapping: Mapping[str, Mapping[str, Sequence[str] | str]],
    ) -> None:
        require_libero()
        from lerobot.envs.libero import LiberoEnv, _get_suite

        plus = suite in PLUS_SUITES
        plain = PLUS_SUITES.get(suite, suite)
        tasks = _get_suite(plain)
        index = next((i for i, one in enumerate(tasks.tasks) if Path(one.bddl_file).stem == task), None)
        if index is None:
            raise LiberoMissing(
                f"the LIBERO that is installed has no {task!r} in {plain}: it is LIBERO-Plus, whose tasks are those of "
                f"{', '.join(PLUS_SUITES)}. Take it off PYTHONPATH for the plain ones."
            )
        self.suite, self.task, self._cameras = suite, task, cameras
        self.max_episode_steps = MAX_STEPS[plain]
        self._env = LiberoEnv(
            tasks,
            index,
            plain,
            is_libero_plus=plus,
            obs_type="pixels_agent_pos",
            observation_width=image_size,
            observation_height=image_size,
            num_steps_wait=SETTLING_STEPS,
        )
        self.action_space = self._env.action_space
        size = (image_size, image_size, 3)
        images = {camera: gymnasium.spaces.Box(0, 255, size, np.uint8) for camera in cameras}
        self.observation_space = gymnasium.spaces.Dict(
            {
                "pixels": gymnasium.spaces.Dict(images),
                "agent_pos": gymnasium.spaces.Box(-np.inf, np.inf, (8,), np.float32),
            }
        )
        self._task_file = changed_task_file(plain, task) if plus else Path(self._env._task_bddl_file)
        self.instruction = changed_instruction(plain, task) if plus else instruction_of(self._task_file)
        self._free_wording = plus
        self._mapping = mapping.get(self.instruction, {})
        self._truth: Truth | None = None
        self._steps = 0
        self._image: np.ndarray = np.zeros(size, np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start from initial state `seed` modulo their number."""
        number = 0 if seed is None else seed
        self._env.init_state_id = number
        raw, info = self._env.reset(seed=number)
        self._truth = Truth(
            self._env._env.env,
            self._task_file,
            self.instruction,
            overrule=self._mapping,
            leave_unknown=self._free_wording,
        )
        self._steps = 0
        states = self._env._init_states
        self._state_id = number % len(states) if states is not None else None
        return self._observation(raw), self._info(info)

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """One control step; truncated at the published limit."""
        raw, reward, terminated, _, info = self._env.step(np.asarray(action, dtype=np.float32))
        self._steps += 1
        truncated = not terminated and self._steps >= self.max_episode_steps
        return self._observation(raw), reward, terminated, truncated, self._info(info)

    def render(self) -> np.ndarray:
        """The agent view as last seen, turned."""
        return self._image

    def close(self) -> None:
        """Close it wholly: an environment half alive breaks the next one's images."""
        self._truth = None
        self._env.close()
        gc.collect()

    def _observation(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        pixels = {camera: np.ascontiguousarray(raw["pixels"][camera][::-1, ::-1]) for camera in self.CAMERAS}
        self._image = pixels["image"]
        robot = raw["robot_state"]
        angle = axis_angle(robot["eef"]["quat"])
        state = np.concatenate([robot["eef"]["pos"], angle, robot["gripper"]["qpos"]]).astype(np.float32)
        return {"pixels": {camera: pixels[camera] for camera in self._cameras}, "agent_pos": state}

    def _info(self, info: Mapping[str, Any]) -> dict[str, Any]:
        assert self._truth is not None
        offsets, grasped = self._truth.offsets()
        return {
            "is_success": bool(info.get("is_success", False)),
            "task": self.task,
            "suite": self.suite,
            "instruction": self.instruction,
            "init_state": self._state_id,
            "mentions": self._truth.mentions,
            "gripper_to_object_m": offsets,
            "grasped": grasped,
        }
