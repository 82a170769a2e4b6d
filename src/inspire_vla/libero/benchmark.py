"""LIBERO's five suites, and those of LIBERO-Plus and LIBERO-PRO, as a benchmark, through LeRobot's environment.

Seed s starts from the fixed initial state s modulo their number (50 per task). The only other randomness is the
position of the fixtures, which the seed determines too. Two policies with the same seed get the same scene.
"""

import gc
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.files import json_sha256
from inspire_vla.lerobot_internals import libero_suite
from inspire_vla.libero.dataset import check_cameras
from inspire_vla.libero.installation import LiberoMissing, explained_import, require_libero
from inspire_vla.libero.rendering import Rendering, check_rendering
from inspire_vla.libero.simulation import (
    CONTROL_HZ,
    SETTLING_STEPS,
    GroundTruth,
    close_at_exit,
    draw,
    make_simulation,
)
from inspire_vla.libero.tasks import (
    PLUS_SUITES,
    PRO_SUITES,
    SPLIT_SUITES,
    SUITES,
    base_suite,
    instruction_of,
    plus_instruction,
    plus_task_file,
    plus_tasks,
    pro_suite,
    task_files,
)
from inspire_vla.observation_history import LazyImages

MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""Step limits as published with OpenVLA, MiniVLA, InSpire and π0-FAST. LeRobot gives libero_spatial 280."""


class LiberoBenchmark:
    """The benchmark protocol of `evaluation`. A task has the name of its file.

    `libero_90_[small_]train` and `libero_90_[small_]heldout` are parts of LIBERO-90, see split.py.
    `libero_plus_…` are suites of LIBERO-Plus, `libero_pro_…` of LIBERO-PRO.

    Args:
        cameras: `image` (agent view) and `image2` (wrist), rotated by 180° as LeRobot's images are.
        image_size: in pixels; the size that the policy was trained on.
        mapping: instruction → mention → name(s) of the scene, which take precedence over grounding.
        render: how images are drawn, see rendering.py.

    Raises InspireError for unknown cameras, and where fast-simplification is missing for `render="fast"`.
    """

    groups: ClassVar[dict[str, str]] = {}
    """No suite has a fixed role: which ones are unseen depends on the policy's training data."""

    initial_states: ClassVar[dict[str, int]] = (
        dict.fromkeys((*SUITES, *SPLIT_SUITES), 50)
        | dict.fromkeys(PRO_SUITES, 50)
        | dict.fromkeys(PLUS_SUITES, 1)
    )
    """Number of initial states of each task. LIBERO-Plus evaluates a task once; many have one initial state."""

    part_of: ClassVar[dict[str, str]] = {suite: base_suite(suite) for suite in SPLIT_SUITES}
    """A policy that was trained on one of them knows tasks of the others, and of LIBERO-90."""

    changes: ClassVar[dict[str, str]] = PLUS_SUITES | {
        suite: base_suite(suite) for suite in PRO_SUITES if not suite.endswith("_task")
    }
    """LIBERO-Plus, and LIBERO-PRO but for its other goals."""

    def __init__(
        self,
        cameras: Sequence[str] = ("image",),
        image_size: int = 256,
        mapping: Mapping[str, Mapping[str, Sequence[str] | str]] | None = None,
        render: Rendering = "full",
    ) -> None:
        check_rendering(render)
        self._cameras, self._image_size, self._render = check_cameras(cameras), image_size, render
        self._mapping = dict(mapping or {})
        self.conditions = {
            "render": render,
            "mapping": json_sha256(mapping) if mapping else None,
            "step_limits": dict(MAX_STEPS),
        }

    def suites(self) -> tuple[str, ...]:
        """Return the names of all suites: LIBERO's five, the parts of LIBERO-90, LIBERO-Plus's and LIBERO-PRO's."""
        return (*SUITES, *SPLIT_SUITES, *PLUS_SUITES, *PRO_SUITES)

    def tasks(self, suite: str) -> tuple[str, ...]:
        """Return the names of a suite's tasks. Raises LiberoMissing if they are not installed."""
        if suite in PRO_SUITES:
            return tuple(task.name for task in pro_suite(suite).tasks)
        if suite in PLUS_SUITES:
            return plus_tasks(suite)
        return tuple(path.stem for path in task_files(suite))

    def instructions(self, suite: str) -> dict[str, str]:
        """Return {task: instruction} of a suite. Raises LiberoMissing if its tasks are not installed."""
        if suite in PRO_SUITES:
            return {task.name: task.language for task in pro_suite(suite).tasks}
        if suite in PLUS_SUITES:
            return {task: plus_instruction(base_suite(suite), task) for task in plus_tasks(suite)}
        return {path.stem: instruction_of(path) for path in task_files(suite)}

    def make(self, suite: str, task: str) -> "LiberoEnv":
        """Make an environment. Keep one alive per process (slots=1): robosuite does not switch GL contexts."""
        names = self.tasks(suite)
        if task not in names:
            raise InspireError(f"unknown task {task!r} of {suite}.{did_you_mean(task, names)}")
        return LiberoEnv(suite, task, self._cameras, self._image_size, self._mapping, self._render)


