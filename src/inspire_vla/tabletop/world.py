"""The privileged view of a running scene: where things are, what the fingers hold, how far a drawer is out."""

import numpy as np

from inspire_vla.tabletop import arm, objects
from inspire_vla.tabletop.objects import Place
from inspire_vla.tabletop.scenes import Scene


class World:
    """Reads one scene's MuJoCo state by name. All positions in metres in the base frame.

    Names are those of the scene's things; a cabinet "brown_cabinet" also has a "brown_cabinet_drawer" (the
    place inside) and a "brown_cabinet_handle" (the point to pull).
    """

    def __init__(self, scene: Scene, model, data) -> None:
        self.scene, self.model, self.data = scene, model, data
        self._pads = np.array([model.geom(pad).id for pad in arm.FINGER_PADS])
        self._sites = {model.site(i).name: i for i in range(model.nsite)}
        self._gripper = self._sites[arm.GRIPPER_SITE]
        self._body_of_geom = np.array(model.geom_bodyid)

    def gripper(self) -> np.ndarray:
        """The point between the finger tips, (3,)."""
        return self.data.site_xpos[self._gripper].copy()

    def gripper_opening(self) -> float:
        """Distance between the pads, metres: 0 shut, 0.08 wide open."""
        return float(self.data.qpos[arm.ARM_DOFS] + self.data.qpos[arm.ARM_DOFS + 1])

    def point(self, name: str) -> np.ndarray:
        """The point that a mention of `name` refers to, (3,): a thing's middle, a place's middle, a handle."""
        return self.data.site_xpos[self._sites[name]].copy()

    def has(self, name: str) -> bool:
        return name in self._sites

    def upright(self, name: str) -> float:
        """Cosine of the angle between the thing's own vertical and the world's."""
        return float(self.data.xmat[self.model.site_bodyid[self._sites[name]]][8])

    def place(self, name: str) -> tuple[np.ndarray, Place]:
        """A place's origin (3,) and its extent around it."""
        if name.endswith("_drawer"):
            x, y, _ = self.point(name)
            return np.array([x, y, 0.0]), objects.DRAWER
        place = self.scene.things[name].shape.place
        assert place is not None, f"{name} is not a place"
        return self.data.xpos[self.model.site_bodyid[self._sites[name]]].copy(), place

    def drawer_opening(self, cabinet: str) -> float:
        """How far the cabinet's top drawer is out, metres: 0 to objects.DRAWER_TRAVEL_M."""
        return float(self.data.qpos[self.model.joint(f"{cabinet}_drawer").qposadr[0]])

    def touching(self) -> tuple[set[int], set[int]]:
        """Bodies that the left and the right finger pad touch."""
        pairs = self.data.contact.geom
        both: tuple[set[int], set[int]] = (set(), set())
        for first, second in pairs:
            for pad, touched in zip(self._pads, both, strict=True):
                if first == pad or second == pad:
                    touched.add(int(self._body_of_geom[second if first == pad else first]))
        return both

    def grasped(self, name: str) -> bool:
        """Whether both fingers touch what `name` belongs to."""
        body = int(self.model.site_bodyid[self._sites[name]])
        left, right = self.touching()
        return body in left and body in right

    def touched(self, name: str) -> bool:
        """Whether any finger touches what `name` belongs to."""
        body = int(self.model.site_bodyid[self._sites[name]])
        left, right = self.touching()
        return body in left or body in right
