"""A scripted expert with privileged state: it picks and places the objects of a LIBERO task's goal.

    height map ─▶ above the grasp ─▶ down ─▶ close ─▶ up ─▶ above the placement ─▶ down ─▶ open ─▶ up
            ▲                    │ the object moved   │ nothing grasped        │ the object fell
            └───────────── the next best grasp ───────┴────────────────────────┘

A top drawer is closed by a push against its handle, a knob is turned by its ridge. The gripper points down throughout.
So the expert cannot reach from the side (shelves, microwaves, lower drawers) or pull drawers; `unsupported_reason` says
so for a task.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.libero.grasp_planning import Grasp, SceneScanner, find_grasps, find_placement
from inspire_vla.libero.simulation import GroundTruth
from inspire_vla.libero.tasks import Problem

OPEN, CLOSE = -1.0, 1.0
STEP_M, STEP_RAD = 0.05, 0.5
"""Displacement and rotation that LIBERO's controller makes of an action of 1."""
_MAX_GRASPS = 8
_MOVED_M = 0.012
"""An object that moved by more since its grasp was planned needs a new plan."""
_LOST_STEPS = 3
"""A carried object that both fingers have not touched for longer has fallen."""
_CLEARANCE_M = 0.05
_KNOB_GRASP_M = 0.035
"""Height of the grasp point above the base of a stove's knob, whose ridge is 5 cm high."""
_MAX_TURN_RAD = 1.2
_NOT_REACHED_FROM_ABOVE = ("microwave", "rack", "shelf_1_top_region", "shelf_1_bottom_region")


def unsupported_reason(problem: Problem, instruction: str) -> str | None:
    """Return why the expert cannot do a task, or None if it can."""
    for verb in ("open", "push"):
        if verb in instruction.lower().split():
            return f"it cannot {verb} objects"
    for predicate in problem.goal:
        if predicate[0] in ("turnon", "turnoff") or (predicate[0] == "close" and "_top_" in predicate[1]):
            continue
        if predicate[0] not in ("on", "in"):
            return f"it cannot {predicate[0]} objects"
        if any(part in predicate[2] for part in _NOT_REACHED_FROM_ABOVE):
            return f"{predicate[2]} cannot be reached from above"
    return None


