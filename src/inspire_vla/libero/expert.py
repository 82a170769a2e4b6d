"""A scripted expert that sees the whole state: it picks up and puts down what a LIBERO task's goal says.

    look from above ─▶ over the grip ─▶ down ─▶ shut ─▶ up ─▶ over the place ─▶ down ─▶ open ─▶ up
            ▲                                           │ nothing held
            └───────────── the next best grip ──────────┘

The hand points down throughout. So what needs a hand from the side (shelves, microwaves), a drawer pulled or a knob
turned is not among what it can do: `able` says so before anything moves.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.libero.bddl import Problem
from inspire_vla.libero.reliefs import Grasp, find_grasps, find_spot
from inspire_vla.libero.scanning import Scanner
from inspire_vla.libero.simulation import Truth

OPEN, SHUT = -1.0, 1.0
STEP_M, STEP_RAD = 0.05, 0.5
"""What an action of 1 asks of LIBERO's controller."""
_TRIES = 4
_CLEAR_M = 0.05
_NOT_REACHED_DOWNWARDS = ("microwave", "rack", "shelf_1_top_region", "shelf_1_bottom_region")


def able(problem: Problem, instruction: str) -> str | None:
    """None, or why the task is none for this expert."""
    for verb in ("open", "close", "turn", "push"):
        if verb in instruction.lower().split():
            return f"it does not {verb} things"
    for predicate in problem.goal:
        if predicate[0] not in ("on", "in"):
            return f"it does not {predicate[0]} things"
        if any(part in predicate[2] for part in _NOT_REACHED_DOWNWARDS):
            return f"{predicate[2]} is not reached from above"
    return None


