"""The gymnasium environment: one scene, one task, and an arm with LIBERO's action space.

Observation
    pixels.image   uint8 (size, size, 3)  agent view, from the front towards the robot, as in LIBERO: the robot's left
                   (+y) is right in the image, and front (+x) is at the bottom
    pixels.image2  uint8 (size, size, 3)  wrist camera, on request
    agent_pos      float32 (8,)  gripper x y z (m, base frame), its rotation relative to pointing straight down
                   (axis times angle, rad, base frame), both finger joints (m, 0 to 0.04)
Action float32 (7,) in [-1, 1]
    dx dy dz in units of MAX_STEP_M and three rotations in units of MAX_TURN_RAD, in the base frame; then the gripper:
    -1 opens, +1 closes, and values between -0.1 and 0.1 keep the last command
"""

from typing import Any, ClassVar

import gymnasium
import numpy as np

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.observation_history import LazyImages
from inspire_vla.tabletop import arm
from inspire_vla.tabletop.arm import arm_kinematics, rotation_matrix, rotation_vector
from inspire_vla.tabletop.objects import ObjectSpec
from inspire_vla.tabletop.rendering import choose_gl_backend, shared_renderer, subtree
from inspire_vla.tabletop.scene import AGENT_CAMERA, START_X_M, START_Y_M, START_Z_M, TIMESTEP_S, compiled
from inspire_vla.tabletop.tasks import Task, goals_of
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
_MAX_TRACKING_ERROR_M, _MAX_TRACKING_ERROR_RAD = 0.05, 0.3
"""Clamp of the target's distance from the arm, so that a blocked arm does not wind up."""
_WORKSPACE_LOW, _WORKSPACE_HIGH = np.array([0.15, -0.50, 0.010]), np.array([0.78, 0.50, 0.50])


LARGEST_IMAGE = 640
"""Side in pixels: the scene's buffer has no more."""


def check_sizes(**sizes: int) -> None:
    """Raise InspireError for a side of images, in pixels, that cannot be drawn."""
    for name, size in sizes.items():
        if not 16 <= size <= LARGEST_IMAGE:
            raise InspireError(f"{name} must be between 16 and {LARGEST_IMAGE} pixels, not {size}.")


