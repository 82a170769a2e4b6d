"""Top-down grasps and placements for a parallel gripper, planned on height maps of the scene.

              u, closing axis                 The gripper comes from above. Its two pads pass where nothing is
        pad │ between │ pad                    higher than their tips. What is between them is grasped. The palm
    ────────┼─────────┼────────  palm          stays above everything under it.

All lengths are in metres, in the world frame with +z up. Angles are about +z, in rad.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, maximum_filter

OPENING_M = 0.036
"""Half of the span of the open gripper, with a little clearance."""
_PAD_END_M, _PAD_HALF_M = 0.052, 0.011
_PALM_M = (0.105, 0.034)
_PALM_ABOVE_M = 0.034
"""Height of the palm above the grasp point."""
_TIP_BELOW_M = 0.009
_DEEPEST_M = 0.030
_ASKEW_M = 0.010
"""Maximum recess of the edge that a pad meets, over the width of the pad."""
_OVERLAP_M = 0.006
"""Minimum depth of a pad below the top of the grasped object, at the grasp point."""
_ROBOT = ("robot0", "gripper0", "mount0")
"""Prefixes of the robot's bodies."""
_HIDDEN_GROUP = 5
"""Group of the geoms that rays pass through."""
_FROM_Z_M = 2.2
_YAWS, _MOST_GRASPS = 12, 12


@dataclass(frozen=True)
class HeightMap:
    """Top heights (n, n) over a square grid: heights[i, j] is at (x, y) = origin + cell · (i, j)."""

    heights: NDArray[np.float64]
    origin: NDArray[np.float64]
    cell: float

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the heights (…) of the nearest cells of points (…, 2). Points outside get those of the edge."""
        indices = (np.moveaxis(points, -1, 0) - self.origin.reshape(2, *[1] * (points.ndim - 1))) / self.cell
        return map_coordinates(self.heights, indices, order=0, mode="nearest")

    def centre(self) -> NDArray[np.float64]:
        """Return the centre of the grid, (2,)."""
        return self.origin + self.cell * (np.array(self.heights.shape) - 1) / 2


@dataclass(frozen=True)
class Grasp:
    """Grasp point (3,), angle of the closing axis in [0, π), and score (more is better)."""

    point: NDArray[np.float64]
    yaw: float
    score: float


def find_grasps(scene: HeightMap, target: HeightMap, centre: NDArray[np.float64]) -> list[Grasp]:
    """Return the best 12 grasps of one object, best first, no two similar; empty if there is none.

    Args:
        scene, target: height maps of everything and of the object alone (−inf elsewhere), on the same grid.
        centre: centre of the object, (2,). A grasp near it rotates the object less.
    """
    grasps: list[Grasp] = []
    for yaw in np.pi * np.arange(_YAWS) / _YAWS:
        grasps += _grasps_along(scene, target, centre, float(yaw))
    grasps.sort(key=lambda grasp: -grasp.score)
    chosen: list[Grasp] = []
    for grasp in grasps:
        if not any(_similar(grasp, other) for other in chosen):
            chosen.append(grasp)
            if len(chosen) == _MOST_GRASPS:
                break
    return chosen


def _similar(one: Grasp, other: Grasp) -> bool:
    angle = abs(one.yaw - other.yaw)
    return float(np.linalg.norm(one.point - other.point)) <= 0.015 and min(angle, np.pi - angle) <= 0.3


def _rotated(height_map: HeightMap, yaw: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights on a grid whose first axis is the closing axis, and the points (n, n, 2) of that grid."""
    n = height_map.heights.shape[0]
    steps = (np.arange(n) - (n - 1) / 2) * height_map.cell
    u, v = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    points = height_map.centre() + steps[:, None, None] * u + steps[None, :, None] * v
    return height_map.at(points), points


def _cells(length: float, cell: float) -> int:
    return max(0, round(length / cell))


def _lowest_grasp(heights: NDArray[np.float64], cell: float) -> NDArray[np.float64]:
    """Lowest collision-free grasp height over each cell, for an open gripper along the first axis."""
    pad = _cells(_PAD_END_M - OPENING_M, cell) + 1
    shift = _cells((_PAD_END_M + OPENING_M) / 2, cell)
    across = 2 * _cells(_PAD_HALF_M, cell) + 1
    pads = maximum_filter(heights, size=(pad, across), mode="nearest")
    both = np.maximum(_shifted(pads, shift), _shifted(pads, -shift))
    palm = maximum_filter(heights, size=tuple(2 * _cells(half, cell) + 1 for half in _PALM_M), mode="nearest")
    return np.maximum(both + _TIP_BELOW_M, palm - _PALM_ABOVE_M)


