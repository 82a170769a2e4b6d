"""A scripted expert that reads the simulator's state, solves every task and recovers from errors.

Its action is a function of the current state, not of a schedule, so a policy can imitate it from images. If an object
was dropped or missed, the expert picks it up again. It never rotates the gripper.
"""

import numpy as np

from inspire_vla.tabletop.env import MAX_STEP_M, TabletopEnv
from inspire_vla.tabletop.objects import DRAWER_TRAVEL_M
from inspire_vla.tabletop.tasks import Beside, Closed, Goal, On, Open, goals_of, is_above

OPEN, CLOSE = -1.0, 1.0
TRAVEL_Z_M = 0.135
"""Height at which the gripper travels to an object."""
_CARRY_CLEARANCE_M = 0.045
_FAST_M, _SLOW_M = 0.030, 0.020
_GAIN = 0.55
_ALIGNED_M, _FUNNEL = 0.012, 4.0
_CLOSED_M = 0.006
_PUSH_FROM_M = np.array([0.035, 0.0, 0.010])
"""Where a push that closes a drawer starts, relative to the handle."""


class Expert:
    """Acts in one environment, which has been reset. `action()` returns the action for the current state."""

    def __init__(self, env: TabletopEnv) -> None:
        self._env, self._world = env, env.world

    def action(self) -> np.ndarray:
        """Return the next action, float32 (7,) in [-1, 1]."""
        done: list[Goal] = []
        for goal in goals_of(self._env.task.goal):
            if not self._reached(goal):
                return self._retreat() if self._near(done) else self._towards(goal)
            done.append(goal)
        return self._retreat()

    def _near(self, done: list[Goal]) -> bool:
        """Whether the fingers are still around the object of a finished goal: then rise first."""
        here = self._world.gripper()
        for goal in done:
            name = goal.obj if isinstance(goal, On | Beside) else f"{goal.cabinet}_handle"  # type: ignore[attr-defined]
            offset = here - self._world.point(name)
            if np.hypot(*offset[:2]) < 0.05 and offset[2] < 0.055:
                return True
        return False

    def _reached(self, goal: Goal) -> bool:
        if isinstance(goal, Open) and self._world.grasped(f"{goal.cabinet}_handle"):
            return (
                self._world.drawer_opening(goal.cabinet) > 0.92 * DRAWER_TRAVEL_M
            )  # further than the goal asks
        return goal.holds(self._world)

    def _towards(self, goal: Goal) -> np.ndarray:
        if isinstance(goal, On | Beside):
            return self._pick_and_place(goal)
        if isinstance(goal, Open):
            return self._pull(goal.cabinet)
        if isinstance(goal, Closed):
            return self._push(goal.cabinet)
        raise NotImplementedError(f"The expert cannot reach {goal!r}.")

    def _pick_and_place(self, goal: On | Beside) -> np.ndarray:
        world, obj = self._world, goal.obj
        position = world.point(obj)
        if world.grasped(obj):
            return self._carry(goal)
        released = world.gripper_opening() > 0.06 and not world.touched(obj)
        if released and self._falls(goal):
            return self._retreat()
        grasp = position.copy()
        grasp_z_m = world.scene.objects[obj].shape.grasp_z_m
        grasp[2] = max(position[2] + grasp_z_m * max(0.0, world.upright(obj)), 0.014)
        return self._reach(world.gripper(), grasp)

    def _falls(self, goal: On | Beside) -> bool:
        """Whether the object is over its place and still in the air."""
        height = self._world.point(goal.obj)[2]
        if isinstance(goal, Beside):
            return False  # it is let go on the table
        _, extent = self._world.receptacle(goal.receptacle)
        return is_above(self._world, goal.obj, goal.receptacle) and height > 0.03 + extent.floor_z_m

    def _reach(self, here: np.ndarray, grasp: np.ndarray) -> np.ndarray:
        """Move over the point at travel height, descend onto it, close."""
        off, high = float(np.hypot(*(grasp - here)[:2])), abs(grasp[2] - here[2])
        opening = self._world.gripper_opening()
        closing = _CLOSED_M < opening < 0.072 and off < 0.022 and high < 0.018
        if closing or (off < _ALIGNED_M and high < 0.010 and opening > _CLOSED_M):
            return self._move(here, grasp, CLOSE, _SLOW_M)
        target = grasp.copy()
        if off > _ALIGNED_M:
            travel = max(self._clear_height(here, grasp), grasp[2] + 0.06)
            target[2] = min(travel, grasp[2] + _FUNNEL * (off - _ALIGNED_M))
            if off > 0.05 and here[2] < travel - 0.05:  # rise before going sideways
                target[:2] = here[:2]
        return self._move(here, target, OPEN, _FAST_M if off > _ALIGNED_M else 0.024)

    def _carry(self, goal: On | Beside) -> np.ndarray:
        world, obj = self._world, goal.obj
        here, at = world.gripper(), world.point(obj)
        bottom = world.scene.objects[obj].shape.height_m / 2
        destination, rim_z_m = self._destination(goal, bottom)
        target = here + (destination - at)
        off = float(np.hypot(*(destination - at)[:2]))
        over = max(destination[2], rim_z_m + bottom) + _CARRY_CLEARANCE_M
        travel = max(self._clear_height(here, target) + bottom - 0.03, over, 0.10)
        if off > 0.015:
            low = at[2] < travel - 0.025
            target[2] = here[2] + (min(travel, destination[2] + _FUNNEL * (off - 0.015)) - at[2])
            if low and off > 0.05:
                target[:2] = here[:2]
                target[2] = here[2] + (travel - at[2])
            return self._move(here, target, CLOSE, _FAST_M)
        if at[2] - destination[2] < 0.008:
            return self._move(here, here, OPEN, _SLOW_M)
        return self._move(here, target, CLOSE, 0.024)

    def _destination(self, goal: On | Beside, bottom_m: float) -> tuple[np.ndarray, float]:
        """Where the centre of the object is let go, (3,), and the height of the rim that it has to pass."""
        world = self._world
        if isinstance(goal, Beside):
            xy = world.point(goal.reference)[:2] + world.scene.spot(goal.reference, goal.side)
            return np.array([*xy, bottom_m + 0.002]), 0.0
        origin, extent = world.receptacle(goal.receptacle)
        depth = extent.rim_z_m - extent.floor_z_m
        rest = extent.floor_z_m + bottom_m + (0.004 if depth < 0.03 else 0.0)
        if depth > 0.03:
            rest = max(rest, extent.rim_z_m - 0.012 + bottom_m)
        destination = origin + np.array([self._slot(goal.obj, goal.receptacle), 0.0, 0.0])
        destination[2] = rest + origin[2]
        return destination, extent.rim_z_m

    def _slot(self, obj: str, receptacle: str) -> float:
        """Offset along x from the receptacle's centre, so that two objects fit side by side."""
        goals = [goal for goal in goals_of(self._env.task.goal) if isinstance(goal, On)]
        objects = [goal.obj for goal in goals if goal.receptacle == receptacle]
        return 0.07 * (objects.index(obj) - (len(objects) - 1) / 2)

    def _pull(self, cabinet: str) -> np.ndarray:
        world, here = self._world, self._world.gripper()
        handle = f"{cabinet}_handle"
        if world.grasped(handle) and world.gripper_opening() < 0.035:
            out = np.array([here[0] + 0.05, world.point(handle)[1], here[2]])
            return self._move(here, out, CLOSE, _SLOW_M)
        return self._reach(here, world.point(handle))

    def _push(self, cabinet: str) -> np.ndarray:
        world, here = self._world, self._world.gripper()
        front = world.point(f"{cabinet}_handle") + _PUSH_FROM_M
        off = front - here
        if abs(off[1]) < 0.025 and abs(off[2]) < 0.025 and here[0] > front[0] - 0.015:
            return self._move(here, np.array([here[0] - 0.06, front[1], front[2]]), CLOSE, _SLOW_M)
        before = front + np.array([0.03, 0.0, 0.0])
        target = before.copy()
        if float(np.hypot(*(before - here)[:2])) > 0.03:
            behind = here[0] < front[0] + 0.01 and abs(off[1]) < 0.12
            travel = max(self._clear_height(here, before), before[2] + (0.06 if behind else 0.0))
            target[2] = travel
            if here[2] < travel - 0.04:
                target[:2] = here[:2]
        return self._move(here, target, CLOSE, _FAST_M)

    def _retreat(self) -> np.ndarray:
        here = self._world.gripper()
        up = here.copy()
        up[2] += 0.06 if here[2] < 0.32 else 0.0
        return self._move(here, up, OPEN, _FAST_M)

    def _clear_height(self, start: np.ndarray, end: np.ndarray) -> float:
        """Travel height that passes over the tall objects on the straight line."""
        height = TRAVEL_Z_M
        for name in self._world.scene.tall_objects():
            spec = self._world.scene.objects[name]
            centre = self._world.point(name)
            half = np.array([0.110, 0.20]) if spec.kind == "cabinet" else np.array([0.10, 0.16])
            line = start[None, :2] + np.linspace(0, 1, 9)[:, None] * (end - start)[None, :2]
            if (np.abs(line - centre[:2]) < half).all(axis=1).any():
                height = max(height, spec.shape.height_m + 0.09)
        return height

    @staticmethod
    def _move(here: np.ndarray, target: np.ndarray, gripper: float, speed_m: float) -> np.ndarray:
        step = (target - here) * _GAIN
        length = float(np.linalg.norm(step))
        if length > speed_m:
            step *= speed_m / length
        return np.array([*(step / MAX_STEP_M), 0.0, 0.0, 0.0, gripper], dtype=np.float32).clip(-1.0, 1.0)
