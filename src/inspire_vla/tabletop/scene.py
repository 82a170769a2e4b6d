"""A scene: which objects stand on the table, and where. It is data; its MuJoCo model is compiled once.

A layout gives every object a nominal position, and an episode moves it by at most `JITTER_M`. Objects, positions and
tasks are therefore correlated within a scene, as in LIBERO-90, and a policy may exploit that correlation instead of
the image. `layout_randomness` weakens it: the probability that an object (cabinets excepted) stands anywhere on the
table instead.

A scene also says what every layout keeps true, so that instructions are true: which of several equal objects is the
left one, what stands next to what, and which side of a plate is free.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.tabletop import arm, objects
from inspire_vla.tabletop.objects import ObjectSpec
from inspire_vla.tabletop.places import SIDES, is_at, is_next_to, mirrored
from inspire_vla.tabletop.rendering import choose_gl_backend

choose_gl_backend()
import mujoco  # noqa: E402  (MUJOCO_GL must be chosen first)

JITTER_M = 0.025
YAW_JITTER_RAD = 0.15
TABLE_X_M, TABLE_Y_M = (0.31, 0.64), (-0.28, 0.28)
"""Range of the objects' positions (centre of the footprint), in the base frame."""
START_X_M, START_Y_M, START_Z_M = (0.42, 0.54), (-0.08, 0.08), (0.04, 0.14)
"""Range of the gripper's start position, in the base frame."""
TIMESTEP_S = 0.005
AGENT_CAMERA = "agent"
BESIDE_M = 0.06
"""Distance from the edge of an object to the middle of the free spot beside it."""
_SPOT_RADIUS_M = 0.05
_REACH_X_M, _REACH_Y_M = (0.29, 0.71), (-0.32, 0.32)
_GAP_M = 0.030
_TALL_M = 0.10


def check_layout_randomness(randomness: float) -> None:
    """Raise InspireError for what is no probability."""
    if not 0.0 <= randomness <= 1.0:
        raise InspireError(f"layout_randomness is a probability between 0 and 1, not {randomness}.")