def _shifted(array: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    index = np.clip(np.arange(len(array)) + by, 0, len(array) - 1)
    return array[index]


def _grasps_along(
    scene: HeightMap, target: HeightMap, centre: NDArray[np.float64], yaw: float
) -> Iterator[Grasp]:
    cell = target.cell
    heights, points = _rotated(scene, yaw)
    target_height, _ = _rotated(target, yaw)
    half, side = _cells(OPENING_M, cell), _cells(0.008, cell)
    line = maximum_filter(
        target_height, size=(2 * half + 1, 1), mode="constant", cval=-np.inf
    )  # top between the pads
    top = -maximum_filter(-line, size=(1, 2 * side + 1), mode="nearest")  # over the whole width of a pad
    low = np.maximum(_lowest_grasp(heights, cell), top - _DEEPEST_M)
    overlap = top - low
    for i, j in np.argwhere(overlap >= _OVERLAP_M):
        first = max(0, i - half)
        between = np.s_[first : i + half + 1, max(0, j - side) : j + side + 1]
        grasped = target_height[between] > low[i, j] + _OVERLAP_M / 2
        others = (heights[between] > low[i, j]) & ~np.isfinite(target_height[between])
        if others.any() or not grasped.any(axis=0).all():
            continue
        near, far = grasped.argmax(axis=0), len(grasped) - 1 - grasped[::-1].argmax(axis=0)
        askew = max(np.ptp(near), np.ptp(far)) * cell  # a corner slips out of the gripper
        if askew > _ASKEW_M:
            continue
        # Both pads should touch it at the same time.
        off_centre = abs(float((near + far).mean()) / 2 + first - i) * cell
        width = float((far - near).max() + 1) * cell
        lever = float(np.linalg.norm(points[i, j] - centre))
        score = (
            min(float(overlap[i, j]), 0.025) - 0.6 * off_centre - 0.15 * lever - 0.05 * width - 0.5 * askew
        )
        yield Grasp(np.array([*points[i, j], low[i, j]]), yaw, score)


@dataclass(frozen=True)
class Placement:
    """Where to release an object.

    Attributes:
        centre: of the object, (2,).
        rotation: about +z, from its present orientation.
        surface_z: height of its underside at rest.
        release_z: height of the grasp point at which the gripper opens.
    """

    centre: NDArray[np.float64]
    rotation: float
    surface_z: float
    release_z: float
    cost: float


def find_placement(
    scene: HeightMap,
    candidates: NDArray[np.float64],
    target: NDArray[np.float64],
    footprint: NDArray[np.float64],
    grasp: NDArray[np.float64],
    yaw: float,
    *,
    rotations: NDArray[np.float64],
) -> Placement | None:
    """Return the placement where the object rests lowest and drops least; None without candidates.

    Args:
        candidates: possible centres (n, 2). target: the best of them for the goal, (2,).
        footprint: points (m, 2) of the held object, relative to its centre.
        grasp: the grasp point (3,): x, y relative to the object's centre, z above its underside.
        yaw: present angle of the closing axis. rotations: angles to try.
    """
    best: Placement | None = None
    for angle in rotations:
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s], [s, c]])
        shape, offset = footprint @ rotation.T, rotation @ grasp[:2]
        u = rotation @ np.array([np.cos(yaw), np.sin(yaw)])
        frame = np.stack([u, [-u[1], u[0]]])
        for centre in candidates:
            surface_z = float(scene.at(centre + shape).max())
            eef = centre + offset
            pads_z = float(scene.at(eef + _PAD_GRID @ frame).max()) + _TIP_BELOW_M
            palm_z = float(scene.at(eef + _PALM_GRID @ frame).max()) - _PALM_ABOVE_M
            release_z = max(surface_z + float(grasp[2]) + 0.004, pads_z, palm_z)
            drop = release_z - surface_z - float(grasp[2])
            cost = 2.0 * surface_z + drop + 0.5 * float(np.linalg.norm(centre - target)) + 0.01 * abs(angle)
            if best is None or cost < best.cost - 1e-9:
                best = Placement(centre, float(angle), surface_z, release_z, cost)
    return best


