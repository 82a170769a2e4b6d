"""Images to learn to see from: any things, anywhere, under any light, seen from anywhere.

They show the benchmark's shapes and colours and its arm, but none of its layouts, tasks or actions. Where each thing is
in the image is known to the pixel; where it is relative to the robot is not even written down.
"""

import functools

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.grounding.images import GRIPPER, HANDLE, NOTHING, ROBOT, Images
from inspire_vla.tabletop import arm
from inspire_vla.tabletop.ik import arm_kinematics
from inspire_vla.tabletop.objects import COLOURS, SHAPES
from inspire_vla.tabletop.placing import put_thing
from inspire_vla.tabletop.rendering import Renderer, choose_gl_backend
from inspire_vla.tabletop.scenes import AGENT_CAMERA, Scene, scene_xml
from inspire_vla.tabletop.segmentation import bodies_of_pixels, family_of

choose_gl_backend()
import mujoco  # noqa: E402  (MUJOCO_GL must be chosen first)

IMAGES_A_SCENE = 32
"""Images drawn of one set of things before the next is compiled."""
MOST_THINGS = 8
_X_M, _Y_M = (0.18, 0.74), (-0.42, 0.42)
_GAP_M = 0.012
_SEGMENTATION = 48
_ARM_POSES = 200
_CLUTTER = [kind for kind, shape in SHAPES.items() if not shape.fixed] * 2 + list(SHAPES)
"""What is drawn from: small things and dishes are met three times as often as furniture."""


def random_scenes(seed: int, count: int, image_size: int = 96) -> Images:
    """Draw `count` images; the seed fixes them all."""
    rng = np.random.default_rng((seed, 2))
    most = MOST_THINGS + 2  # and a drawer's handle, and the gripper
    drawn = Images(
        pixels=np.empty((count, image_size, image_size, 3), np.uint8),
        owners=np.empty((count, _SEGMENTATION, _SEGMENTATION), np.int8),
        names=np.zeros((count, most), "U24"),
        places=np.zeros((count, most, 2), np.float32),
        visible=np.zeros((count, most), np.float32),
    )
    for row in range(count):
        if row % IMAGES_A_SCENE == 0:
            scene = _FreeScene(rng)
        scene.draw(rng, drawn, row)
    return drawn


