"""Random scenes for the grounding pre-training: random objects, positions, arm poses, lights and cameras.

The images show the shapes and colours of the benchmark and its arm, but none of its layouts, tasks or actions. Each
object's position in the image and on the table, as the camera sees it, is recorded. Its position relative to the robot
is not.
"""

import functools

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.grounding.images import BACKGROUND, GRIPPER, HANDLE, ROBOT, Images
from inspire_vla.tabletop import arm
from inspire_vla.tabletop.arm import arm_kinematics
from inspire_vla.tabletop.env import set_pose
from inspire_vla.tabletop.objects import COLOURS, SHAPES
from inspire_vla.tabletop.rendering import Renderer, choose_gl_backend, subtree
from inspire_vla.tabletop.scene import AGENT_CAMERA, Scene, scene_xml

choose_gl_backend()
import mujoco  # noqa: E402  (MUJOCO_GL must be chosen first)

IMAGES_PER_SCENE = 32
"""Images of one set of objects before the next set is compiled."""
MAX_SCENE_OBJECTS = 8
MAX_DUPLICATES = 3
_DUPLICATE = 0.35
"""Probability that the next object has the name of one that is there. So most scenes need more than names."""
_X_M, _Y_M = (0.18, 0.74), (-0.42, 0.42)
_GAP_M = 0.012
_SEGMENTATION = 48
_ARM_POSES = 200
_KINDS = [kind for kind, shape in SHAPES.items() if not shape.fixed] * 2 + list(SHAPES)
"""The kinds to draw from. Small objects and dishes are three times as frequent as fixed objects."""


def random_scenes(seed: int, count: int, image_size: int = 96) -> Images:
    """Draw `count` images, which depend on the seed and `image_size` only."""
    rng = np.random.default_rng((seed, 2))
    most = MAX_SCENE_OBJECTS + 2  # a drawer's handle and the gripper
    drawn = Images.empty(count, image_size, _SEGMENTATION, most)
    for row in range(count):
        if row % IMAGES_PER_SCENE == 0:
            scene = _RandomScene(rng)
        scene.draw(rng, drawn, row)
    return drawn


class _RandomScene:
    """A set of objects, compiled once. Each image has new poses of objects, arm, camera and light."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.scene = Scene("random", tuple((name, 0.0, 0.0) for name in _draw_names(rng)))
        self.model = mujoco.MjModel.from_xml_string(scene_xml(self.scene))
        self.data = mujoco.MjData(self.model)
        self.renderer = Renderer(self.model)
        self.camera = self.model.camera(AGENT_CAMERA).id
        self.table = self.model.geom("table").id
        self.bodies = {name: subtree(self.model, name) for name in self.scene.objects}
        self.arm = subtree(self.model, "base")
        self.cabinets = [name for name, spec in self.scene.objects.items() if spec.kind == "cabinet"]

    def draw(self, rng: np.random.Generator, into: Images, row: int) -> None:
        """Randomise the scene and write its image into one row."""
        grasped = self._randomise_poses(rng)
        self._randomise_light(rng)
        self._randomise_camera(rng)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        size, grid = into.pixels.shape[1], into.segmentation.shape[1]
        into.pixels[row] = self.renderer.render(self.data, AGENT_CAMERA, size, size)
        bodies = self.renderer.segment(self.data, AGENT_CAMERA, grid, grid)
        segmentation = into.segmentation[row]
        segmentation[:] = BACKGROUND
        segmentation[np.isin(bodies, self.arm)] = ROBOT
        for number, subtree_bodies in enumerate(self.bodies.values()):
            segmentation[np.isin(bodies, subtree_bodies)] = number
        names = list(self.scene.objects)
        points = [*names, *(f"{name}{HANDLE}" for name in self.cabinets), GRIPPER]
        visible = [float((segmentation == number).mean()) for number in range(len(names))]
        visible += [visible[names.index(name)] for name in self.cabinets]
        visible.append(float((segmentation == ROBOT).mean()))
        into.names[row, : len(points)] = points
        into.positions[row, : len(points)] = [self._in_image(point) for point in points]
        into.visibility[row, : len(points)] = visible
        for number, name in enumerate(names):
            if name != grasped:
                into.on_table[row, number] = self._on_table(name)

    def _randomise_poses(self, rng: np.random.Generator) -> str | None:
        """Returns the name of the object in the gripper, if there is one."""
        data, objects = self.data, self.scene.objects
        gripper, joints = _arm_pose(rng)
        data.qpos[: arm.ARM_DOFS] = joints
        data.qpos[arm.ARM_DOFS : arm.ARM_DOFS + 2] = rng.uniform(0.0, arm.FINGER_OPEN_M)
        graspable = [name for name, spec in objects.items() if spec.shape.graspable]
        grasped = str(rng.choice(graspable)) if graspable and rng.random() < 0.3 else None
        positions = _free_positions(rng, [spec.shape.radius_m for spec in objects.values()])
        for (name, spec), (x, y) in zip(objects.items(), positions, strict=True):
            z = spec.rest_z_m
            if name == grasped:
                x, y, z = gripper - (0.0, 0.0, spec.shape.grasp_z_m)
            yaw = rng.uniform(-np.pi, np.pi) if not spec.shape.fixed else rng.uniform(-0.2, 0.2)
            set_pose(self.model, data, spec, (x, y, z), yaw)
            if spec.kind == "cabinet":
                drawer = self.model.joint(f"{name}_drawer")
                data.qpos[drawer.qposadr[0]] = rng.choice([0.0, rng.uniform(*drawer.range)])
        return grasped

    def _randomise_light(self, rng: np.random.Generator) -> None:
        model = self.model
        model.light_dir[0] = rng.normal((-0.3, -0.35, -0.9), (0.35, 0.35, 0.1))
        model.light_diffuse[0] = rng.uniform(0.25, 0.6) * rng.uniform(0.9, 1.1, 3)
        model.vis.headlight.ambient = rng.uniform(0.3, 0.5)
        model.vis.headlight.diffuse = rng.uniform(0.15, 0.4)
        model.geom_rgba[self.table, :3] = np.clip(
            np.array([0.83, 0.76, 0.66]) * rng.uniform(0.75, 1.1) + rng.normal(0, 0.04, 3), 0.0, 1.0
        )

    def _randomise_camera(self, rng: np.random.Generator) -> None:
        """Put the camera on a sphere around the table's centre, opposite the robot."""
        azimuth, elevation = rng.uniform(-0.9, 0.9), rng.uniform(0.5, 1.15)
        distance = rng.uniform(0.95, 1.4)
        centre = rng.normal((0.46, 0.0, 0.05), (0.05, 0.05, 0.03))
        back = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        roll = rng.normal(0.0, 0.04)
        up = np.cross(back, right)
        right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
        self.model.cam_pos[self.camera] = centre + distance * back
        mujoco.mju_mat2Quat(self.model.cam_quat[self.camera], np.stack([right, up, back], axis=1).flatten())
        self.model.cam_fovy[self.camera] = rng.uniform(34.0, 50.0)

    def _in_image(self, site: str) -> tuple[float, float]:
        """Position of a site in the image, from the left and from the top, in fractions of its sides."""
        point = self.data.site_xpos[self.model.site(site).id]
        axes = self.data.cam_xmat[self.camera].reshape(3, 3)  # columns: right, up, back
        right, up, back = axes.T @ (point - self.data.cam_xpos[self.camera])
        scale = 0.5 / (-back * np.tan(np.radians(self.model.cam_fovy[self.camera]) / 2))
        return float(0.5 + right * scale), float(0.5 - up * scale)

    def _on_table(self, site: str) -> tuple[float, float]:
        """Where a site is on the table, in metres from the camera's foot: to the right, and towards the camera."""
        offset = (self.data.site_xpos[self.model.site(site).id] - self.data.cam_xpos[self.camera])[:2]
        front = self.data.cam_xmat[self.camera].reshape(3, 3)[:2, 2]
        front = front / np.hypot(*front)
        return float(offset @ (-front[1], front[0])), float(offset @ front)