def _grid(us: NDArray[np.floating], vs: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.stack(np.meshgrid(us, vs, indexing="ij"), axis=-1).reshape(-1, 2)


_PAD_GRID = np.concatenate(
    [
        _grid(sign * np.linspace(0.02, _PAD_END_M, 5), np.linspace(-_PAD_HALF_M, _PAD_HALF_M, 3))
        for sign in (-1, 1)
    ]
)  # while an object is held, the pads are anywhere between closed and open
_PALM_GRID = _grid(np.linspace(-_PALM_M[0], _PALM_M[0], 15), np.linspace(-_PALM_M[1], _PALM_M[1], 5))


class SceneScanner:
    """Height maps of a LIBERO simulation without its robot, by ray casting; and the points of its objects."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def model(self) -> Any:
        """The present MjModel: a reset may build a new one."""
        return self._inner.sim.model._model

    @property
    def data(self) -> Any:
        """The present MjData: a reset may build a new one."""
        return self._inner.sim.data._data

    def root(self, name: str) -> int:
        """Return the id of the root body of an object or fixture."""
        obj = self._inner.objects_dict.get(name) or self._inner.fixtures_dict[name]
        return int(self.model.body_rootid[self.model.body(obj.root_body).id])

    def geoms(self, name: str) -> NDArray[np.intp]:
        """Return the ids (n,) of the collision geoms of an object or fixture."""
        roots = self.model.body_rootid[self.model.geom_bodyid]
        return np.flatnonzero((roots == self.root(name)) & (self.model.geom_contype > 0))

    def moving_body(self, name: str) -> int:
        """Return the id of the body that moves in a joint: of the drawer of a region, or of a fixture's first knob."""
        model = self.model
        if name in self._inner.object_sites_dict:
            body = int(model.site_bodyid[model.site(name).id])
            while not model.body_jntnum[body]:
                body = int(model.body_parentid[body])
            return body
        bodies = np.flatnonzero((model.body_rootid == self.root(name)) & (model.body_jntnum > 0))
        return int(bodies[0])

    def joint(self, body: int) -> tuple[NDArray[np.float64], float]:
        """Return the axis (3,) of a body's joint in the world frame, and the joint's value."""
        number = int(self.model.body_jntadr[body])
        axis = self.data.xmat[body].reshape(3, 3) @ self.model.jnt_axis[number]
        return axis, float(self.data.qpos[self.model.jnt_qposadr[number]])

    def subtree_geoms(self, body: int) -> NDArray[np.float64]:
        """Return the centres (n, 3) of the collision geoms of a body and of the bodies attached to it."""
        model = self.model
        bodies = {body}
        for child in range(body + 1, model.nbody):  # parents come first
            if int(model.body_parentid[child]) in bodies:
                bodies.add(child)
        collides = np.isin(model.geom_bodyid, list(bodies)) & (model.geom_contype > 0)
        return self.data.geom_xpos[collides].copy()

    def height_maps(
        self,
        centre: NDArray[np.float64],
        half_m: float,
        cell: float,
        *,
        target: str | None = None,
        without: Sequence[str] = (),
    ) -> tuple[HeightMap, HeightMap]:
        """Return the height map around `centre` (2,) of everything, and of `target` alone (−inf elsewhere)."""
        n = 2 * round(half_m / cell) + 1
        origin = np.asarray(centre[:2], dtype=np.float64) - cell * (n - 1) / 2
        heights = np.zeros((n, n))
        height = np.full((n, n), -np.inf)
        root = None if target is None else self.root(target)
        with self._hidden(without):
            model, data = self.model, self.data
            groups = np.array([1, 0, 0, 0, 0, 0], dtype=np.uint8)
            down, hit = np.array([0.0, 0.0, -1.0]), np.zeros(1, dtype=np.int32)
            for i in range(n):
                for j in range(n):
                    start = np.array([origin[0] + cell * i, origin[1] + cell * j, _FROM_Z_M])
                    distance = mujoco.mj_ray(model, data, start, down, groups, 1, -1, hit)
                    if distance < 0:
                        continue
                    heights[i, j] = _FROM_Z_M - distance
                    if root is not None and model.body_rootid[model.geom_bodyid[hit[0]]] == root:
                        height[i, j] = heights[i, j]
        return HeightMap(heights, origin, cell), HeightMap(height, origin, cell)

    def points(self, name: str) -> NDArray[np.float64]:
        """Return points (n, 3) that span an object: corners of its boxes, vertices of its meshes."""
        model, data = self.model, self.data
        parts = []
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
            rotation = data.geom_xmat[geom].reshape(3, 3)
            parts.append(points @ rotation.T + data.geom_xpos[geom])
        return np.concatenate(parts)

    @contextmanager
    def _hidden(self, without: Sequence[str]) -> Iterator[None]:
        """Let rays hit all collision geoms, visible or not, except those of the robot and of the objects named."""
        model = self.model
        hidden = np.array([model.body(int(b)).name.startswith(_ROBOT) for b in model.geom_bodyid])
        hidden |= (model.geom_contype == 0) & (model.geom_conaffinity == 0)
        for name in without:
            hidden[self.geoms(name)] = True
        groups, colours, materials = (
            model.geom_group.copy(), model.geom_rgba.copy(), model.geom_matid.copy()
        )  # fmt: skip
        model.geom_group[:] = np.where(hidden, _HIDDEN_GROUP, 0)
        model.geom_rgba[:, 3] = 1.0  # rays pass through transparent geoms
        model.geom_matid[:] = -1
        try:
            yield
        finally:
            model.geom_group[:], model.geom_rgba[:], model.geom_matid[:] = groups, colours, materials