class LiberoEnv(gymnasium.Env):
    """One task, with the privileged state in `info`. `reset(seed)` determines the initial state."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}
    render_mode = "rgb_array"

    def __init__(
        self,
        suite: str,
        task: str,
        cameras: tuple[str, ...],
        image_size: int,
        mapping: Mapping[str, Mapping[str, Sequence[str] | str]],
        render: Rendering,
    ) -> None:
        require_libero()
        with explained_import():
            from lerobot.envs import libero

        plus, pro = suite in PLUS_SUITES, suite in PRO_SUITES
        if plus and render != "full":
            raise InspireError("LIBERO-Plus changes the images itself: use `--render full` with its suites.")
        original = base_suite(suite)
        tasks = pro_suite(suite) if pro else libero_suite(original)
        index = next((i for i, one in enumerate(tasks.tasks) if Path(one.bddl_file).stem == task), None)
        if index is None:
            raise LiberoMissing(
                f"The installed LIBERO has no {task!r} in {original}: it is LIBERO-Plus, which has the suites "
                f"{', '.join(PLUS_SUITES)}. Remove it from PYTHONPATH for LIBERO's own."
            )
        self.suite, self.task, self._cameras = suite, task, cameras
        self.max_episode_steps = MAX_STEPS[original]
        self._env = libero.LiberoEnv(
            tasks,
            index,
            original,
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
        self._task_file = plus_task_file(original, task) if plus else Path(self._env._task_bddl_file)
        if pro:
            self.instruction = tasks.get_task(index).language
        else:
            self.instruction = plus_instruction(original, task) if plus else instruction_of(self._task_file)
        self._plus = plus
        self._skip_unknown = plus or pro  # rephrased instructions mention more than objects
        self._mapping = mapping.get(self.instruction, {})
        self._make = partial(make_simulation, self._task_file, pixels=image_size, render=render)
        if not plus:
            self._env.camera_name = []  # LeRobot's environment draws both cameras at every step
        self._truth: GroundTruth | None = None
        self._steps = 0
        self._pixels: Mapping[str, np.ndarray] = {}
        self._image_size = image_size

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start from initial state number `seed` modulo their number. Returns the observation and `info`, as `step`."""
        number = 0 if seed is None else seed
        if self._env._env is None and not self._plus:
            self._env._env = self._make()
        self._env.init_state_id = number
        raw, info = self._env.reset(seed=number)
        if self._truth is None and self._plus:
            close_at_exit(self._env._env)
        self._truth = GroundTruth(
            self._env._env.env,
            self._task_file,
            self.instruction,
            overrides=self._mapping,
            skip_unknown=self._skip_unknown,
        )
        self._steps = 0
        states = self._env._init_states
        self._state_id = number % len(states) if states is not None else None
        return self._observation(raw), self._info(info)

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Make one control step. The episode is truncated at the published limit.

        Args:
            action: (7,) in [-1, 1], as LeRobot's environment of LIBERO takes it; the last number is the gripper, −1
                opens and +1 closes.

        Returns:
            The observation, the reward, terminated, truncated, and `info`. The observation holds
            {"pixels": {camera: uint8 (image_size, image_size, 3)}}. Its "agent_pos" is float32 (8,): position of the
            end effector in metres, its rotation (axis times angle, rad), and both finger joints. `info` holds
            `gripper_to_object_m` (k, 3), metres, base frame, and `grasped` (k,), in the order of `mentions`.
        """
        raw, reward, terminated, _, info = self._env.step(np.asarray(action, dtype=np.float32))
        self._steps += 1
        truncated = not terminated and self._steps >= self.max_episode_steps
        return self._observation(raw), reward, terminated, truncated, self._info(info)

    def render(self) -> np.ndarray:
        """Return the agent view of the last observation, uint8 (image_size, image_size, 3)."""
        return self._pixels["image"]

    def close(self) -> None:
        """Free the simulation at once: a remaining rendering context would break the images of the next one."""
        self._truth = None
        self._env.close()
        gc.collect()

    def _observation(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        from robosuite.utils.transform_utils import quat2axisangle

        if self._plus:  # it may have changed the images
            self._pixels = {c: np.ascontiguousarray(i[::-1, ::-1]) for c, i in raw["pixels"].items()}
            pixels: Mapping[str, np.ndarray] = {camera: self._pixels[camera] for camera in self._cameras}
        else:
            inner = self._env._env.env
            pixels = self._pixels = LazyImages(
                self._cameras,
                lambda camera: draw(inner, camera, self._image_size),
                lambda: (id(inner.sim), float(inner.sim.data.time)),
            )
        robot = raw["robot_state"]
        angle = quat2axisangle(robot["eef"]["quat"].copy())
        state = np.concatenate([robot["eef"]["pos"], angle, robot["gripper"]["qpos"]]).astype(np.float32)
        return {"pixels": pixels, "agent_pos": state}

    def _info(self, info: Mapping[str, Any]) -> dict[str, Any]:
        assert self._truth is not None
        offsets, grasped = self._truth.offsets()
        return {
            "is_success": bool(info.get("is_success", False)),
            "goals": self._truth.goals(),
            "task": self.task,
            "suite": self.suite,
            "instruction": self.instruction,
            "init_state": self._state_id,
            "mentions": self._truth.mentions,
            "gripper_to_object_m": offsets,
            "grasped": grasped,
        }
