"""Where things are in a running LIBERO simulation. LIBERO is imported here, and only when something is made."""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.libero.bddl import LiberoMissing, bddl_folder, instruction_of, read_problem
from inspire_vla.libero.grounding import Grounding, ground

CONTROL_HZ = 20
SETTLING_STEPS = 10
"""No-op steps before an episode, as LeRobot and OpenVLA do: the fixed initial states start a little off rest."""


def require_libero() -> None:
    """Raise LiberoMissing, with the way out, unless LIBERO and its assets are here.

    LIBERO asks on the keyboard where its data shall lie when its configuration is missing: it is written first.
    """
    package = bddl_folder().parent
    folder = Path(os.environ.get("LIBERO_CONFIG_PATH", Path.home() / ".libero"))
    if not (folder / "config.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        places = {
            "benchmark_root": package,
            "bddl_files": package / "bddl_files",
            "init_states": package / "init_files",
            "datasets": package.parent / "datasets",
            "assets": package / "assets",
        }
        text = "".join(f"{name}: {path}\n" for name, path in places.items())
        (folder / "config.yaml").write_text(text, encoding="utf-8")
    if not assets_here():
        raise LiberoMissing(
            f"LIBERO's 3-D assets are missing ({package / 'assets'}). `make libero` downloads them from the "
            "Hugging Face hub, or links a copy from ../shared/libero."
        )


def assets_here() -> bool:
    """Whether LIBERO and its assets are installed, without importing it."""
    try:
        places = (bddl_folder().parent / "assets", Path.home() / ".cache/libero/assets")
    except InspireError:
        return False
    return any(any(place.glob("*/*")) for place in places)  # hf-libero downloads to the second


def make_simulation(task_file: str | Path, *, pixels: int | None = None) -> Any:
    """LIBERO's environment of a task; without rendering unless `pixels` is given. Raises LiberoMissing.

    Keep one with rendering per process: robosuite does not switch GL contexts.
    """
    require_libero()
    from libero.libero.envs.env_wrapper import ControlEnv

    shown = {} if pixels is None else {"camera_heights": pixels, "camera_widths": pixels}
    env = ControlEnv(
        bddl_file_name=os.fspath(task_file),
        control_freq=CONTROL_HZ,
        has_offscreen_renderer=pixels is not None,
        use_camera_obs=False,  # an image costs more than a step: `sim.render` draws those that are wanted
        **shown,
    )
    env.seed(0)
    env.reset()
    return env