class TabletopEnv(gymnasium.Env):
    """One task of the benchmark. `reset(seed=n)` fixes everything that follows, given the actions.

    Args:
        cameras: images to draw: "image" (agent view) and "image2" (wrist); () draws none.
        image_size: side of the images in pixels, 16 to 640.
        render_size: side of the image that `render` returns; `image_size` by default.
        layout_randomness: 0 keeps the scene's layout, 1 places every object freely; see scene.py.
        max_steps: control steps until truncation; the task's own number by default.
        lazy_images: an image is drawn when it is first read, until the next step. `pixels` is then a Mapping, not the
            `dict` that gymnasium's vector environments need.

    `info` of reset and step: is_success (bool), task, suite, mentions (tuple of k str), gripper_to_object_m float64
    (k, 3) in metres in the base frame, and grasped bool (k,), both in the order of the mentions; goals, of a task with
    several: whether each holds.

    Raises:
        InspireError: an unknown camera, or a size that is not between 16 and 640.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}
    render_mode = "rgb_array"

    def __init__(
        self,
        task: Task,
        *,
        cameras: tuple[str, ...] = ("image",),
        image_size: int = 96,
        render_size: int | None = None,
        layout_randomness: float = 0.0,
        max_steps: int | None = None,
        lazy_images: bool = False,
    ) -> None:
        unknown = [name for name in cameras if name not in CAMERAS]
        if unknown:
            raise InspireError(f"Unknown camera {unknown[0]!r}.{did_you_mean(unknown[0], CAMERAS)}")
        self.render_size = image_size if render_size is None else render_size
        check_sizes(image_size=image_size, render_size=self.render_size)
        self.task, self.cameras, self.image_size = task, tuple(cameras), image_size
        self.layout_randomness = layout_randomness
        self.max_steps = task.max_steps if max_steps is None else max_steps
        self._model = compiled(task.scene)
        self._data = mujoco.MjData(self._model)
        self.world = World(task.scene, self._model, self._data)
        self._kinematics = arm_kinematics()
        self._lazy_images, self._moment = lazy_images, 0
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
        """The instruction, under the name that LeRobot's evaluation reads."""
        return self.task.instruction

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Draw a layout and a start position. Both depend on the seed only. Returns the observation and `info`."""
        super().reset(seed=seed)
        rng = self.np_random
        mujoco.mj_resetData(self._model, self._data)
        while True:
            layout = self.task.scene.sample_layout(rng, self.layout_randomness)
            start = np.array([rng.uniform(*START_X_M), rng.uniform(*START_Y_M), rng.uniform(*START_Z_M)])
            if self._start_is_free(layout, start):
                break
        self._place_objects(layout)
        self._target, self._rotation = start, np.eye(3)
        self._command = self._kinematics.solve(np.array(arm.HOME_QPOS), start, POINTING_DOWN, iterations=60)
        self._data.qpos[: arm.ARM_DOFS] = self._command
        self._data.qpos[arm.ARM_DOFS : arm.ARM_DOFS + 2] = arm.FINGER_OPEN_M
        self._data.ctrl[: arm.ARM_DOFS] = self._command
        self._opening = arm.FINGER_OPEN_M
        self._data.ctrl[arm.ARM_DOFS :] = self._opening
        mujoco.mj_step(self._model, self._data, SUBSTEPS)
        mujoco.mj_forward(self._model, self._data)
        self._steps = self._success_steps = 0
        self._needs_reset = False
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Move for one control step of 0.1 s. The reward is 1 on success and else 0. Success ends the episode.

        action: (7,) in [-1, 1], base frame, units as at the head of this file; values beyond are clipped.

        Raises InspireError before the first reset, after the end, and for an action that is not 7 finite numbers.
        """
        if self._needs_reset:
            raise InspireError("Call reset() before step(): the episode has not started or is over.")
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise InspireError(f"An action is 7 finite numbers in [-1, 1], not {action!r}.")
        self._drive(np.clip(action, -1.0, 1.0))
        self._steps += 1
        self._success_steps = self._success_steps + 1 if self.task.goal.holds(self.world) else 0
        info = self._info()
        truncated = self._steps >= self.max_steps and not info["is_success"]
        self._needs_reset = info["is_success"] or truncated
        return self._observation(), float(info["is_success"]), info["is_success"], truncated, info

    def render(self) -> np.ndarray:
        """Return the agent view, uint8 (render_size, render_size, 3)."""
        return self.image("image", self.render_size, self.render_size)

    def image(self, camera: str = "image", height: int = 384, width: int = 384) -> np.ndarray:
        """Return a camera's current image, uint8 (height, width, 3), at most 640 pixels a side."""
        return shared_renderer(self._model).render(self._data, CAMERAS[camera], height, width)

    def target_masks(self, camera: str = "image", height: int = 96, width: int = 96) -> np.ndarray:
        """Return a mask for each mention, bool (k, height, width): the pixels that show its target.

        Occluded parts are not in the mask, so it may be empty. A drawer counts as an object of its own.
        """
        bodies = shared_renderer(self._model).segment(self._data, CAMERAS[camera], height, width)
        masks = np.zeros((len(self.task.targets), height, width), dtype=bool)
        for mask, name in zip(masks, self.task.targets, strict=True):
            body = self._model.body(int(self._model.site_bodyid[self._model.site(name).id])).name
            mask[:] = np.isin(bodies, subtree(self._model, body))
        return masks

    def _drive(self, action: np.ndarray) -> None:
        data, n = self._data, arm.ARM_DOFS
        here, rotation = self._kinematics.forward(data.qpos[:n])
        target = self._target + action[:3] * MAX_STEP_M
        error = target - here
        target = here + error * min(1.0, _MAX_TRACKING_ERROR_M / max(float(np.linalg.norm(error)), 1e-9))
        self._target = np.clip(target, _WORKSPACE_LOW, _WORKSPACE_HIGH)
        target_rotation = rotation_matrix(action[3:6] * MAX_TURN_RAD) @ self._rotation
        rotation_error = rotation_vector(target_rotation @ POINTING_DOWN @ rotation.T)
        angle = np.linalg.norm(rotation_error)
        if angle > _MAX_TRACKING_ERROR_RAD:
            clamped = rotation_matrix(rotation_error * (_MAX_TRACKING_ERROR_RAD / angle))
            target_rotation = clamped @ rotation @ POINTING_DOWN.T
        self._rotation = target_rotation
        if abs(action[6]) > 0.1:
            self._opening = 0.0 if action[6] > 0 else arm.FINGER_OPEN_M
        goal = self._kinematics.solve(self._command, self._target, self._rotation @ POINTING_DOWN)
        begin, self._command = self._command, goal
        data.ctrl[n:] = self._opening
        for i in range(1, _RAMPS + 1):
            data.ctrl[:n] = begin + (goal - begin) * (i / _RAMPS)
            mujoco.mj_step(self._model, data, SUBSTEPS // _RAMPS)
        mujoco.mj_forward(self._model, data)  # sites and contacts of the same instant

    def _observation(self) -> dict:
        here, rotation = self._kinematics.forward(self._data.qpos[: arm.ARM_DOFS])
        fingers = self._data.qpos[arm.ARM_DOFS : arm.ARM_DOFS + 2]
        state = np.concatenate([here, rotation_vector(rotation @ POINTING_DOWN.T), fingers])
        observation: dict[str, Any] = {"agent_pos": state.astype(np.float32)}
        if self.cameras:
            self._moment += 1
            images = LazyImages(
                self.cameras,
                lambda name: self.image(name, self.image_size, self.image_size),
                lambda: self._moment,
            )
            observation["pixels"] = images if self._lazy_images else dict(images)
        return observation

    def _info(self) -> dict[str, Any]:
        here = self.world.gripper()
        targets, goals = self.task.targets, goals_of(self.task.goal)
        return {
            "is_success": self._success_steps >= SUCCESS_STEPS,
            "goals": tuple(goal.holds(self.world) for goal in goals) if len(goals) > 1 else (),
            "task": self.task.instruction,
            "suite": self.task.suite,
            "mentions": self.task.mentions,
            "gripper_to_object_m": np.array([self.world.point(t) - here for t in targets]).reshape(-1, 3),
            "grasped": np.array([self.world.grasped(t) for t in targets], dtype=bool),
        }

    def _place_objects(self, layout: dict[str, tuple[float, float, float]]) -> None:
        data, scene = self._data, self.task.scene
        for name, (x, y, yaw) in layout.items():
            spec = scene.objects[name]
            set_pose(self._model, data, spec, (x, y, spec.rest_z_m), yaw)
            if spec.kind == "cabinet":
                drawer = self._model.joint(f"{name}_drawer")
                data.qpos[drawer.qposadr[0]] = drawer.range[1] if scene.drawer_open else 0.0

    def _start_is_free(self, layout: dict[str, tuple[float, float, float]], start: np.ndarray) -> bool:
        for name, spec in self.task.scene.objects.items():
            x, y, _ = layout[name]
            radius, height = spec.shape.radius_m, spec.shape.height_m
            half_gripper_m = 0.11 if height > 0.10 else 0.06
            overlaps = abs(x - start[0]) < radius + 0.05 and abs(y - start[1]) < radius + half_gripper_m
            if start[2] <= height + 0.03 and overlaps:
                return False
        return True


def set_pose(
    model: "mujoco.MjModel",
    data: "mujoco.MjData",
    spec: ObjectSpec,
    position_m: tuple[float, float, float],
    yaw_rad: float,
) -> None:
    """Set an object's pose in the base frame, without physics: of a mocap body if fixed, else of its free joint."""
    pose = [*position_m, np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)]
    if spec.shape.fixed:
        slot = model.body(spec.name).mocapid[0]
        data.mocap_pos[slot], data.mocap_quat[slot] = pose[:3], pose[3:]
    else:
        first = model.joint(spec.name).qposadr[0]
        data.qpos[first : first + 7] = pose
