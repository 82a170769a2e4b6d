"""Scenes: which objects stand on the table, and where. A scene is data; its MuJoCo model is compiled once.

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


def _named(*scenes: Scene) -> dict[str, Scene]:
    return {scene.name: scene for scene in scenes}


SCENES = _named(
    Scene("plates", (("red_cube", 0.38, 0.24), ("green_cylinder", 0.61, 0.21), ("yellow_ball", 0.37, -0.21),
                     ("blue_plate", 0.47, 0.03), ("white_bowl", 0.60, -0.20), ("pink_mug", 0.63, 0.02)),
          free=(("blue_plate", "left"),)),
    Scene("basket", (("brown_basket", 0.47, 0.25), ("yellow_ball", 0.34, 0.03), ("purple_cube", 0.61, 0.00),
                     ("orange_cylinder", 0.42, -0.25), ("white_plate", 0.61, -0.20), ("cyan_cube", 0.46, -0.10))),
    Scene("cabinet", (("brown_cabinet", 0.20, 0.28), ("green_mug", 0.43, 0.25), ("red_cube", 0.37, -0.23),
                      ("white_plate", 0.58, -0.07), ("blue_cylinder", 0.62, 0.22), ("purple_cube", 0.45, 0.06))),
    Scene("drawer", (("gray_cabinet", 0.20, -0.28), ("blue_cube", 0.56, -0.26), ("yellow_cylinder", 0.36, 0.22),
                     ("black_bowl", 0.57, 0.17), ("red_ball", 0.47, -0.04)), drawer_open=True),
    Scene("tray", (("gray_tray", 0.42, -0.22), ("white_mug", 0.37, 0.24), ("blue_ball", 0.62, 0.24),
                   ("pink_cube", 0.62, -0.18), ("yellow_plate", 0.54, 0.09), ("purple_cylinder", 0.35, 0.05))),
    Scene("box", (("brown_box", 0.36, 0.25), ("red_cylinder", 0.50, 0.24), ("blue_mug", 0.37, -0.23),
                  ("black_cube", 0.62, -0.22), ("green_plate", 0.55, -0.03), ("orange_ball", 0.40, 0.00)),
          free=(("green_plate", "right"),)),
    Scene("bowls", (("white_bowl", 0.38, -0.18), ("cyan_cube", 0.61, 0.22), ("red_mug", 0.36, 0.22),
                    ("purple_ball", 0.62, -0.22), ("black_plate", 0.52, 0.03), ("yellow_mug", 0.48, -0.27)),
          free=(("black_plate", "back"),)),
    Scene("shelf", (("white_cabinet", 0.20, -0.28), ("blue_basket", 0.56, 0.23), ("orange_cube", 0.43, -0.25),
                    ("pink_cylinder", 0.62, -0.22), ("green_ball", 0.36, 0.20), ("cyan_cylinder", 0.58, 0.00))),
    Scene("stand", (("white_box", 0.38, -0.02), ("cyan_ball", 0.62, 0.22), ("green_cube", 0.52, 0.04),
                    ("orange_mug", 0.38, 0.23), ("purple_plate", 0.62, -0.19), ("black_cylinder", 0.37, -0.23)),
          free=(("purple_plate", "right"),)),
    Scene("cubes", (("green_cube_1", 0.39, 0.24), ("green_cube_2", 0.43, -0.13), ("yellow_plate", 0.45, 0.06),
                    ("blue_bowl", 0.60, -0.20), ("black_mug", 0.39, -0.26), ("purple_ball", 0.61, 0.26)),
          places=(("green_cube_1", "right"), ("green_cube_2", "left")), free=(("yellow_plate", "front"),)),
    Scene("mugs", (("orange_mug_1", 0.62, 0.10), ("orange_mug_2", 0.48, 0.14), ("orange_mug_3", 0.34, 0.13),
                   ("gray_tray", 0.44, -0.22), ("white_cylinder", 0.62, 0.25), ("brown_cube", 0.42, 0.27)),
          places=(("orange_mug_1", "front"), ("orange_mug_2", "middle"), ("orange_mug_3", "back"))),
    Scene("dishes", (("yellow_plate_1", 0.52, 0.16), ("yellow_plate_2", 0.50, -0.16), ("red_mug", 0.36, 0.24),
                     ("white_cylinder", 0.63, 0.01), ("cyan_ball", 0.35, -0.26)),
          places=(("yellow_plate_1", "right"), ("yellow_plate_2", "left"))),
    Scene("soup", (("white_bowl_1", 0.61, 0.10), ("white_bowl_2", 0.40, -0.13), ("purple_cube", 0.40, 0.24),
                   ("orange_ball", 0.59, -0.22), ("gray_mug", 0.50, -0.27)),
          places=(("white_bowl_1", "front"), ("white_bowl_2", "back"))),
    Scene("pantry", (("black_plate", 0.42, 0.22), ("green_cylinder_1", 0.42, 0.07), ("pink_cube", 0.62, 0.03),
                     ("green_cylinder_2", 0.62, -0.08), ("white_basket", 0.45, -0.23), ("yellow_ball", 0.62, 0.20)),
          places=(("green_cylinder_1", "right"), ("green_cylinder_2", "left")),
          neighbours=(("green_cylinder_1", "black_plate"), ("green_cylinder_2", "pink_cube"))),
    Scene("orchard", (("green_mug", 0.39, 0.25), ("blue_ball_1", 0.39, 0.13), ("yellow_bowl", 0.60, -0.20),
                      ("blue_ball_2", 0.61, -0.05), ("purple_plate", 0.42, -0.14), ("red_cylinder", 0.61, 0.17)),
          places=(("blue_ball_1", "back"), ("blue_ball_2", "front")),
          neighbours=(("blue_ball_1", "green_mug"), ("blue_ball_2", "yellow_bowl"))),
    Scene("study", (("white_mug", 0.36, -0.24), ("pink_cube_1", 0.36, -0.11), ("black_cylinder", 0.61, 0.05),
                    ("pink_cube_2", 0.61, -0.06), ("brown_tray", 0.44, 0.20), ("green_bowl", 0.60, -0.22)),
          places=(("pink_cube_1", "back"), ("pink_cube_2", "front")),
          neighbours=(("pink_cube_1", "white_mug"), ("pink_cube_2", "black_cylinder"))),
    Scene("kitchen", (("black_cabinet", 0.20, -0.28), ("cyan_cube_1", 0.61, 0.12), ("cyan_cube_2", 0.40, 0.12),
                      ("cyan_mug", 0.42, 0.25), ("white_plate", 0.58, -0.10)), drawer_open=True,
          places=(("cyan_cube_1", "front"), ("cyan_cube_2", "back"))),
)  # fmt: skip
"""The training scenes. Most also have one or two objects that no seen task manipulates."""

DUPLICATE_SCENES = _named(
    Scene("twin_cubes", (("white_bowl", 0.42, -0.25), ("red_cube_1", 0.42, -0.10), ("pink_mug", 0.60, 0.27),
                         ("red_cube_2", 0.61, 0.15), ("blue_plate", 0.60, -0.13), ("green_cylinder", 0.36, 0.22)),
          places=(("red_cube_1", "left"), ("red_cube_2", "right")),
          neighbours=(("red_cube_1", "white_bowl"), ("red_cube_2", "pink_mug"))),
    Scene("twin_balls", (("white_plate", 0.45, 0.24), ("yellow_ball_1", 0.45, 0.09), ("purple_cube", 0.62, 0.10),
                         ("yellow_ball_2", 0.62, -0.02), ("brown_basket", 0.45, -0.22)),
          places=(("yellow_ball_1", "back"), ("yellow_ball_2", "front")),
          neighbours=(("yellow_ball_1", "white_plate"), ("yellow_ball_2", "purple_cube"))),
    Scene("twin_mugs", (("yellow_plate", 0.38, -0.26), ("white_mug_1", 0.38, -0.11), ("blue_ball", 0.62, -0.23),
                        ("white_mug_2", 0.62, -0.11), ("gray_tray", 0.50, 0.22), ("pink_cube", 0.48, -0.02)),
          places=(("white_mug_1", "back"), ("white_mug_2", "front")),
          neighbours=(("white_mug_1", "yellow_plate"), ("white_mug_2", "blue_ball"))),
    Scene("twin_cylinders", (("white_box", 0.38, 0.22), ("black_cylinder_1", 0.53, 0.22),
                             ("orange_mug", 0.37, -0.23), ("black_cylinder_2", 0.37, -0.11),
                             ("purple_plate", 0.56, -0.17), ("green_cube", 0.63, 0.05)),
          places=(("black_cylinder_1", "right"), ("black_cylinder_2", "left")),
          neighbours=(("black_cylinder_1", "white_box"), ("black_cylinder_2", "orange_mug"))),
    Scene("twin_bowls", (("black_bowl_1", 0.52, 0.20), ("black_bowl_2", 0.52, -0.15), ("orange_cube", 0.37, 0.12),
                         ("green_ball", 0.63, 0.03), ("white_mug", 0.37, -0.26)),
          places=(("black_bowl_1", "right"), ("black_bowl_2", "left"))),
)  # fmt: skip
"""Scenes of `tabletop_spatial`, with duplicate-instance distractors: two objects of the same name. Never trained on."""

VALIDATION_SCENES = _named(
    Scene("twin_brown_cubes", (("green_plate", 0.44, -0.23), ("brown_cube_1", 0.44, -0.08), ("red_mug", 0.62, 0.24),
                               ("brown_cube_2", 0.62, 0.12), ("blue_basket", 0.42, 0.20), ("cyan_ball", 0.62, -0.10)),
          places=(("brown_cube_1", "left"), ("brown_cube_2", "right")),
          neighbours=(("brown_cube_1", "green_plate"), ("brown_cube_2", "red_mug"))),
    Scene("twin_red_cylinders", (("blue_cube", 0.37, 0.25), ("red_cylinder_1", 0.37, 0.14),
                                 ("black_bowl", 0.61, 0.16), ("red_cylinder_2", 0.61, 0.02),
                                 ("white_plate", 0.45, -0.18), ("purple_ball", 0.62, -0.22)),
          places=(("red_cylinder_1", "back"), ("red_cylinder_2", "front")),
          neighbours=(("red_cylinder_1", "blue_cube"), ("red_cylinder_2", "black_bowl"))),
)  # fmt: skip
"""Scenes with duplicates for tuning. Never trained on, and never reported."""