def _draw_names(rng: np.random.Generator) -> list[str]:
    """Draw four to eight objects: at most one cabinet and one other fixed object, and often duplicates."""
    names: list[str] = []
    count, fixed, cabinets = int(rng.integers(4, MAX_SCENE_OBJECTS + 1)), 0, 0
    while len(names) < count:
        kind, colour = str(rng.choice(_KINDS)), str(rng.choice(list(COLOURS)))
        if kind == "cabinet":
            cabinets += 1
        elif SHAPES[kind].fixed:
            fixed += 1
        if cabinets > 1 or fixed > 1:
            cabinets, fixed = min(cabinets, 1), min(fixed, 1)
            continue
        if names and rng.random() < _DUPLICATE:
            first = names[int(rng.integers(len(names)))].split("_")
            if not SHAPES[first[1]].fixed:
                colour, kind = first[0], first[1]
        same = [name for name in names if name.startswith(f"{colour}_{kind}")]
        if len(same) < MAX_DUPLICATES:
            names.append(f"{colour}_{kind}_{len(same) + 1}")
    return names


def _free_positions(rng: np.random.Generator, radii: list[float]) -> list[tuple[float, float]]:
    """Draw positions of footprints that do not overlap. If one does not fit, all are drawn again."""
    for _ in range(100):
        positions: list[tuple[float, float]] = []
        for radius in radii:
            for _ in range(500):
                x, y = float(rng.uniform(*_X_M)), float(rng.uniform(*_Y_M))
                others = zip(positions, radii, strict=False)
                if all(np.hypot(x - a, y - b) >= radius + other + _GAP_M for (a, b), other in others):
                    positions.append((x, y))
                    break
            else:
                break
        if len(positions) == len(radii):
            return positions
    raise InspireError(f"{len(radii)} objects of radii {radii} m do not fit on the table.")


def _arm_pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a gripper position (3,) in metres and its joint angles (7,) in rad from a fixed set."""
    positions, joints = _arm_poses()
    chosen = int(rng.integers(len(positions)))
    return positions[chosen], joints[chosen]


@functools.cache
def _arm_poses() -> tuple[np.ndarray, np.ndarray]:
    rng, solver = np.random.default_rng(7), arm_kinematics()
    positions, joints = [], []
    for _ in range(_ARM_POSES):
        goal = rng.uniform((0.28, -0.30, 0.02), (0.68, 0.30, 0.36))
        turn = rng.normal(0.0, 0.15)
        down = np.array(
            [[np.cos(turn), np.sin(turn), 0.0], [np.sin(turn), -np.cos(turn), 0.0], [0.0, 0.0, -1.0]]
        )
        solution = solver.solve(np.array(arm.HOME_QPOS), goal, down, iterations=60)
        positions.append(solver.forward(solution)[0])
        joints.append(solution)
    return np.array(positions), np.array(joints)
