"""Random scenes of LIBERO-90's objects for the grounding pre-training: other objects, places and arm poses in each.

A scene keeps the arena and the fixtures of a task of LIBERO-90. Its objects are drawn from all of LIBERO-90, and
LIBERO's own sampler puts them anywhere on the table. Neither the layouts of the tasks nor their initial states are
used, and no action is recorded.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.grounding.images import BACKGROUND, GRIPPER, ROBOT, Images
from inspire_vla.libero.simulation import CAMERAS, draw, make_simulation, segment
from inspire_vla.libero.tasks import parse_task_file, read_problem, task_files

OBJECTS = {
    "akita_black_bowl": "black_bowl", "plate": "_plate", "ketchup": "_ketchup", "red_coffee_mug": "red_mug",
    "black_book": "black_book", "butter": "_butter", "chocolate_pudding": "chocolate_pudding",
    "porcelain_mug": "white_mug", "tomato_sauce": "tomato_sauce", "cream_cheese": "cream cheese_box",
    "alphabet_soup": "alphabet_soup", "chefmate_8_frypan": "frying_pan", "white_yellow_mug": "yellow and white_mug",
    "wooden_tray": "wooden_tray", "white_bowl": "white_bowl", "basket": "_basket", "moka_pot": "moka_pot",
    "wine_bottle": "wine_bottle", "orange_juice": "orange_juice", "milk": "_milk",
    "new_salad_dressing": "salad_dressing", "yellow_book": "yellow_book",
}  # fmt: skip
"""LIBERO-90's kinds of objects → how its instructions call them, as "modifier_noun" (see `Images.names`)."""
FIXTURES = {
    "wooden_cabinet": "wooden_cabinet", "white_cabinet": "white_cabinet", "flat_stove": "_stove",
    "microwave": "_microwave", "wine_rack": "wine_rack", "desk_caddy": "desk_caddy",
    "wooden_two_layer_shelf": "_shelf",
}  # fmt: skip
IMAGES_PER_SCENE = 64
"""Images of one set of objects. A set takes seconds to compile."""
MAX_OBJECTS = 6
_DUPLICATE = 0.35
"""Probability that the next object is of a kind that is there."""
_TABLE_M = (-0.22, -0.32, 0.22, 0.32)
"""Where objects are put: (x, y) from and to, from the middle of the workspace."""
_WRIST = 0.25
"""Share of the images from the camera at the wrist."""
_HELD = 0.25
"""Share of the images with an object between the fingers."""
_ARM_NOISE = 0.25
"""Standard deviation of the arm's joints around their initial pose, in rad."""
_SEGMENTATION = 64


def random_scenes(seed: int, count: int, image_size: int = 128) -> Images:
    """Draw `count` images, which depend on the seed and `image_size` only. They are drawn as with `--render fast`."""
    rng = np.random.default_rng((seed, 2))
    most = MAX_OBJECTS + 4  # fixtures and the gripper
    drawn = Images.empty(count, image_size, _SEGMENTATION, most)
    for start in range(0, count, IMAGES_PER_SCENE):
        scene = _RandomScene(rng, image_size)
        for row in range(start, min(start + IMAGES_PER_SCENE, count)):
            scene.draw(rng, drawn, row)
        scene.close()
    return drawn


