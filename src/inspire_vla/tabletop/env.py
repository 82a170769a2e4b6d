"""The gymnasium environment: one scene, one task, an arm that takes LIBERO's seven numbers.

Observation
    pixels.image   uint8 (size, size, 3)  agent view: from the front, looking back at the robot, as in LIBERO.
                   So the robot's left (+y) is on the image's right, and front (+x) is at its bottom.
    pixels.image2  uint8 (size, size, 3)  wrist camera; only when asked for
    agent_pos      float32 (8,)  gripper x y z (m, base frame), rotation from pointing straight down
                   (axis times angle, rad, base frame), both finger joints (m, 0 to 0.04)
Action float32 (7,) in [-1, 1]
    dx dy dz in units of MAX_STEP_M and three rotations in units of MAX_TURN_RAD, base frame, then the
    gripper: -1 opens, +1 closes (a value in between keeps what it did).
"""

from typing import Any, ClassVar

import gymnasium
import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.tabletop import arm
from inspire_vla.tabletop.ik import arm_kinematics, rotation_matrix, rotation_vector
from inspire_vla.tabletop.placing import put_thing
from inspire_vla.tabletop.rendering import Renderer, choose_gl_backend
from inspire_vla.tabletop.scenes import (
    AGENT_CAMERA,
    START_X_M,
    START_Y_M,
    START_Z_M,
    TIMESTEP_S,
    compiled,
)
from inspire_vla.tabletop.tasks import Task
from inspire_vla.tabletop.world import World

choose_gl_backend()
import mujoco  # noqa: E402  (MUJOCO_GL must be chosen first)

MAX_STEP_M = 0.04
MAX_TURN_RAD = 0.20
CONTROL_HZ = 10
SUBSTEPS = round(1 / CONTROL_HZ / TIMESTEP_S)
SUCCESS_STEPS = 3
"""Consecutive control steps for which the goal must hold."""
CAMERAS = {"image": AGENT_CAMERA, "image2": arm.WRIST_CAMERA}
POINTING_DOWN = np.diag([1.0, -1.0, -1.0])
_RAMPS = 5
_LEASH_M, _LEASH_RAD = 0.05, 0.3
_REACH_LOW, _REACH_HIGH = np.array([0.15, -0.50, 0.010]), np.array([0.78, 0.50, 0.50])
_RENDERERS: dict[int, tuple[Any, Renderer]] = {}


