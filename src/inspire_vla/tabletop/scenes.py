"""Scenes: which things stand on the table, and where. A scene is data; its model is compiled once.

A layout gives every thing a nominal place; an episode moves each by a little (`JITTER_M`). So within
one scene, things, places and tasks go together, as in LIBERO-90: the accidental correlations that a
policy may learn instead of looking. `layout_randomness` loosens them: it is the chance, for every thing
but a cabinet, to stand anywhere on the table instead.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.tabletop import arm, objects
from inspire_vla.tabletop.objects import Thing
from inspire_vla.tabletop.rendering import choose_gl_backend

choose_gl_backend()
import mujoco  # noqa: E402  (MUJOCO_GL must be chosen first)

JITTER_M = 0.025
YAW_JITTER_RAD = 0.15
TABLE_X_M, TABLE_Y_M = (0.31, 0.64), (-0.28, 0.28)
"""Where things may stand: middles of their footprints, base frame."""
START_X_M, START_Y_M, START_Z_M = (0.42, 0.54), (-0.08, 0.08), (0.04, 0.14)
"""Where the gripper starts."""
TIMESTEP_S = 0.005
AGENT_CAMERA = "agent"
_GAP_M = 0.030
_TALL_M = 0.10


@dataclass(frozen=True)
class Scene:
    """Things and their nominal places: `layout` maps a name such as "red_cube" to (x, y), metres, base frame."""

    name: str
    layout: tuple[tuple[str, float, float], ...]
    drawer_open: bool = False

    @functools.cached_property
    def things(self) -> dict[str, Thing]:
        return {name: objects.thing(name) for name, _, _ in self.layout}

    def mirrored(self, name: str) -> "Scene":
        """The same things with left and right exchanged, under another name."""
        return replace(self, name=name, layout=tuple((n, x, -y) for n, x, y in self.layout))

    def sample_layout(
        self, rng: np.random.Generator, randomness: float = 0.0
    ) -> dict[str, tuple[float, float, float]]:
        """Draw where each thing stands: name → (x, y, yaw). Footprints keep a finger's width apart."""
        if not 0.0 <= randomness <= 1.0:
            raise InspireError(f"layout_randomness is a chance between 0 and 1, not {randomness}.")
        for _ in range(2000):
            drawn: dict[str, tuple[float, float, float]] = {}
            for name, x, y in self.layout:
                item = self.things[name]
                free = rng.random() < randomness and item.kind != "cabinet"
                dx, dy = rng.uniform(-JITTER_M, JITTER_M, 2)
                if free:
                    x, y = rng.uniform(*TABLE_X_M), rng.uniform(*TABLE_Y_M)
                elif item.kind == "cabinet":
                    dx, dy = 0.5 * dx, 0.5 * dy
                yaw = rng.uniform(-YAW_JITTER_RAD, YAW_JITTER_RAD)
                drawn[name] = (x + dx, y + dy, 0.0 if item.shape.fixed else yaw)
            if self._fits(drawn):
                return drawn
        raise InspireError(f"Scene {self.name!r} is too full: no layout without overlap in 2000 draws.")

    def _fits(self, drawn: dict[str, tuple[float, float, float]]) -> bool:
        discs = []
        for name, (x, y, _) in drawn.items():
            kind = self.things[name].kind
            if kind == "cabinet":  # two discs for the body, two more for the drawer's way
                discs += [(name, x, y - 0.045, 0.085), (name, x, y + 0.045, 0.085)]
                discs += [(name, x + 0.13, y, 0.10), (name, x + 0.20, y, 0.07)] if self.drawer_open else []
                discs += [] if self.drawer_open else [(name, x + 0.10, y, 0.05)]
            else:
                discs.append((name, x, y, self.things[name].shape.radius_m))
        return all(
            a[0] == b[0] or np.hypot(a[1] - b[1], a[2] - b[2]) >= a[3] + b[3] + _GAP_M
            for i, a in enumerate(discs)
            for b in discs[i + 1 :]
        )

    def tall_things(self) -> tuple[str, ...]:
        """Things a carried object cannot pass over at the usual height."""
        return tuple(name for name, item in self.things.items() if item.shape.height_m > _TALL_M)


@functools.lru_cache(maxsize=64)
def compiled(scene: Scene) -> "mujoco.MjModel":
    """The scene's MuJoCo model; shared by all environments of this process, never changed."""
    return mujoco.MjModel.from_xml_string(scene_xml(scene))


def scene_xml(scene: Scene) -> str:
    """The scene as MJCF."""
    bodies = "".join(objects.body_xml(item) for item in scene.things.values())
    machinery = "".join(objects.machinery_xml(item) for item in scene.things.values())
    return f"""
<mujoco model="{scene.name}">
  <compiler angle="radian" autolimits="true" eulerseq="zyx"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" solver="Newton" cone="elliptic" impratio="3"
    noslip_iterations="3" iterations="20" ls_iterations="10"/>
  <size memory="8M"/>
  <visual><global offwidth="640" offheight="640"/><quality offsamples="0" shadowsize="0" numslices="20" numstacks="12"
    numquads="2"/><headlight ambient="0.42 0.42 0.44" diffuse="0.30 0.30 0.30" specular="0.05 0.05 0.05"/>
    <map znear="0.02" zfar="10"/></visual>
  <asset><texture name="sky" type="skybox" builtin="gradient" rgb1="0.80 0.86 0.92" rgb2="0.55 0.63 0.72"
    width="32" height="32"/></asset>
  <default>{arm.DEFAULTS}{objects.DEFAULTS}</default>
  <worldbody>
    <light pos="0.9 0.5 1.6" dir="-0.3 -0.35 -0.9" directional="true" diffuse="0.42 0.41 0.39" specular="0.1 0.1 0.1"
      castshadow="false"/>
    <geom name="table" type="box" size="0.46 0.52 0.02" pos="0.36 0 -0.02" rgba="0.83 0.76 0.66 1" class="solid"/>
    <geom type="box" size="0.465 0.525 0.012" pos="0.36 0 -0.055" rgba="0.62 0.53 0.43 1" class="look"/>
    <camera name="{AGENT_CAMERA}" pos="1.08 0 0.90" xyaxes="0 1 0 -0.755 0 0.656" fovy="40"/>
    {arm.body_xml()}{bodies}
  </worldbody>
  {arm.machinery_xml()}{machinery}
</mujoco>"""