class _RandomScene:
    """An arena with fixtures and a set of objects, compiled once. Each image has new places, arm pose and camera."""

    def __init__(self, rng: np.random.Generator, image_size: int) -> None:
        files = task_files("libero_90")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "random_scene.bddl"
            path.write_text(scene_text(rng, files[int(rng.integers(len(files)))]), encoding="utf-8")
            self.env = make_simulation(path, pixels=image_size, render="fast")
            self.env.seed(int(rng.integers(2**31)))  # of LIBERO's sampler
            kinds = read_problem(path)
        inner = self.env.env
        calls = OBJECTS | FIXTURES
        self.names = {
            name: f"{calls[kind]}_{name.rsplit('_', 1)[1]}"
            for name, kind in (kinds.objects | kinds.fixtures).items()
            if kind in calls
        }
        model = inner.sim.model
        bodies = {name: _subtree(model, self._body(name)) for name in self.names}
        bodies["robot"] = _subtree(model, model.body_name2id(inner.robots[0].robot_model.root_body))
        owner = np.full(model.nbody, BACKGROUND)
        for number, name in enumerate(self.names):
            owner[bodies[name]] = number
        owner[bodies["robot"]] = ROBOT
        self.owner = np.append(owner[np.asarray(model.geom_bodyid)], BACKGROUND)
        """Of each geom, and at last of none: the index of its object, ROBOT or BACKGROUND."""
        self.centres = {name: self._centre(name, bodies[name]) for name in self.names}
        self.views = {
            camera: (model.cam_pos[number].copy(), float(model.cam_fovy[number]))
            for camera in CAMERAS
            for number in [model.camera_name2id(CAMERAS[camera])]
        }

    def close(self) -> None:
        self.env.close()

    def draw(self, rng: np.random.Generator, into: Images, row: int) -> None:
        """Move everything, and write the image into one row."""
        held = self._move(rng)
        wrist = rng.random() < _WRIST
        camera = "image2" if wrist else "image"
        self._move_camera(rng, camera)
        sim = self.env.env.sim
        sim.forward()
        size, grid = into.pixels.shape[1], into.segmentation.shape[1]
        into.pixels[row] = draw(self.env.env, camera, size)
        of_geom = self.owner[segment(self.env.env, camera, grid)]
        into.segmentation[row] = of_geom
        names = [*self.names, GRIPPER]
        visible = [float((of_geom == number).mean()) for number in range(len(self.names))]
        visible.append(float((of_geom == ROBOT).mean()) if not wrist else 0.0)
        into.names[row, : len(names)] = [*self.names.values(), GRIPPER]
        into.positions[row, : len(names)] = [self._in_image(self._place(name), camera) for name in names]
        into.visibility[row, : len(names)] = visible
        if not wrist:
            for number, name in enumerate(self.names):
                if name != held:
                    into.on_table[row, number] = self._on_table(self._place(name), camera)

    def _move(self, rng: np.random.Generator) -> str | None:
        """New places of fixtures, objects and arm. Returns the name of the object in the gripper, if there is one."""
        inner = self.env.env
        sim, robot = inner.sim, inner.robots[0]
        placed = inner.placement_initializer.sample()
        for position, quaternion, thing in placed.values():
            if thing.name in inner.fixtures_dict:
                body = sim.model.body_name2id(thing.root_body)
                sim.model.body_pos[body], sim.model.body_quat[body] = position, quaternion
            else:
                sim.data.set_joint_qpos(thing.joints[-1], [*position, *quaternion])
        joints = np.asarray(robot._ref_joint_pos_indexes)
        for _ in range(50):
            sim.data.qpos[joints] = np.asarray(robot.init_qpos) + rng.normal(0.0, _ARM_NOISE, len(joints))
            sim.forward()
            x, y, z = self._place(GRIPPER) - inner.workspace_offset
            if abs(x) < 0.3 and abs(y) < 0.35 and 0.02 < z < 0.4:
                break
        opening = rng.uniform(0.0, 0.04)
        sim.data.qpos[np.asarray(robot._ref_gripper_joint_pos_indexes)] = opening, -opening
        movable = [name for name in self.names if name in inner.objects_dict]
        if rng.random() >= _HELD:
            return None
        held = str(rng.choice(movable))
        joint = inner.objects_dict[held].joints[-1]
        pose = sim.data.get_joint_qpos(joint).copy()
        pose[:3] = self._place(GRIPPER) + rng.normal(0.0, 0.01, 3)
        sim.data.set_joint_qpos(joint, pose)
        return held

    def _move_camera(self, rng: np.random.Generator, camera: str) -> None:
        model = self.env.env.sim.model
        number = model.camera_name2id(CAMERAS[camera])
        position, fovy = self.views[camera]
        spread = 0.02 if camera == "image" else 0.003
        model.cam_pos[number] = position + rng.normal(0.0, spread, 3)
        model.cam_fovy[number] = fovy + rng.normal(0.0, 1.0)

    def _body(self, name: str) -> int:
        inner = self.env.env
        thing = inner.objects_dict.get(name) or inner.fixtures_dict[name]
        return int(inner.sim.model.body_name2id(thing.root_body))

    def _centre(self, name: str, bodies: list[int]) -> NDArray[np.float64]:
        """The middle of a thing, (3,) metres in the frame of its body, whose origin may be its foot."""
        sim = self.env.env.sim
        model, data = sim.model, sim.data
        geoms = np.flatnonzero(np.isin(np.asarray(model.geom_bodyid), bodies))
        box = np.asarray(model._model.geom_aabb)[
            geoms
        ]  # of each geom: middle and half sides, in its own frame
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        corners = box[:, None, :3] + signs * box[:, None, 3:]
        axes = np.asarray(data.geom_xmat)[geoms].reshape(-1, 3, 3)
        world = np.einsum("gij,gcj->gci", axes, corners) + np.asarray(data.geom_xpos)[geoms][:, None]
        body = self._body(name)
        inside = (world.reshape(-1, 3) - data.body_xpos[body]) @ data.body_xmat[body].reshape(3, 3)
        return (inside.min(axis=0) + inside.max(axis=0)) / 2

    def _place(self, name: str) -> NDArray[np.float64]:
        """Where the middle of a thing is in the world, (3,) metres."""
        inner = self.env.env
        if name == GRIPPER:
            site = inner.robots[0].gripper.important_sites["grip_site"]
            return inner.sim.data.site_xpos[inner.sim.model.site_name2id(site)].copy()
        body, data = self._body(name), inner.sim.data
        return data.body_xpos[body] + data.body_xmat[body].reshape(3, 3) @ self.centres[name]

    def _in_image(self, point: NDArray[np.float64], camera: str) -> tuple[float, float]:
        """A point (3,) of the world in the image, (u, v). The image is the camera's, flipped horizontally."""
        sim = self.env.env.sim
        number = sim.model.camera_name2id(CAMERAS[camera])
        axes = sim.data.cam_xmat[number].reshape(3, 3)  # columns: right, up, back
        right, up, back = axes.T @ (point - sim.data.cam_xpos[number])
        if back > -0.01:
            return (-1.0, -1.0)  # behind the camera
        scale = 0.5 / (-back * np.tan(np.radians(sim.model.cam_fovy[number]) / 2))
        return float(0.5 - right * scale), float(0.5 - up * scale)

    def _on_table(self, point: NDArray[np.float64], camera: str) -> tuple[float, float]:
        """Where a point is on the table, (right, front) in metres from the camera's foot, as the image shows it."""
        sim = self.env.env.sim
        number = sim.model.camera_name2id(CAMERAS[camera])
        offset = (point - sim.data.cam_xpos[number])[:2]
        front = sim.data.cam_xmat[number].reshape(3, 3)[:2, 2]
        front = front / np.hypot(*front)
        return -float(offset @ (-front[1], front[0])), float(offset @ front)