@dataclass(frozen=True)
class Scene:
    """Objects and their nominal positions, and what every layout keeps true.

    Attributes:
        layout: (name, x, y), in metres in the base frame.
        places: (name, "left", "right", "front", "back" or "middle"): where an object stands among its equals.
        neighbours: (name, other): the object stands next to the other, and its equals do not. The other comes first in
            `layout`. Both move together.
        free: (name, side): a spot on this side of the object is free.
    """

    name: str
    layout: tuple[tuple[str, float, float], ...]
    drawer_open: bool = False
    places: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[tuple[str, str], ...] = ()
    free: tuple[tuple[str, str], ...] = ()

    @functools.cached_property
    def objects(self) -> dict[str, ObjectSpec]:
        """Name → object, in the order of the layout."""
        return {name: objects.parse_object(name) for name, _, _ in self.layout}

    def equals(self, name: str) -> tuple[str, ...]:
        """Return the other objects of the same colour and kind."""
        look = name.split("_")[:2]
        return tuple(other for other in self.objects if other != name and other.split("_")[:2] == look)

    def mirrored(self, name: str) -> "Scene":
        """Return the same scene with left and right exchanged, under another name."""
        return replace(
            self,
            name=name,
            layout=tuple((n, x, -y) for n, x, y in self.layout),
            places=tuple((n, mirrored(place)) for n, place in self.places),
            free=tuple((n, mirrored(side)) for n, side in self.free),
        )

    def sample_layout(
        self, rng: np.random.Generator, randomness: float = 0.0
    ) -> dict[str, tuple[float, float, float]]:
        """Draw each object's pose: name → (x, y, yaw), in metres and radians. Fingers fit between any two footprints.

        Raises InspireError if `randomness` is not in [0, 1], or if no layout is found that fits and keeps the scene's
        places, neighbours and free spots.
        """
        check_layout_randomness(randomness)
        for _ in range(50_000):
            drawn = self._draw(rng, randomness)
            if self._fits(drawn) and self.is_true_of({name: pose[:2] for name, pose in drawn.items()}):
                return drawn
        raise InspireError(f"Scene {self.name!r} is too full: no layout without overlap in 50,000 draws.")

    def _draw(self, rng: np.random.Generator, randomness: float) -> dict[str, tuple[float, float, float]]:
        drawn: dict[str, tuple[float, float, float]] = {}
        nominal = {name: np.array([x, y]) for name, x, y in self.layout}
        middles: dict[str, np.ndarray] = {}
        freed: set[str] = set()
        neighbours = dict(self.neighbours)
        for name, spec in self.objects.items():
            middle = nominal[name]
            free = rng.random() < randomness and spec.kind != "cabinet"
            dx, dy = rng.uniform(-JITTER_M, JITTER_M, 2)
            neighbour = neighbours.get(name)
            if neighbour is not None:
                offset = middle - nominal[neighbour]
                middle = middles[neighbour] + (_turned(offset, rng) if neighbour in freed else offset)
            elif free:
                middle = np.array([rng.uniform(*TABLE_X_M), rng.uniform(*TABLE_Y_M)])
                freed.add(name)
            elif spec.kind == "cabinet":
                dx, dy = 0.5 * dx, 0.5 * dy
            yaw = rng.uniform(-YAW_JITTER_RAD, YAW_JITTER_RAD)
            middles[name] = middle
            x, y = float(middle[0] + dx), float(middle[1] + dy)
            drawn[name] = (x, y, 0.0 if spec.shape.fixed else float(yaw))
        return drawn

    def is_true_of(self, positions: Mapping[str, tuple[float, ...]]) -> bool:
        """Return whether places and neighbours are as the scene says, by positions: name → (x, y) in metres."""
        at = {name: np.array(position[:2]) for name, position in positions.items()}
        others = {name: [at[other] for other in self.equals(name)] for name in at}
        radius = {name: spec.shape.radius_m for name, spec in self.objects.items()}
        return all(is_at(place, at[name], others[name]) for name, place in self.places) and all(
            is_next_to(at[name], at[other], others[name], radius[name] + radius[other])
            and _on_table(at[name])
            for name, other in self.neighbours
        )

    def spot(self, name: str, side: str) -> np.ndarray:
        """Return the middle of the spot on one side of an object, (2,), relative to the object's middle."""
        return SIDES[side] * (self.objects[name].shape.radius_m + BESIDE_M)

    def _fits(self, drawn: dict[str, tuple[float, float, float]]) -> bool:
        discs = []
        for name, (x, y, _) in drawn.items():
            kind = self.objects[name].kind
            if kind == "cabinet":  # two discs for the body, more for the way of the drawer
                discs += [(name, x, y - 0.045, 0.085), (name, x, y + 0.045, 0.085)]
                discs += [(name, x + 0.13, y, 0.10), (name, x + 0.20, y, 0.07)] if self.drawer_open else []
                discs += [] if self.drawer_open else [(name, x + 0.10, y, 0.05)]
            else:
                discs.append((name, x, y, self.objects[name].shape.radius_m))
        for name, side in self.free:
            x, y = drawn[name][:2] + self.spot(name, side)
            if not (_REACH_X_M[0] <= x <= _REACH_X_M[1] and _REACH_Y_M[0] <= y <= _REACH_Y_M[1]):
                return False
            discs.append((name, x, y, _SPOT_RADIUS_M))
        return all(
            a[0] == b[0] or np.hypot(a[1] - b[1], a[2] - b[2]) >= a[3] + b[3] + _GAP_M
            for i, a in enumerate(discs)
            for b in discs[i + 1 :]
        )

    def tall_objects(self) -> tuple[str, ...]:
        """Names of the objects that a carried object cannot pass over at the usual height."""
        return tuple(name for name, spec in self.objects.items() if spec.shape.height_m > _TALL_M)


def _turned(offset: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The offset (2,), turned by a random angle."""
    angle = rng.uniform(-np.pi, np.pi)
    return np.hypot(*offset) * np.array([np.cos(angle), np.sin(angle)])


def _on_table(position: np.ndarray) -> bool:
    (x0, x1), (y0, y1) = TABLE_X_M, TABLE_Y_M
    return bool(
        x0 - JITTER_M <= position[0] <= x1 + JITTER_M and y0 - JITTER_M <= position[1] <= y1 + JITTER_M
    )


@functools.lru_cache(maxsize=128)
def compiled(scene: Scene) -> "mujoco.MjModel":
    """Return the scene's MuJoCo model. All environments of this process share it, and nothing changes it."""
    return mujoco.MjModel.from_xml_string(scene_xml(scene))


def scene_xml(scene: Scene) -> str:
    """Return the scene as MJCF."""
    bodies = "".join(map(objects.body_xml, scene.objects.values()))
    contacts = "".join(map(objects.contact_xml, scene.objects.values()))
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
    <geom type="box" size="0.465 0.525 0.012" pos="0.36 0 -0.055" rgba="0.62 0.53 0.43 1" class="visual"/>
    <camera name="{AGENT_CAMERA}" pos="1.08 0 0.90" xyaxes="0 1 0 -0.755 0 0.656" fovy="40"/>
    {arm.body_xml()}{bodies}
  </worldbody>
  {arm.actuator_xml()}{contacts}
</mujoco>"""