class TabletopEnv(gymnasium.Env):
    """One task of the benchmark. `reset(seed=n)` fixes everything that follows, given the actions.

    Args:
        task: what to do, and where.
        cameras: images to draw, of "image" (agent view) and "image2" (wrist); () draws none.
        image_size: side of the images in pixels, 16 to 640.
        layout_randomness: see scenes.py; 0 keeps the scene's layout, 1 places everything freely.
        max_steps: control steps until truncation; the task's own number by default.

    `info` of reset and step: is_success (bool), task, suite, mentions (tuple of str), gripper_to_object_m
    (k, 3) float64 in the base frame and grasped (k,) bool, in the order of the mentions.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}
    render_mode = "rgb_array"

    def __init__(
        self,
        task: Task,
        *,
        cameras: tuple[str, ...] = ("image",),
        image_size: int = 96,
        layout_randomness: float = 0.0,
        max_steps: int | None = None,
    ) -> None:
        unknown = [name for name in cameras if name not in CAMERAS]
        if unknown:
            raise InspireError(f"Unknown camera {unknown[0]!r}. Possible: {sorted(CAMERAS)}.")
        if not 16 <= image_size <= 640:
            raise InspireError(f"image_size must be between 16 and 640 pixels, not {image_size}.")
        self.task, self.cameras, self.image_size = task, tuple(cameras), image_size
        self.layout_randomness = layout_randomness
        self.max_steps = task.max_steps if max_steps is None else max_steps
        self._model = compiled(task.scene)
        self._data = mujoco.MjData(self._model)
        self.world = World(task.scene, self._model, self._data)
        self._kinematics = arm_kinematics()
        self._needs_reset = True
        box = gymnasium.spaces.Box
        spaces: dict[str, gymnasium.Space] = {"agent_pos": box(-10.0, 10.0, (8,), np.float32)}
        if self.cameras:
            image = box(0, 255, (image_size, image_size, 3), np.uint8)
            spaces["pixels"] = gymnasium.spaces.Dict(dict.fromkeys(self.cameras, image))
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = box(-1.0, 1.0, (7,), np.float32)

    @property
    def task_description(self) -> str:
        """The instruction (the name LeRobot's evaluation looks for)."""
        return self.task.instruction

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        rng = self.np_random
        mujoco.mj_resetData(self._model, self._data)
        while True:
            layout = self.task.scene.sample_layout(rng, self.layout_randomness)
            start = np.array([rng.uniform(*START_X_M), rng.uniform(*START_Y_M), rng.uniform(*START_Z_M)])
            if self._start_is_free(layout, start):
                break
        self._place_things(layout)
        self._target, self._turned = start, np.eye(3)
        self._command = self._kinematics.solve(np.array(arm.HOME_QPOS), start, POINTING_DOWN, iterations=60)
        self._data.qpos[: arm.ARM_DOFS] = self._command
        self._data.qpos[arm.ARM_DOFS : arm.ARM_DOFS + 2] = arm.FINGER_OPEN_M
        self._data.ctrl[: arm.ARM_DOFS] = self._command
        self._opening = arm.FINGER_OPEN_M
        self._data.ctrl[arm.ARM_DOFS :] = self._opening
        mujoco.mj_step(self._model, self._data, SUBSTEPS)
        mujoco.mj_forward(self._model, self._data)
        self._steps = self._held = 0
        self._needs_reset = False
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Move for one control step. The reward is 1 on success, else 0; success ends the episode."""
        if self._needs_reset:
            raise InspireError("Call reset() before step(): the episode has not begun or is over.")
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise InspireError(f"An action is 7 finite numbers in [-1, 1], not {action!r}.")
        self._drive(np.clip(action, -1.0, 1.0))
        self._steps += 1
        self._held = self._held + 1 if self.task.goal.holds(self.world) else 0
        info = self._info()
        truncated = self._steps >= self.max_steps and not info["is_success"]
        self._needs_reset = info["is_success"] or truncated
        return self._observation(), float(info["is_success"]), info["is_success"], truncated, info

    def render(self) -> np.ndarray:
        """The agent view, uint8 (image_size, image_size, 3)."""
        return self.image("image", self.image_size, self.image_size)

    def image(self, camera: str = "image", height: int = 384, width: int = 384) -> np.ndarray:
        """What a camera sees now, at any size up to 640, uint8 (height, width, 3)."""
        key = id(self._model)
        if key not in _RENDERERS:
            _RENDERERS[key] = (self._model, Renderer(self._model))
        return _RENDERERS[key][1].render(self._data, CAMERAS[camera], height, width)

    def _drive(self, action: np.ndarray) -> None:
        data, n = self._data, arm.ARM_DOFS
        here, rotation = self._kinematics.forward(data.qpos[:n])
        target = self._target + action[:3] * MAX_STEP_M
        pull = target - here  # a blocked arm must not wind up
        target = here + pull * min(1.0, _LEASH_M / max(float(np.linalg.norm(pull)), 1e-9))
        self._target = np.clip(target, _REACH_LOW, _REACH_HIGH)
        turned = rotation_matrix(action[3:6] * MAX_TURN_RAD) @ self._turned
        lag = rotation_vector(turned @ POINTING_DOWN @ rotation.T)
        angle = np.linalg.norm(lag)
        if angle > _LEASH_RAD:
            turned = rotation_matrix(lag * (_LEASH_RAD / angle)) @ rotation @ POINTING_DOWN.T
        self._turned = turned
        if abs(action[6]) > 0.1:
            self._opening = 0.0 if action[6] > 0 else arm.FINGER_OPEN_M
        goal = self._kinematics.solve(self._command, self._target, self._turned @ POINTING_DOWN)
        begin, self._command = self._command, goal
        data.ctrl[n:] = self._opening
        for i in range(1, _RAMPS + 1):
            data.ctrl[:n] = begin + (goal - begin) * (i / _RAMPS)
            mujoco.mj_step(self._model, data, SUBSTEPS // _RAMPS)
        mujoco.mj_forward(self._model, data)  # so that sites and contacts belong to the same instant

    def _observation(self) -> dict:
        here, rotation = self._kinematics.forward(self._data.qpos[: arm.ARM_DOFS])
        fingers = self._data.qpos[arm.ARM_DOFS : arm.ARM_DOFS + 2]
        state = np.concatenate([here, rotation_vector(rotation @ POINTING_DOWN.T), fingers]).astype(
            np.float32
        )
        observation: dict[str, Any] = {"agent_pos": state}
        if self.cameras:
            size = self.image_size
            observation["pixels"] = {name: self.image(name, size, size) for name in self.cameras}
        return observation

    def _info(self) -> dict[str, Any]:
        here = self.world.gripper()
        targets = self.task.targets
        return {
            "is_success": self._held >= SUCCESS_STEPS,
            "task": self.task.instruction,
            "suite": self.task.suite,
            "mentions": self.task.words,
            "gripper_to_object_m": np.array([self.world.point(name) - here for name in targets]).reshape(
                -1, 3
            ),
            "grasped": np.array([self.world.grasped(name) for name in targets], dtype=bool),
        }

    def _place_things(self, layout: dict[str, tuple[float, float, float]]) -> None:
        data, scene = self._data, self.task.scene
        for name, (x, y, yaw) in layout.items():
            item = scene.things[name]
            put_thing(self._model, data, item, (x, y, item.rest_z_m), yaw)
            if item.kind == "cabinet":
                drawer = self._model.joint(f"{name}_drawer")
                data.qpos[drawer.qposadr[0]] = drawer.range[1] if scene.drawer_open else 0.0

    def _start_is_free(self, layout: dict[str, tuple[float, float, float]], start: np.ndarray) -> bool:
        for name, item in self.task.scene.things.items():
            x, y, _ = layout[name]
            reach = item.shape.radius_m
            over = start[2] > item.shape.height_m + 0.03
            half_hand_m = 0.11 if item.shape.height_m > 0.10 else 0.06
            if not over and abs(x - start[0]) < reach + 0.05 and abs(y - start[1]) < reach + half_hand_m:
                return False
        return True
