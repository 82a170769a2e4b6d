"""Scenes: which objects stand on the table, and where. A scene is data; its MuJoCo model is compiled once.

A layout gives every object a nominal position, and an episode moves it by at most `JITTER_M`. Objects, positions and
tasks are therefore correlated within a scene, as in LIBERO-90, and a policy may exploit that correlation instead of
the image. `layout_randomness` weakens it: the probability that an object (cabinets excepted) stands anywhere on the
table instead.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.tabletop import arm, objects
from inspire_vla.tabletop.objects import ObjectSpec
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
_GAP_M = 0.030
_TALL_M = 0.10


@dataclass(frozen=True)
class Scene:
    """Objects and their nominal positions. `layout` holds (name, x, y), in metres in the base frame."""

    name: str
    layout: tuple[tuple[str, float, float], ...]
    drawer_open: bool = False

    @functools.cached_property
    def objects(self) -> dict[str, ObjectSpec]:
        """Name → object, in the order of the layout."""
        return {name: objects.parse_object(name) for name, _, _ in self.layout}

    def mirrored(self, name: str) -> "Scene":
        """Return the same scene with left and right exchanged, under another name."""
        return replace(self, name=name, layout=tuple((n, x, -y) for n, x, y in self.layout))

    def sample_layout(
        self, rng: np.random.Generator, randomness: float = 0.0
    ) -> dict[str, tuple[float, float, float]]:
        """Draw each object's pose: name → (x, y, yaw), in metres and radians. Fingers fit between any two footprints.

        Raises InspireError if `randomness` is not in [0, 1], or if no layout without overlap is found.
        """
        if not 0.0 <= randomness <= 1.0:
            raise InspireError(f"layout_randomness is a probability between 0 and 1, not {randomness}.")
        for _ in range(2000):
            drawn: dict[str, tuple[float, float, float]] = {}
            for name, x, y in self.layout:
                spec = self.objects[name]
                free = rng.random() < randomness and spec.kind != "cabinet"
                dx, dy = rng.uniform(-JITTER_M, JITTER_M, 2)
                if free:
                    x, y = rng.uniform(*TABLE_X_M), rng.uniform(*TABLE_Y_M)
                elif spec.kind == "cabinet":
                    dx, dy = 0.5 * dx, 0.5 * dy
                yaw = rng.uniform(-YAW_JITTER_RAD, YAW_JITTER_RAD)
                drawn[name] = (x + dx, y + dy, 0.0 if spec.shape.fixed else yaw)
            if self._fits(drawn):
                return drawn
        raise InspireError(f"Scene {self.name!r} is too full: no layout without overlap in 2000 draws.")

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
        return all(
            a[0] == b[0] or np.hypot(a[1] - b[1], a[2] - b[2]) >= a[3] + b[3] + _GAP_M
            for i, a in enumerate(discs)
            for b in discs[i + 1 :]
        )

    def tall_objects(self) -> tuple[str, ...]:
        """Names of the objects that a carried object cannot pass over at the usual height."""
        return tuple(name for name, spec in self.objects.items() if spec.shape.height_m > _TALL_M)


@functools.lru_cache(maxsize=64)
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


SCENES = {
    scene.name: scene
    for scene in (
        Scene("plates", (("red_cube", 0.38, 0.24), ("green_cylinder", 0.61, 0.21), ("yellow_ball", 0.37, -0.21),
                         ("blue_plate", 0.47, 0.03), ("white_bowl", 0.60, -0.20), ("pink_mug", 0.63, 0.02))),
        Scene("basket", (("brown_basket", 0.47, 0.25), ("yellow_ball", 0.34, 0.03), ("purple_cube", 0.61, 0.00),
                         ("orange_cylinder", 0.42, -0.25), ("white_plate", 0.61, -0.20), ("cyan_cube", 0.46, -0.10))),
        Scene("cabinet", (("brown_cabinet", 0.20, 0.28), ("green_mug", 0.43, 0.25), ("red_cube", 0.37, -0.23),
                          ("white_plate", 0.58, -0.07), ("blue_cylinder", 0.62, 0.22))),
        Scene("drawer", (("gray_cabinet", 0.20, -0.28), ("blue_cube", 0.56, -0.26), ("yellow_cylinder", 0.36, 0.22),
                         ("black_bowl", 0.57, 0.17), ("red_ball", 0.47, -0.04)), drawer_open=True),
        Scene("tray", (("gray_tray", 0.42, -0.22), ("white_mug", 0.37, 0.24), ("blue_ball", 0.62, 0.24),
                       ("pink_cube", 0.62, -0.18), ("yellow_plate", 0.54, 0.09), ("purple_cylinder", 0.35, 0.05))),
        Scene("box", (("brown_box", 0.36, 0.25), ("red_cylinder", 0.50, 0.24), ("blue_mug", 0.37, -0.23),
                      ("black_cube", 0.62, -0.22), ("green_plate", 0.55, -0.03), ("orange_ball", 0.40, 0.00))),
        Scene("bowls", (("white_bowl", 0.38, -0.18), ("cyan_cube", 0.61, 0.22), ("red_mug", 0.36, 0.22),
                        ("purple_ball", 0.62, -0.22), ("black_plate", 0.52, 0.03), ("yellow_mug", 0.48, -0.27))),
        Scene("shelf", (("white_cabinet", 0.20, -0.28), ("blue_basket", 0.56, 0.23), ("orange_cube", 0.43, -0.25),
                        ("pink_cylinder", 0.62, -0.22), ("green_ball", 0.36, 0.20), ("cyan_cylinder", 0.58, 0.00))),
        Scene("stand", (("white_box", 0.38, -0.02), ("cyan_ball", 0.62, 0.22), ("green_cube", 0.52, 0.02),
                        ("orange_mug", 0.38, 0.23), ("purple_plate", 0.62, -0.19), ("black_cylinder", 0.37, -0.23))),
    )
}  # fmt: skip
"""The training scenes. Each also has one or two objects that no seen task manipulates."""

DUPLICATE_SCENES = {
    scene.name: scene
    for scene in (
        Scene("twin_cubes", (("red_cube_1", 0.40, -0.06), ("white_bowl", 0.39, -0.22), ("red_cube_2", 0.61, 0.15),
                             ("pink_mug", 0.60, 0.27), ("blue_plate", 0.60, -0.13), ("green_cylinder", 0.36, 0.22))),
        Scene("twin_balls", (("yellow_ball_1", 0.45, 0.09), ("white_plate", 0.45, 0.24), ("yellow_ball_2", 0.62, -0.02),
                             ("purple_cube", 0.62, 0.10), ("brown_basket", 0.45, -0.22))),
        Scene("twin_mugs", (("white_mug_1", 0.36, -0.08), ("yellow_plate", 0.36, -0.23), ("white_mug_2", 0.62, -0.11),
                            ("blue_ball", 0.62, -0.23), ("gray_tray", 0.50, 0.22), ("pink_cube", 0.48, -0.02))),
        Scene("twin_cylinders", (("black_cylinder_1", 0.53, 0.22), ("white_box", 0.38, 0.22),
                                 ("orange_mug", 0.37, -0.23), ("black_cylinder_2", 0.37, -0.11),
                                 ("purple_plate", 0.56, -0.17), ("green_cube", 0.63, 0.05))),
    )
}  # fmt: skip
"""Scenes with duplicate-instance distractors: two objects of the same name. Never trained on."""