class Truth:
    """Says where the mentions of an instruction are in a robosuite environment (LIBERO's `env.env`).

    Args:
        inner: the environment; its `sim` is looked up at every call, since a reset may build another.
        task_file: its BDDL file.
        overrule: mention → name(s) of the scene.
        leave_unknown: know nothing of a mention that fits nothing in the scene, in place of raising.

    Raises:
        InspireError: a mention that fits nothing in the scene.
    """

    def __init__(
        self,
        inner: Any,
        task_file: str | Path,
        instruction: str | None = None,
        mentions: Sequence[str] | None = None,
        *,
        overrule: Mapping[str, Sequence[str] | str] | None = None,
        leave_unknown: bool = False,
    ) -> None:
        self._inner = inner
        self.instruction = instruction or instruction_of(task_file)
        self.grounding: Grounding = ground(
            read_problem(task_file),
            self.instruction,
            mentions,
            overrule=overrule,
            leave_unknown=leave_unknown,
        )
        self.mentions = tuple(self.grounding)
        for names in self.grounding.values():
            for name in names:
                self.point(name)  # fails now rather than in an episode

    def hand(self) -> NDArray[np.float64]:
        """Position of the point between the fingers, (3,), world axes."""
        sim = self._inner.sim
        site = self._inner.robots[0].gripper.important_sites["grip_site"]
        return sim.data.site_xpos[sim.model.site_name2id(site)].copy()

    def point(self, name: str) -> NDArray[np.float64]:
        """Position of a thing or a region of the scene, (3,), world axes. Raises InspireError for another name."""
        model, data = self._inner.sim.model, self._inner.sim.data
        if name in self._inner.object_sites_dict:
            return data.site_xpos[model.site_name2id(name)].copy()
        return data.body_xpos[model.body_name2id(self._thing(name).root_body)].copy()

    def grasped(self, name: str) -> bool:
        """Whether both finger pads touch it, as robosuite decides; a region counts as the body it belongs to."""
        geoms = self._geoms(name)
        return bool(geoms) and bool(self._inner._check_grasp(self._inner.robots[0].gripper, geoms))

    def offsets(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(k, 3) metres in the robot's base frame, and (k,) grasped. Of several things the held or nearest counts."""
        hand, turn = self.hand(), self._base_rotation()
        found = np.zeros((len(self.mentions), 3), dtype=np.float32)
        held = np.zeros(len(self.mentions), dtype=bool)
        for i, names in enumerate(self.grounding.values()):
            ranked = sorted(
                (not self.grasped(name), float(np.linalg.norm(self.point(name) - hand)), name)
                for name in names
            )
            free, _, name = ranked[0]
            found[i] = turn.T @ (self.point(name) - hand)
            held[i] = not free
        return found, held

    def _base_rotation(self) -> NDArray[np.float64]:
        sim = self._inner.sim
        body = sim.model.body_name2id(self._inner.robots[0].robot_model.root_body)
        return sim.data.body_xmat[body].reshape(3, 3)

    def _thing(self, name: str) -> Any:
        for table in (self._inner.objects_dict, self._inner.fixtures_dict):
            if name in table:
                return table[name]
        raise InspireError(f"the scene has no {name!r}. Possible: {sorted(self._names())}.")

    def _names(self) -> set[str]:
        inner = self._inner
        return {*inner.objects_dict, *inner.fixtures_dict, *inner.object_sites_dict}

    def _geoms(self, name: str) -> list[str]:
        model = self._inner.sim.model
        if name not in self._inner.object_sites_dict:
            return list(self._thing(name).contact_geoms)
        body = int(model.site_bodyid[model.site_name2id(name)])
        if body == 0:  # a region of the table
            return []
        found = [model.geom_id2name(i) for i in np.flatnonzero(np.asarray(model.geom_bodyid) == body)]
        return [geom for geom in found if geom]


def place_fixtures(inner: Any, model_xml: str) -> int:
    """Put fixtures where a recording had them: `model_file` of a demonstration. Returns how many bodies were placed.

    Fixtures are placed at random by a reset and are no part of the state. The XML may come from anywhere: only
    positions and quaternions of bodies that the scene has are taken from it.
    """
    if re.search(r"<!(DOCTYPE|ENTITY)", model_xml):
        raise InspireError("a demonstration's model file holds a DOCTYPE: not read.")
    try:
        root = ElementTree.fromstring(model_xml)
    except ElementTree.ParseError as error:
        raise InspireError(f"a demonstration's model file is no XML: {error}.") from None
    model = inner.sim.model
    wanted = {fixture.root_body for fixture in inner.fixtures_dict.values()}
    placed = 0
    for body in root.iter("body"):
        name = body.get("name")
        if name not in wanted:
            continue
        index = model.body_name2id(name)
        for attribute, array, size in (("pos", model.body_pos, 3), ("quat", model.body_quat, 4)):
            numbers = np.fromstring(body.get(attribute, ""), sep=" ")
            if len(numbers) == size and np.isfinite(numbers).all():
                array[index] = numbers
        placed += 1
    inner.sim.forward()
    return placed


def axis_angle(quaternion: np.ndarray) -> np.ndarray:
    """(x, y, z, w) → axis times angle in 0..2π, as robosuite and the policies of the field have it."""
    x, y, z, w = (float(value) for value in quaternion)
    w = max(-1.0, min(1.0, w))
    length = np.sqrt(1.0 - w * w)
    return np.zeros(3) if length < 1e-9 else np.array([x, y, z]) * 2.0 * np.arccos(w) / length
