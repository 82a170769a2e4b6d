"""LIBERO's simulations, and the privileged state in them. LIBERO is imported only when a simulation is made.

`env` is LIBERO's wrapper (ControlEnv); `inner` is the robosuite environment in it (`env.env`).
"""

import atexit
import gc
import os
import re
import weakref
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, did_you_mean, reason_of
from inspire_vla.labels.dataset_writer import png
from inspire_vla.libero.control_step import compute_once
from inspire_vla.libero.grounding import ground
from inspire_vla.libero.installation import explained_import, require_libero
from inspire_vla.libero.render_context import keep_render_context
from inspire_vla.libero.rendering import Rendering, fast_rendering
from inspire_vla.libero.tasks import instruction_of, read_problem

CONTROL_HZ = 20
SETTLING_STEPS = 10
"""No-op steps before an episode, as in LeRobot and OpenVLA: objects come to rest from the fixed initial states."""
CAMERAS = {"image": "agentview", "image2": "robot0_eye_in_hand"}
"""Our names of cameras → LIBERO's."""


def make_simulation(task_file: str | Path, *, pixels: int | None = None, render: Rendering = "full") -> Any:
    """Make LIBERO's environment of a task file; with rendering only if `pixels` is given. Raises LiberoMissing.

    Keep at most one with rendering per process: robosuite does not switch GL contexts.

    Args:
        render: how `sim.render` draws, see rendering.py.
    """
    require_libero()
    with explained_import():
        from libero.libero.envs.env_wrapper import ControlEnv

    size = {} if pixels is None else {"camera_heights": pixels, "camera_widths": pixels}
    env = ControlEnv(
        bddl_file_name=os.fspath(task_file),
        control_freq=CONTROL_HZ,
        has_offscreen_renderer=False,  # not for the scene made here, which the reset below replaces
        use_camera_obs=False,  # an image costs more than a step; `sim.render` draws the ones needed
        **size,
    )
    env.env.has_offscreen_renderer = pixels is not None
    if pixels is not None:
        keep_render_context(env.env, fast_rendering if render == "fast" else str)
    compute_once(env.env)
    env.reset = partial(_reset, env)
    env.seed(0)
    env.reset()
    close_at_exit(env)
    return env


def _reset(env: Any) -> Any:
    """Reset; again where the objects did not fit. LIBERO's own reset tries again after any error, and after Ctrl-C."""
    from robosuite.utils.errors import RandomizationError

    while True:
        with suppress(RandomizationError):
            return env.env.reset()


_simulations: dict[tuple[str, int | None, Rendering], Any] = {}


def shared_simulation(task_file: str, pixels: int | None, render: Rendering = "full") -> Any:
    """Return the process's only simulation. It is closed before that of another task or other images is made."""
    key = (task_file, pixels, render)
    if key not in _simulations:
        if _simulations:
            _simulations.popitem()[1].close()
            gc.collect()
        _simulations[key] = make_simulation(task_file, pixels=pixels, render=render)
    return _simulations[key]


def close_at_exit(env: Any) -> None:
    """Close an environment before the interpreter exits, if it is still open. Call this after its first reset.

    Robosuite 1.4 terminates EGL in an exit handler of its own and frees its rendering contexts afterwards, which
    prints tracebacks. Exit handlers run in reverse order, so this one runs before robosuite's.
    """
    reference = weakref.ref(env)

    def close() -> None:
        if (alive := reference()) is not None and hasattr(alive, "env"):
            alive.close()
            gc.collect()

    atexit.register(close)