class _FreeScene:
    """A set of things, compiled once; every image puts them, the arm, camera and light elsewhere."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.scene = Scene("free", tuple((name, 0.0, 0.0) for name in _draw_names(rng)))
        self.model = mujoco.MjModel.from_xml_string(scene_xml(self.scene))
        self.data = mujoco.MjData(self.model)
        self.renderer = Renderer(self.model)
        self.camera = self.model.camera(AGENT_CAMERA).id
        self.table = self.model.geom("table").id
        self.families = {name: family_of(self.model, name) for name in self.scene.things}
        self.arm = family_of(self.model, "base")
        self.cabinets = [name for name, item in self.scene.things.items() if item.kind == "cabinet"]

    def draw(self, rng: np.random.Generator, into: Images, row: int) -> None:
        """Arrange, light and look anew; write the image into a row."""
        self._place(rng)
        self._light(rng)
        self._look(rng)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        size, grid = into.pixels.shape[1], into.owners.shape[1]
        into.pixels[row] = self.renderer.render(self.data, AGENT_CAMERA, size, size)
        bodies = bodies_of_pixels(self.renderer, self.data, AGENT_CAMERA, grid, grid)
        owners = into.owners[row]
        owners[:] = NOTHING
        owners[np.isin(bodies, self.arm)] = ROBOT
        for number, family in enumerate(self.families.values()):
            owners[np.isin(bodies, family)] = number
        points = [*self.scene.things, *(f"{name}{HANDLE}" for name in self.cabinets), GRIPPER]
        shown = [float((owners == number).mean()) for number in range(len(self.scene.things))]
        shown += [shown[list(self.scene.things).index(name)] for name in self.cabinets]
        shown.append(float((owners == ROBOT).mean()))
        into.names[row, : len(points)] = points
        into.places[row, : len(points)] = [self._in_image(point) for point in points]
        into.visible[row, : len(points)] = shown

    def _place(self, rng: np.random.Generator) -> None:
        data, things = self.data, self.scene.things
        gripper, joints = _arm_pose(rng)
        data.qpos[: arm.ARM_DOFS] = joints
        data.qpos[arm.ARM_DOFS : arm.ARM_DOFS + 2] = rng.uniform(0.0, arm.FINGER_OPEN_M)
        small = [name for name, item in things.items() if item.shape.graspable]
        held = str(rng.choice(small)) if small and rng.random() < 0.3 else None
        places = _free_places(rng, [item.shape.radius_m for item in things.values()])
        for (name, item), (x, y) in zip(things.items(), places, strict=True):
            z = item.rest_z_m
            if name == held:
                x, y, z = gripper - (0.0, 0.0, item.shape.grasp_z_m)
            yaw = rng.uniform(-np.pi, np.pi) if not item.shape.fixed else rng.uniform(-0.2, 0.2)
            put_thing(self.model, data, item, (x, y, z), yaw)
            if item.kind == "cabinet":
                drawer = self.model.joint(f"{name}_drawer")
                data.qpos[drawer.qposadr[0]] = rng.choice([0.0, rng.uniform(*drawer.range)])

    def _light(self, rng: np.random.Generator) -> None:
        model = self.model
        model.light_dir[0] = rng.normal((-0.3, -0.35, -0.9), (0.35, 0.35, 0.1))
        model.light_diffuse[0] = rng.uniform(0.25, 0.6) * rng.uniform(0.9, 1.1, 3)
        model.vis.headlight.ambient = rng.uniform(0.3, 0.5)
        model.vis.headlight.diffuse = rng.uniform(0.15, 0.4)
        model.geom_rgba[self.table, :3] = np.clip(
            np.array([0.83, 0.76, 0.66]) * rng.uniform(0.75, 1.1) + rng.normal(0, 0.04, 3), 0.0, 1.0
        )

    def _look(self, rng: np.random.Generator) -> None:
        """A camera on a sphere around the table's middle, on the far side from the robot, where people stand."""
        azimuth, elevation = rng.uniform(-0.9, 0.9), rng.uniform(0.5, 1.15)
        distance = rng.uniform(0.95, 1.4)
        middle = rng.normal((0.46, 0.0, 0.05), (0.05, 0.05, 0.03))
        back = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        roll = rng.normal(0.0, 0.04)
        up = np.cross(back, right)
        right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
        self.model.cam_pos[self.camera] = middle + distance * back
        mujoco.mju_mat2Quat(self.model.cam_quat[self.camera], np.stack([right, up, back], axis=1).flatten())
        self.model.cam_fovy[self.camera] = rng.uniform(34.0, 50.0)

    def _in_image(self, site: str) -> tuple[float, float]:
        point = self.data.site_xpos[self.model.site(site).id]
        axes = self.data.cam_xmat[self.camera].reshape(3, 3)  # columns: right, up, back
        right, up, back = axes.T @ (point - self.data.cam_xpos[self.camera])
        scale = 0.5 / (-back * np.tan(np.radians(self.model.cam_fovy[self.camera]) / 2))
        return float(0.5 + right * scale), float(0.5 - up * scale)


def _draw_names(rng: np.random.Generator) -> list[str]:
    """Three to eight things, at most one cabinet and one other piece of furniture; now and then twins."""
    names: list[str] = []
    wanted, furniture, cabinets = int(rng.integers(3, MOST_THINGS + 1)), 0, 0
    while len(names) < wanted:
        kind, colour = str(rng.choice(_CLUTTER)), str(rng.choice(list(COLOURS)))
        if kind == "cabinet":
            cabinets += 1
        elif SHAPES[kind].fixed:
            furniture += 1
        if cabinets > 1 or furniture > 1:
            cabinets, furniture = min(cabinets, 1), min(furniture, 1)
            continue
        if names and rng.random() < 0.15:  # a twin of what is there
            first = names[int(rng.integers(len(names)))].split("_")
            if not SHAPES[first[1]].fixed:
                colour, kind = first[0], first[1]
        same = [name for name in names if name.startswith(f"{colour}_{kind}")]
        if len(same) < 2:
            names.append(f"{colour}_{kind}_{len(same) + 1}")
    return names


def _free_places(rng: np.random.Generator, radii: list[float]) -> list[tuple[float, float]]:
    """Where things stand that do not overlap; where they get in each other's way, all begin anew."""
    for _ in range(100):
        places: list[tuple[float, float]] = []
        for radius in radii:
            for _ in range(500):
                x, y = float(rng.uniform(*_X_M)), float(rng.uniform(*_Y_M))
                others = zip(places, radii, strict=False)
                if all(np.hypot(x - a, y - b) >= radius + other + _GAP_M for (a, b), other in others):
                    places.append((x, y))
                    break
            else:
                break
        if len(places) == len(radii):
            return places
    raise InspireError(f"{len(radii)} things of radii {radii} m do not fit on the table.")


def _arm_pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A gripper position (3,) m and the joint angles (7,) rad that reach it, one of a fixed set."""
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
