"""Reliefs of a running LIBERO simulation, by casting rays down; and the things' own corners."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from inspire_vla.libero.reliefs import Relief

ROBOT = ("robot0", "gripper0", "mount0")
"""How names of the robot's bodies begin."""
_ASIDE = 5
"""Group of geoms that rays pass through."""
_FROM_Z_M = 2.2


class Scanner:
    """Looks at what stands there with the robot taken away. `inner`: LIBERO's robosuite environment."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def model(self) -> Any:
        return self._inner.sim.model._model

    @property
    def data(self) -> Any:
        return self._inner.sim.data._data

    def root(self, name: str) -> int:
        """The body that an object or fixture hangs on."""
        thing = self._inner.objects_dict.get(name) or self._inner.fixtures_dict[name]
        return int(self.model.body_rootid[self.model.body(thing.root_body).id])

    def geoms(self, name: str) -> NDArray[np.intp]:
        """Its geoms that collide."""
        roots = self.model.body_rootid[self.model.geom_bodyid]
        return np.flatnonzero((roots == self.root(name)) & (self.model.geom_contype > 0))

    def reliefs(
        self,
        middle: NDArray[np.float64],
        half_m: float,
        cell: float,
        *,
        own: str | None = None,
        without: Sequence[str] = (),
    ) -> tuple[Relief, Relief]:
        """Of everything around `middle` (2,), and of `own` alone (−inf where something else is on top)."""
        n = 2 * round(half_m / cell) + 1
        origin = np.asarray(middle[:2], dtype=np.float64) - cell * (n - 1) / 2
        heights = np.zeros((n, n))
        mine = np.full((n, n), -np.inf)
        owner = None if own is None else self.root(own)
        with self._aside(without):
            model, data = self.model, self.data
            groups = np.array([1, 0, 0, 0, 0, 0], dtype=np.uint8)
            down, hit = np.array([0.0, 0.0, -1.0]), np.zeros(1, dtype=np.int32)
            for i in range(n):
                for j in range(n):
                    start = np.array([origin[0] + cell * i, origin[1] + cell * j, _FROM_Z_M])
                    far = mujoco.mj_ray(model, data, start, down, groups, 1, -1, hit)
                    if far < 0:
                        continue
                    heights[i, j] = _FROM_Z_M - far
                    if owner is not None and model.body_rootid[model.geom_bodyid[hit[0]]] == owner:
                        mine[i, j] = heights[i, j]
        return Relief(heights, origin, cell), Relief(mine, origin, cell)

    def corners(self, name: str) -> NDArray[np.float64]:
        """Points (n, 3) that span it: corners of its boxes, vertices of its meshes."""
        model, data = self.model, self.data
        found = []
        for geom in self.geoms(name):
            kind, size = model.geom_type[geom], model.geom_size[geom]
            if kind == mujoco.mjtGeom.mjGEOM_MESH:
                mesh = model.geom_dataid[geom]
                first = model.mesh_vertadr[mesh]
                points = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
            else:
                if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
                    half = np.repeat(size[0], 3)
                elif kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
                    half = np.array([size[0], size[0], size[1]])
                else:
                    half = size
                points = half * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
            turn = data.geom_xmat[geom].reshape(3, 3)
            found.append(points @ turn.T + data.geom_xpos[geom])
        return np.concatenate(found)

    @contextmanager
    def _aside(self, without: Sequence[str]) -> Iterator[None]:
        """Rays meet what collides, seen or unseen, but for the robot and the things named."""
        model = self.model
        names = [model.body(int(b)).name for b in model.geom_bodyid]
        away = np.array([name.startswith(ROBOT) for name in names])
        away |= (model.geom_contype == 0) & (model.geom_conaffinity == 0)
        for name in without:
            away[self.geoms(name)] = True
        groups, colours, materials = (
            model.geom_group.copy(), model.geom_rgba.copy(), model.geom_matid.copy()
        )  # fmt: skip
        model.geom_group[:] = np.where(away, _ASIDE, 0)
        model.geom_rgba[:, 3] = 1.0  # rays pass through what is transparent
        model.geom_matid[:] = -1
        try:
            yield
        finally:
            model.geom_group[:], model.geom_rgba[:], model.geom_matid[:] = groups, colours, materials