def scene_text(rng: np.random.Generator, base: Path) -> str:
    """A task file with the arena and the fixtures of `base`, and with random objects anywhere on its table."""
    problem, parts = read_problem(base), parse_task_file(base)
    table = next(name for name, kind in problem.fixtures.items() if kind not in FIXTURES)
    fixtures = [name for name, kind in problem.fixtures.items() if kind in FIXTURES]
    standing = [fact for fact in parts[":init"] if fact[0] == "On" and fact[1] in fixtures]
    used = {fact[2] for fact in standing}
    regions = [
        region
        for region in parts[":regions"]
        if f"{table}_{region[0]}" in used or region[1] in [[":target", name] for name in fixtures]
    ]
    kinds = _draw_kinds(rng)
    names = [f"{kind}_{kinds[:number].count(kind) + 1}" for number, kind in enumerate(kinds)]
    anywhere = [
        "anywhere",
        [":target", table],
        [":ranges", [[*map(str, _TABLE_M)]]],
        [":yaw_rotation", [["0", "0"]]],
    ]
    on_table = [["On", names[number], f"{table}_anywhere"] for number in rng.permutation(len(names))]
    return _text(
        [
            "define",
            ["problem", *parts["problem"]],
            [":domain", "robosuite"],
            [":language", "a", "random", "scene"],
            [":regions", *regions, anywhere],
            [":fixtures", *_typed(problem.fixtures)],
            [":objects", *_typed(dict(zip(names, kinds, strict=True)))],
            [":obj_of_interest", names[0]],
            [":init", *standing, *on_table],
            [":goal", ["And", ["On", names[0], f"{table}_anywhere"]]],
        ]
    )


def _typed(kinds: dict[str, str]) -> list[str]:
    """{name: kind} → "a", "b", "-", "cup", …: the names of a kind stand together."""
    groups = {kind: [name for name in kinds if kinds[name] == kind] for kind in kinds.values()}
    return [word for kind, names in groups.items() for word in (*names, "-", kind)]


def _text(expression: Any) -> str:
    return expression if isinstance(expression, str) else f"({' '.join(map(_text, expression))})"


def _draw_kinds(rng: np.random.Generator) -> list[str]:
    """Kinds of three to MAX_OBJECTS objects, at most three of a kind."""
    kinds: list[str] = []
    count = int(rng.integers(3, MAX_OBJECTS + 1))
    while len(kinds) < count:
        again = kinds and rng.random() < _DUPLICATE
        kind = str(rng.choice(kinds if again else list(OBJECTS)))
        if kinds.count(kind) < 3:
            kinds.append(kind)
    return kinds


def _subtree(model: Any, body: int) -> list[int]:
    """A body and all bodies below it."""
    inside = {body}
    for child in range(body + 1, model.nbody):
        if int(model.body_parentid[child]) in inside:
            inside.add(child)
    return sorted(inside)
