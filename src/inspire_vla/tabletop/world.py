"""Privileged state of a running scene: object positions, contacts of the fingers, drawer openings."""

from typing import TYPE_CHECKING

import numpy as np

from inspire_vla.tabletop import arm, objects
from inspire_vla.tabletop.objects import Receptacle
from inspire_vla.tabletop.scene import Scene

if TYPE_CHECKING:
    import mujoco


class World:
    """Reads one scene's MuJoCo state by name. All positions are in metres, in the base frame.

    Names are those of the scene's objects. A cabinet "brown_cabinet" also has "brown_cabinet_drawer" (the receptacle
    inside) and "brown_cabinet_handle" (the point to pull).
    """

    def __init__(self, scene: Scene, model: "mujoco.MjModel", data: "mujoco.MjData") -> None:
        self.scene, self.model, self.data = scene, model, data
        self._pads = np.array([model.geom(pad).id for pad in arm.FINGER_PADS])
        self._sites = {model.site(i).name: i for i in range(model.nsite)}
        self._gripper = self._sites[arm.GRIPPER_SITE]
        self._body_of_geom = np.array(model.geom_bodyid)

    def gripper(self) -> np.ndarray:
        """Return the point between the finger tips, (3,)."""
        return self.data.site_xpos[self._gripper].copy()

    def gripper_opening(self) -> float:
        """Return the distance between the finger pads in metres: 0 closed, 0.08 open."""
        return float(self.data.qpos[arm.ARM_DOFS] + self.data.qpos[arm.ARM_DOFS + 1])

    def point(self, name: str) -> np.ndarray:
        """Return the point that a mention of `name` refers to, (3,): the centre of an object, or a handle."""
        return self.data.site_xpos[self._sites[name]].copy()

    def upright(self, name: str) -> float:
        """Return the cosine of the angle between the object's z axis and the vertical."""
        return float(self.data.xmat[self._body(name)][8])

    def receptacle(self, name: str) -> tuple[np.ndarray, Receptacle]:
        """Return a receptacle's origin (3,) and its extent around the origin."""
        if name.endswith("_drawer"):
            x, y, _ = self.point(name)
            return np.array([x, y, 0.0]), objects.DRAWER
        extent = self.scene.objects[name].shape.receptacle
        assert extent is not None, f"{name} is not a receptacle"
        return self.data.xpos[self._body(name)].copy(), extent

    def drawer_opening(self, cabinet: str) -> float:
        """Return how far the cabinet's top drawer is open, in metres: 0 to objects.DRAWER_TRAVEL_M."""
        return float(self.data.qpos[self.model.joint(f"{cabinet}_drawer").qposadr[0]])

    def grasped(self, name: str) -> bool:
        """Return whether both fingers touch the body of `name`."""
        return all(self._body(name) in bodies for bodies in self._touching())

    def touched(self, name: str) -> bool:
        """Return whether any finger touches the body of `name`."""
        return any(self._body(name) in bodies for bodies in self._touching())

    def _body(self, name: str) -> int:
        return int(self.model.site_bodyid[self._sites[name]])

    def _touching(self) -> tuple[set[int], set[int]]:
        """Bodies that the left and the right finger pad touch."""
        touching: tuple[set[int], set[int]] = (set(), set())
        for first, second in self.data.contact.geom:
            for pad, bodies in zip(self._pads, touching, strict=True):
                if pad in (first, second):
                    bodies.add(int(self._body_of_geom[second if first == pad else first]))
        return touching