class Expert:
    """Acts in one environment: iterate over `actions()` and step with each.

    Args:
        env: LIBERO's wrapper, at rest after its reset.
        truth: of the same environment.
    """

    def __init__(self, env: Any, problem: Problem, truth: GroundTruth) -> None:
        self._inner, self._problem, self._truth = env.env, problem, truth
        self._scan = SceneScanner(self._inner)

    def actions(self) -> Iterator[NDArray[np.float32]]:
        """Yield actions (7,) in [-1, 1], each for the state at that time. Ends when there is nothing left to try."""
        for predicate, obj, *targets in self._ordered_goals():
            if not targets:
                yield from self._move_joint(predicate, obj)
                continue
            (target,) = targets
            tried: list[Grasp] = []
            for _ in range(_MAX_GRASPS):
                if self._reached(obj, target):
                    break
                grasp = self._next_grasp(obj, tried)
                if grasp is None:
                    return
                tried.append(grasp)
                yield from self._pick(obj, grasp)
                if self._truth.grasped(obj):
                    yield from self._place(obj, target)
                else:
                    yield from self._rise()
            else:
                return
        yield from self._wait(OPEN, 5)

    # --- goals

    def _ordered_goals(self) -> list[tuple[str, ...]]:
        """An object that supports another one goes first, because a stack cannot be moved. A drawer is closed last."""
        goals = list(self._problem.goal)

        def order(goal: tuple[str, ...]) -> int:
            holds_another = any(goal[1] in other[2:] for other in goals)
            return 0 if not holds_another else -1 if goal[2:] else 1

        return sorted(goals, key=order)

    def _reached(self, obj: str, target: str) -> bool:
        goal = next(g for g in self._problem.goal if g[1:] == (obj, target))
        return bool(self._inner._eval_predicate(list(goal))) and not self._truth.grasped(obj)

    # --- drawers and knobs

    def _move_joint(self, predicate: str, name: str) -> Iterator[NDArray[np.float32]]:
        """Close a drawer, or turn a knob on or off, in a few attempts."""
        for _ in range(_MAX_GRASPS):
            if self._inner._eval_predicate([predicate, name]):
                break
            body = self._scan.moving_body(name)
            motions = self._push_closed if predicate == "close" else self._turn
            yield from motions(predicate, name, body)
            yield from self._rise()

    def _push_closed(self, predicate: str, name: str, body: int) -> Iterator[NDArray[np.float32]]:
        """Push a drawer in, with the closed fingers in front of its handle."""
        axis, value = self._scan.joint(body)
        inwards = -np.sign(value) * axis
        geoms = self._scan.subtree_geoms(body)
        handle = geoms[np.argmin(geoms @ inwards)]
        yaw = float(np.arctan2(inwards[1], inwards[0])) + np.pi / 2
        start = handle - 0.05 * inwards
        yield from self._travel(start[:2], float(handle[2]), yaw, CLOSE, 0.0)
        for _ in range(60):
            if self._inner._eval_predicate([predicate, name]):
                return
            ahead = self._truth.eef_position() @ inwards + 0.03
            target = handle + (ahead - handle @ inwards) * inwards
            yield self._towards(target, yaw, CLOSE, slow=True)

    def _turn(self, predicate: str, name: str, body: int) -> Iterator[NDArray[np.float32]]:
        """Grasp the ridge of a knob and turn it, as far as the wrist turns well."""
        data = self._scan.data
        way = 1.0 if predicate == "turnon" else -1.0
        across = data.xmat[body].reshape(3, 3)[:, 0]
        yaw = self._yaw() + _half_turns(float(np.arctan2(across[1], across[0])) - self._yaw())
        at = data.xpos[body] + np.array([0.0, 0.0, _KNOB_GRASP_M])
        yield from self._travel(at[:2], float(at[2]) + 0.04, yaw, OPEN, 0.0)
        yield from self._go(at, yaw, OPEN, near=0.006, max_steps=30, slow=True)
        yield from self._close()
        started = self._yaw()
        for _ in range(50):
            turned = way * _wrapped(self._yaw() - started)
            if self._inner._eval_predicate([predicate, name]) or turned > _MAX_TURN_RAD:
                break
            yield self._towards(at, self._yaw() + way * 0.4, CLOSE, slow=True)
        yield from self._wait(OPEN, 4)

    # --- grasps and placements

    def _next_grasp(self, obj: str, tried: list[Grasp]) -> Grasp | None:
        points = self._scan.points(obj)
        low, high = points.min(axis=0), points.max(axis=0)
        half = float((high - low).max()) / 2 + 0.06
        scene, target = self._scan.height_maps((low + high)[:2] / 2, min(half, 0.2), 0.004, target=obj)
        grasps = find_grasps(scene, target, self._truth.point(obj)[:2])
        untried = [grasp for grasp in grasps if not any(_similar(grasp, other) for other in tried)]
        return next(iter(untried or grasps), None)

    def _pick(self, obj: str, grasp: Grasp) -> Iterator[NDArray[np.float32]]:
        planned = self._truth.point(obj).copy()
        above = float(grasp.point[2]) + 0.06
        for action in self._travel(grasp.point[:2], above, grasp.yaw, OPEN, 0.0):
            yield action
            if self._moved(obj, planned):
                return
        for _ in range(60):
            here = self._truth.eef_position()
            aside = float(np.linalg.norm(grasp.point[:2] - here[:2]))
            aligned = abs(_half_turns(grasp.yaw - self._yaw())) < 0.06
            if float(np.linalg.norm(grasp.point - here)) < 0.006 and aligned:
                break
            # Who was pushed aside comes back from above, as down a funnel, and not through the object.
            height = float(np.clip(3 * (aside - 0.01), 0.0, 0.06))
            yield self._towards(grasp.point + np.array([0.0, 0.0, height]), grasp.yaw, OPEN, slow=True)
            if self._moved(obj, planned):
                return
        yield from self._close()
        up = self._truth.eef_position() + np.array([0.0, 0.0, 0.06])
        yield from self._go(up, self._yaw(), CLOSE, near=0.02, max_steps=25)

    def _moved(self, obj: str, planned: NDArray[np.float64]) -> bool:
        return float(np.linalg.norm(self._truth.point(obj) - planned)) > _MOVED_M

    def _place(self, obj: str, target: str) -> Iterator[NDArray[np.float32]]:
        planned = self._plan_placement(obj, target)
        if planned is None:
            return
        xy, yaw, release_z, below = planned
        lost = 0
        for action in self._travel(xy, release_z + 0.03, yaw, CLOSE, below, carried=obj):
            yield action
            lost = 0 if self._truth.grasped(obj) else lost + 1
            if lost > _LOST_STEPS:
                return
        for _ in range(60):
            z = self._truth.eef_position()[2]
            near = z < release_z + 0.03
            if not self._truth.grasped(obj) or z < release_z + 0.004 or (near and self._supported(obj)):
                break
            yield self._towards(np.array([*xy, release_z]), yaw, CLOSE, slow=True)
        yield from self._wait(OPEN, 6)
        yield from self._rise()

    def _supported(self, obj: str) -> bool:
        """Whether the object touches anything but the robot."""
        model, data = self._scan.model, self._scan.data
        geoms = set(self._scan.geoms(obj).tolist())
        for contact in data.contact[: data.ncon]:
            one, two = int(contact.geom[0]), int(contact.geom[1])
            if (one in geoms) != (two in geoms):
                other = model.body(int(model.geom_bodyid[two if one in geoms else one])).name
                if not other.startswith(("gripper0", "robot0")):
                    return True
        return False

    def _plan_placement(
        self, obj: str, target: str
    ) -> tuple[NDArray[np.float64], float, float, float] | None:
        """Grasp point (2,), yaw, height to release at, and how far the object extends below the grasp point."""
        points, eef, yaw = self._scan.points(obj), self._truth.eef_position(), self._yaw()
        body = self._truth.point(obj)
        bottom = float(points[:, 2].min())
        best, candidates = self._centres(target)
        scene, _ = self._scan.height_maps(best, 0.2, 0.006, without=[obj])
        low = points[:, 2] < bottom + 0.10  # higher parts collide with nothing
        footprint = np.unique(np.round(points[low][:, :2] - body[:2], 3), axis=0)
        grasp = np.array([*(eef - body)[:2], eef[2] - bottom])
        rotations = np.deg2rad([0, 30, -30, 60, -60, 90, -90])
        reachable = [abs(_wrapped(yaw + angle - np.pi / 2)) < np.deg2rad(100) for angle in rotations]
        placement = find_placement(
            scene, candidates, best, footprint, grasp, yaw, rotations=rotations[reachable]
        )
        if placement is None:
            return None
        c, s = np.cos(placement.rotation), np.sin(placement.rotation)
        xy = placement.centre + np.array([[c, -s], [s, c]]) @ grasp[:2]
        return xy, yaw + placement.rotation, placement.release_z, float(grasp[2])

    def _centres(self, target: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The best centre (2,) and all centres (n, 2) of an object that the goal accepts."""
        best = self._truth.point(target)[:2]
        if target not in self._inner.object_sites_dict:
            return best, best[None]
        site = self._inner.object_sites_dict[target]
        rotation = self._inner.sim.data.get_site_xmat(target)
        half = np.abs(rotation @ np.asarray(site.size, dtype=np.float64))[:2] - 0.015
        half = np.clip(half, 0.0, 0.06)
        steps = [np.unique(np.linspace(-h, h, max(1, 2 * round(h / 0.02) + 1))) for h in half]
        grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)
        return best, best + grid

    # --- motions

    def _yaw(self) -> float:
        axis = self._eef_axes()[:, 0]
        return float(np.arctan2(axis[1], axis[0]))

    def _eef_axes(self) -> NDArray[np.float64]:
        sim = self._inner.sim
        site = self._inner.robots[0].gripper.important_sites["grip_site"]
        return sim.data.site_xmat[sim.model.site_name2id(site)].reshape(3, 3)

    def _travel(
        self,
        xy: NDArray[np.float64],
        end_z: float,
        yaw: float,
        gripper: float,
        below: float,
        *,
        carried: str | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Up, across above everything on the way, and down to `end_z`; the carried object extends `below` metres."""
        here = self._truth.eef_position()[:2]
        travel_z = max(self._height_between(here, xy, carried) + below + _CLEARANCE_M, end_z)
        yield from self._go(np.array([*here, travel_z]), None, gripper, near=0.03, max_steps=40)
        yield from self._go(np.array([*xy, travel_z]), yaw, gripper, near=0.012, max_steps=120)
        yield from self._go(np.array([*xy, end_z]), yaw, gripper, near=0.010, max_steps=60)

    def _height_between(
        self, here: NDArray[np.float64], there: NDArray[np.float64], carried: str | None
    ) -> float:
        half = float(np.abs(there - here).max()) / 2 + 0.08
        without = [] if carried is None else [carried]
        scene, _ = self._scan.height_maps((here + there) / 2, half, max(0.012, half / 20), without=without)
        line = here + np.linspace(0, 1, 30)[:, None] * (there - here)
        around = 0.05 * np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)])
        return float(scene.at(line[:, None] + around).max())

    def _go(
        self,
        target: NDArray[np.float64],
        yaw: float | None,
        gripper: float,
        *,
        near: float,
        max_steps: int,
        slow: bool = False,
    ) -> Iterator[NDArray[np.float32]]:
        for _ in range(max_steps):
            distance = float(np.linalg.norm(target - self._truth.eef_position()))
            aligned = yaw is None or abs(_half_turns(yaw - self._yaw())) < 0.06
            if distance < near and aligned:
                return
            yield self._towards(target, yaw, gripper, slow=slow)

    def _towards(
        self, target: NDArray[np.float64], yaw: float | None, gripper: float, *, slow: bool = False
    ) -> NDArray[np.float32]:
        step = (target - self._truth.eef_position()) / STEP_M
        if not slow:
            step = step * 1.6
        max_length = 0.5 if slow else 1.0
        length = float(np.linalg.norm(step))
        step = step * min(1.0, max_length / length) if length > 1e-9 else step
        rotation = self._rotate_to(self._yaw() if yaw is None else yaw)
        return np.array([*step, *rotation, gripper], dtype=np.float32).clip(-1.0, 1.0)

    def _rotate_to(self, yaw: float) -> NDArray[np.float64]:
        """Rotation (3,) that points the gripper down, with its closing axis along `yaw` or the opposite direction."""
        axes = self._eef_axes()
        here = self._yaw()
        yaw = here + _half_turns(yaw - here)
        c, s = np.cos(yaw), np.sin(yaw)
        target = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])
        error = 0.5 * sum(np.cross(axes[:, k], target[:, k]) for k in range(3))
        return np.clip(error / STEP_RAD, -0.6, 0.6)

    def _close(self) -> Iterator[NDArray[np.float32]]:
        """Close until the fingers have come to rest."""
        joints = self._inner.robots[0]._ref_gripper_joint_pos_indexes
        before, still = np.inf, 0
        for _ in range(16):
            width = float(np.abs(self._inner.sim.data.qpos[joints]).sum())
            still = still + 1 if abs(width - before) < 4e-4 else 0
            if still >= 3:
                return
            before = width
            yield from self._wait(CLOSE, 1)

    def _wait(self, gripper: float, steps: int) -> Iterator[NDArray[np.float32]]:
        for _ in range(steps):
            yield np.array([0, 0, 0, 0, 0, 0, gripper], dtype=np.float32)

    def _rise(self) -> Iterator[NDArray[np.float32]]:
        up = self._truth.eef_position() + np.array([0.0, 0.0, 0.10])
        yield from self._go(up, None, OPEN, near=0.04, max_steps=20)


def _half_turns(angle: float) -> float:
    """The same closing axis, as an angle within ±90°."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2


def _wrapped(angle: float) -> float:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _similar(one: Grasp, other: Grasp) -> bool:
    angle = abs(_half_turns(one.yaw - other.yaw))
    return angle < 0.3 and float(np.linalg.norm(one.point - other.point)) < 0.02