class Expert:
    """Acts in one environment: iterate over `actions()`, step with each.

    Args:
        env: LIBERO's wrapper, settled after its reset.
        truth: of the same environment.
    """

    def __init__(self, env: Any, problem: Problem, truth: Truth) -> None:
        self._env, self._inner, self._problem, self._truth = env, env.env, problem, truth
        self._scan = Scanner(self._inner)
        self._clear: Any = None

    def actions(self) -> Iterator[NDArray[np.float32]]:
        """Actions (7,) in [-1, 1], each for the state as it then is; ends when there is nothing more to try."""
        for _, thing, place in self._ordered():
            tried: list[Grasp] = []
            for _ in range(_TRIES):
                if self._reached(thing, place):
                    break
                grasp = self._next_grasp(thing, tried)
                if grasp is None:
                    return
                tried.append(grasp)
                yield from self._pick(thing, grasp)
                if self._held(thing):
                    yield from self._put(thing, place)
                else:
                    yield from self._rise(OPEN)
            else:
                return
        yield from self._still(OPEN, 5)

    # --- what is wanted

    def _ordered(self) -> list[tuple[str, ...]]:
        """What carries another thing goes first: a stack is built before it would be moved, which it cannot be."""
        goals = list(self._problem.goal)
        return sorted(goals, key=lambda goal: any(goal[1] == other[2] for other in goals), reverse=True)

    def _reached(self, thing: str, place: str) -> bool:
        goal = next(g for g in self._problem.goal if g[1:] == (thing, place))
        return bool(self._inner._eval_predicate(list(goal))) and not self._truth.grasped(thing)

    def _held(self, thing: str) -> bool:
        return self._truth.grasped(thing)

    # --- where to grip and where to let go

    def _next_grasp(self, thing: str, tried: list[Grasp]) -> Grasp | None:
        corners = self._scan.corners(thing)
        low, high = corners.min(axis=0), corners.max(axis=0)
        middle = (low + high)[:2] / 2
        half = float((high - low).max()) / 2 + 0.06
        everything, own = self._scan.reliefs(middle, min(half, 0.2), 0.004, own=thing)
        centre = self._truth.point(thing)[:2]
        grasps = find_grasps(everything, own, centre)
        kept = [grasp for grasp in grasps if not any(_alike(grasp, other, centre) for other in tried)]
        left = kept or grasps
        return left[0] if left else None

    def _pick(self, thing: str, grasp: Grasp) -> Iterator[NDArray[np.float32]]:
        yield from self._travel(grasp.point[:2], float(grasp.point[2]) + 0.06, grasp.yaw, OPEN, 0.0)
        yield from self._go(grasp.point, grasp.yaw, OPEN, near=0.006, most=40, slow=True)
        yield from self._shut()
        yield from self._go(
            self._truth.hand() + np.array([0.0, 0.0, 0.06]), self._yaw(), SHUT, near=0.02, most=25
        )

    def _put(self, thing: str, place: str) -> Iterator[NDArray[np.float32]]:
        found = self._spot(thing, place)
        if found is None:
            return
        at, yaw, grip_at, hangs = found
        yield from self._travel(at, grip_at + 0.03, yaw, SHUT, hangs, thing=thing)
        for _ in range(60):
            if not self._held(thing):
                break
            # what is held may have slipped: aim with where it is now
            hand = self._truth.hand()
            if hand[2] < grip_at + 0.004 or self._lies(thing, hand[2] < grip_at + 0.03):
                break
            yield self._towards(np.array([*at, grip_at]), yaw, SHUT, slow=True)
        yield from self._still(OPEN, 6)
        yield from self._rise(OPEN)

    def _lies(self, thing: str, near: bool) -> bool:
        """Whether it touches something else than the hand."""
        if not near:
            return False
        model, data = self._scan.model, self._scan.data
        own = set(self._scan.geoms(thing).tolist())
        for contact in data.contact[: data.ncon]:
            one, two = int(contact.geom[0]), int(contact.geom[1])
            if (one in own) != (two in own):
                other = model.body(int(model.geom_bodyid[two if one in own else one])).name
                if not other.startswith(("gripper0", "robot0")):
                    return True
        return False

    def _spot(self, thing: str, place: str) -> tuple[NDArray[np.float64], float, float, float] | None:
        """Grip point (2,), yaw, its height to open at, and how far the thing hangs below it."""
        corners, hand, yaw = self._scan.corners(thing), self._truth.hand(), self._yaw()
        body = self._truth.point(thing)
        bottom = float(corners[:, 2].min())
        wanted, candidates = self._places(place)
        relief, _ = self._scan.reliefs(wanted, 0.2, 0.006, without=[thing])
        low = corners[:, 2] < bottom + 0.10  # what is higher up meets nothing
        footprint = np.unique(np.round(corners[low][:, :2] - body[:2], 3), axis=0)
        grip = np.array([*(hand - body)[:2], hand[2] - bottom])
        turns = np.deg2rad([0, 30, -30, 60, -60, 90, -90])
        turns = turns[[abs(_wrapped(yaw + turn - np.pi / 2)) < np.deg2rad(100) for turn in turns]]
        spot = find_spot(relief, candidates, wanted, footprint, grip, yaw, turns=turns)
        if spot is None:
            return None
        c, s = np.cos(spot.turn), np.sin(spot.turn)
        at = spot.middle + np.array([[c, -s], [s, c]]) @ grip[:2]
        return at, yaw + spot.turn, spot.grip_at, float(grip[2])

    def _places(self, place: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(2,) the best, and (n, 2) all places for a thing's middle that the goal accepts."""
        middle = self._truth.point(place)[:2]
        if place not in self._inner.object_sites_dict:
            return middle, middle[None]
        site = self._inner.object_sites_dict[place]
        turn = self._inner.sim.data.get_site_xmat(place)
        half = np.abs(turn @ np.asarray(site.size, dtype=np.float64))[:2] - 0.015
        half = np.clip(half, 0.0, 0.06)
        steps = [np.unique(np.linspace(-h, h, max(1, 2 * round(h / 0.02) + 1))) for h in half]
        grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)
        return middle, middle + grid

    # --- how to get there

    def _yaw(self) -> float:
        axis = self._hand_axes()[:, 0]
        return float(np.arctan2(axis[1], axis[0]))

    def _hand_axes(self) -> NDArray[np.float64]:
        sim = self._inner.sim
        site = self._inner.robots[0].gripper.important_sites["grip_site"]
        return sim.data.site_xmat[sim.model.site_name2id(site)].reshape(3, 3)

    def _travel(
        self,
        at: NDArray[np.float64],
        then: float,
        yaw: float,
        gripper: float,
        hangs: float,
        *,
        thing: str | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Up, across over everything on the way, and down to the height `then`."""
        hand = self._truth.hand()
        over = max(self._height_between(hand[:2], at, thing) + hangs + _CLEAR_M, then)
        yield from self._go(np.array([*hand[:2], over]), None, gripper, near=0.03, most=40)
        yield from self._go(np.array([*at, over]), yaw, gripper, near=0.012, most=120)
        yield from self._go(np.array([*at, then]), yaw, gripper, near=0.010, most=60)

    def _height_between(
        self, here: NDArray[np.float64], there: NDArray[np.float64], thing: str | None
    ) -> float:
        half = float(np.abs(there - here).max()) / 2 + 0.08
        without = [] if thing is None else [thing]
        relief, _ = self._scan.reliefs((here + there) / 2, half, max(0.012, half / 20), without=without)
        line = here + np.linspace(0, 1, 30)[:, None] * (there - here)
        around = 0.05 * np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)])
        return float(relief.at(line[:, None] + around).max())

    def _go(
        self,
        target: NDArray[np.float64],
        yaw: float | None,
        gripper: float,
        *,
        near: float,
        most: int,
        slow: bool = False,
    ) -> Iterator[NDArray[np.float32]]:
        for _ in range(most):
            off = float(np.linalg.norm(target - self._truth.hand()))
            turned = yaw is None or abs(_half_turns(yaw - self._yaw())) < 0.06
            if off < near and turned:
                return
            yield self._towards(target, yaw, gripper, slow=slow)

    def _towards(
        self, target: NDArray[np.float64], yaw: float | None, gripper: float, *, slow: bool = False
    ) -> NDArray[np.float32]:
        way = (target - self._truth.hand()) / STEP_M
        if not slow:
            way = way * 1.6
        most = 0.5 if slow else 1.0
        length = float(np.linalg.norm(way))
        way = way * min(1.0, most / length) if length > 1e-9 else way
        turn = self._turn_to(self._yaw() if yaw is None else yaw)
        return np.array([*way, *turn, gripper], dtype=np.float32).clip(-1.0, 1.0)

    def _turn_to(self, yaw: float) -> NDArray[np.float64]:
        """Rotation that points the hand down and its closing axis along `yaw`, to the nearer of its two ends."""
        axes = self._hand_axes()
        here = self._yaw()
        yaw = here + _half_turns(yaw - here)
        c, s = np.cos(yaw), np.sin(yaw)
        wanted = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])
        error = 0.5 * sum(np.cross(axes[:, k], wanted[:, k]) for k in range(3))
        return np.clip(error / STEP_RAD, -0.6, 0.6)

    def _shut(self) -> Iterator[NDArray[np.float32]]:
        """Until the fingers have come to rest."""
        before, still = np.inf, 0
        for _ in range(16):
            width = float(np.abs(self._fingers()).sum())
            still = still + 1 if abs(width - before) < 4e-4 else 0
            if still >= 3:
                return
            before = width
            yield self._rest(SHUT)

    def _fingers(self) -> NDArray[np.float64]:
        return self._inner.sim.data.qpos[self._inner.robots[0]._ref_gripper_joint_pos_indexes]

    def _still(self, gripper: float, steps: int) -> Iterator[NDArray[np.float32]]:
        for _ in range(steps):
            yield self._rest(gripper)

    def _rest(self, gripper: float) -> NDArray[np.float32]:
        return np.array([0, 0, 0, 0, 0, 0, gripper], dtype=np.float32)

    def _rise(self, gripper: float) -> Iterator[NDArray[np.float32]]:
        up = self._truth.hand() + np.array([0.0, 0.0, 0.10])
        yield from self._go(up, None, gripper, near=0.04, most=20)


def _half_turns(angle: float) -> float:
    """The same closing axis, within ±90°."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2


def _wrapped(angle: float) -> float:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _alike(one: Grasp, other: Grasp, centre: NDArray[np.float64]) -> bool:
    turn = abs(_half_turns(one.yaw - other.yaw))
    return turn < 0.3 and float(np.linalg.norm(one.point - other.point)) < 0.02