class GroundTruth:
    """Privileged state of a robosuite environment: where the objects mentioned by an instruction are.

    Args:
        inner: the environment. Its `sim` is looked up at every call, because a reset may build a new one.
        task_file: its BDDL file.
        instruction: the task file's own by default.
        overrides, skip_unknown: see `ground`.

    Raises:
        InspireError: a mention that matches nothing in the scene.
    """

    def __init__(
        self,
        inner: Any,
        task_file: str | Path,
        instruction: str | None = None,
        *,
        overrides: Mapping[str, Sequence[str] | str] | None = None,
        skip_unknown: bool = False,
    ) -> None:
        self._inner = inner
        self.instruction = instruction or instruction_of(task_file)
        self.grounding = ground(
            read_problem(task_file), self.instruction, overrides=overrides, skip_unknown=skip_unknown
        )
        self.mentions = tuple(self.grounding)
        for names in self.grounding.values():
            for name in names:
                self.point(name)  # raise now rather than in an episode

    def eef_position(self) -> NDArray[np.float64]:
        """Return the point between the fingers, (3,) metres, in the world frame."""
        sim = self._inner.sim
        site = self._inner.robots[0].gripper.important_sites["grip_site"]
        return sim.data.site_xpos[sim.model.site_name2id(site)].copy()

    def point(self, name: str) -> NDArray[np.float64]:
        """Return the position of an object, fixture or region, (3,) metres, in the world frame."""
        model, data = self._inner.sim.model, self._inner.sim.data
        if name in self._inner.object_sites_dict:
            return data.site_xpos[model.site_name2id(name)].copy()
        return data.body_xpos[model.body_name2id(self._object(name).root_body)].copy()

    def grasped(self, name: str) -> bool:
        """Return whether both finger pads touch it: robosuite's rule (`_check_grasp`). A region stands for its body."""
        model = self._inner.sim.model
        geoms = {model.geom_name2id(geom) for geom in self._geoms(name)}
        return all(not geoms.isdisjoint(touched) for touched in self._touched_by_pads())

    def _touched_by_pads(self) -> Iterator[set[int]]:
        """For each of the two finger pads, the numbers of the geoms in contact with it."""
        model, gripper = self._inner.sim.model, self._inner.robots[0].gripper
        contacts = self._inner.sim.data._data.contact.geom.tolist()
        for pad in ("left_fingerpad", "right_fingerpad"):
            geoms = {model.geom_name2id(geom) for geom in gripper.important_geoms[pad]}
            yield {b for pair in contacts for a, b in (pair, reversed(pair)) if a in geoms}

    def offsets(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return gripper-to-object offsets (k, 3) in metres in the robot's base frame, and grasped (k,).

        If a mention has several objects, the grasped one counts, else the nearest.
        """
        eef, rotation = self.eef_position(), self._base_rotation()
        offsets = np.zeros((len(self.mentions), 3), dtype=np.float32)
        grasped = np.zeros(len(self.mentions), dtype=bool)
        for i, names in enumerate(self.grounding.values()):
            free, _, name = min(
                (not self.grasped(name), float(np.linalg.norm(self.point(name) - eef)), name)
                for name in names
            )
            offsets[i] = rotation.T @ (self.point(name) - eef)
            grasped[i] = not free
        return offsets, grasped

    def goals(self) -> tuple[bool, ...]:
        """Return whether each goal holds, as BDDL's own predicates say; empty for a task with a single goal."""
        goals = self._inner.parsed_problem["goal_state"]
        return tuple(bool(self._inner._eval_predicate(goal)) for goal in goals) if len(goals) > 1 else ()

    def _base_rotation(self) -> NDArray[np.float64]:
        sim = self._inner.sim
        body = sim.model.body_name2id(self._inner.robots[0].robot_model.root_body)
        return sim.data.body_xmat[body].reshape(3, 3)

    def _object(self, name: str) -> Any:
        for table in (self._inner.objects_dict, self._inner.fixtures_dict):
            if name in table:
                return table[name]
        inner = self._inner
        names = {*inner.objects_dict, *inner.fixtures_dict, *inner.object_sites_dict}
        raise InspireError(f"the scene has no {name!r}.{did_you_mean(name, names)}")

    def _geoms(self, name: str) -> list[str]:
        model = self._inner.sim.model
        if name not in self._inner.object_sites_dict:
            return list(self._object(name).contact_geoms)
        body = int(model.site_bodyid[model.site_name2id(name)])
        if body == 0:  # a region of the table
            return []
        found = [model.geom_id2name(i) for i in np.flatnonzero(np.asarray(model.geom_bodyid) == body)]
        return [geom for geom in found if geom]


def place_fixtures(inner: Any, model_xml: str) -> list[str]:
    """Move fixtures to where a recording had them (`model_file` of a demonstration), "" for none.

    Returns the fixtures of the scene that it does not place. A reset places fixtures at random, and they are not part
    of the state, so these stay where this simulation has them. The XML is not trusted: only positions and quaternions
    of bodies that the scene has are taken from it.

    Raises:
        InspireError: no XML, or one with a DOCTYPE.
    """
    if re.search(r"<!(DOCTYPE|ENTITY)", model_xml):
        raise InspireError("a demonstration's model file has a DOCTYPE and is not read.")
    try:
        root = ElementTree.fromstring(model_xml or "<mujoco/>")
    except ElementTree.ParseError as error:
        raise InspireError(f"a demonstration's model file is not XML: {reason_of(error)}.") from None
    model = inner.sim.model
    missing = {fixture.root_body: name for name, fixture in inner.fixtures_dict.items()}
    for body in root.iter("body"):
        name = body.get("name")
        if name not in missing:
            continue
        # MuJoCo leaves out what is the default
        pos, quat = _numbers(body.get("pos", "0 0 0")), _numbers(body.get("quat", "1 0 0 0"))
        if len(pos) == 3 and len(quat) == 4 and np.isfinite([*pos, *quat]).all():
            index = model.body_name2id(name)
            model.body_pos[index], model.body_quat[index] = pos, quat
            del missing[name]
    inner.sim.forward()
    return sorted(missing.values())


def _numbers(text: str) -> list[float]:
    """The numbers of an attribute; [] where it holds anything else."""
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return []


def observe(
    inner: Any, truth: GroundTruth, cameras: Sequence[str], pixels: int | None, state: NDArray | None = None
) -> dict[str, Any]:
    """Return images (PNG) by camera, "state" (8,), "offsets" (k, 3) and "grasped" (k,), now or at a recorded state.

    Images are rotated by 180°, as those of LeRobot.
    """
    from robosuite.utils.transform_utils import quat2axisangle

    if state is not None:
        inner.sim.set_state_from_flattened(state)
        inner.sim.forward()
    offsets, grasped = truth.offsets()
    robot, data = inner.robots[0], inner.sim.data
    w, x, y, z = data.get_body_xquat(robot.robot_model.eef_name)
    fingers = data.qpos[robot._ref_gripper_joint_pos_indexes]
    row: dict[str, Any] = {
        "offsets": offsets,
        "grasped": grasped,
        "state": np.concatenate([truth.eef_position(), quat2axisangle(np.array([x, y, z, w])), fingers]),
    }
    for camera in cameras:
        row[camera] = png(draw(inner, camera, pixels))
    return row


def draw(inner: Any, camera: str, pixels: int | None) -> NDArray[np.uint8]:
    """Draw the present image of a camera, (pixels, pixels, 3), rotated by 180° as those of LeRobot are."""
    image = inner.sim.render(camera_name=CAMERAS[camera], width=pixels, height=pixels)
    return np.ascontiguousarray(image[::-1, ::-1])


def segment(inner: Any, camera: str, pixels: int) -> NDArray[np.int32]:
    """Return the number of the geom at each point of a camera's image, (pixels, pixels); −1: none. As `draw` turns it.

    Draw with `--render fast`: multisampling would mix the numbers. Robosuite 1.4 reads them wrongly with NumPy 2, so
    they are read here, from its own drawing.
    """
    sim = inner.sim
    sim.render(
        camera_name=CAMERAS[camera], width=pixels, height=pixels
    )  # makes the context, and makes it current
    context = sim._render_context_offscreen
    context.render(pixels, pixels, sim.model.camera_name2id(CAMERAS[camera]), segmentation=True)
    red, green, blue = np.moveaxis(context.read_pixels(pixels, pixels).astype(np.int32), -1, 0)
    geom = int(mujoco.mjtObj.mjOBJ_GEOM)
    drawn = context.scn.geoms[: context.scn.ngeom]
    of_number = np.full(context.scn.ngeom + 1, -1, np.int32)
    for thing in drawn:
        if thing.objtype == geom and thing.segid >= 0:
            of_number[thing.segid + 1] = thing.objid
    numbers = red + (green << 8) + (blue << 16)
    numbers[numbers > context.scn.ngeom] = 0
    return np.ascontiguousarray(of_number[numbers][::-1, ::-1])
