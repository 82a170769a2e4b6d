"""Tasks: an instruction, its scene, and the goal that makes it true. One function builds each kind of task."""

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inspire_vla.tabletop.objects import DRAWER_TRAVEL_M
from inspire_vla.tabletop.scenes import Scene
from inspire_vla.tabletop.world import World

_TOLERANCE_M = 0.008
_DRAWER = "the top drawer of the cabinet"


class Goal(Protocol):
    """A predicate over a world."""

    def holds(self, world: World) -> bool: ...


@dataclass(frozen=True)
class On:
    """`obj` rests on `receptacle` (a plate, a tray, a box, the top of a cabinet) and no finger touches it."""

    obj: str
    receptacle: str

    def holds(self, world: World) -> bool:
        return rests_at(world, self.obj, self.receptacle) and not world.touched(self.obj)


@dataclass(frozen=True)
class In:
    """`obj` lies inside `receptacle` (a bowl, a basket, "…_drawer") and no finger touches it."""

    obj: str
    receptacle: str

    def holds(self, world: World) -> bool:
        return rests_at(world, self.obj, self.receptacle) and not world.touched(self.obj)


@dataclass(frozen=True)
class Open:
    """The cabinet's top drawer is at least three quarters open."""

    cabinet: str

    def holds(self, world: World) -> bool:
        return world.drawer_opening(self.cabinet) > 0.75 * DRAWER_TRAVEL_M


@dataclass(frozen=True)
class Closed:
    """The cabinet's top drawer is open by less than 1.2 cm."""

    cabinet: str

    def holds(self, world: World) -> bool:
        return world.drawer_opening(self.cabinet) < 0.012


@dataclass(frozen=True)
class All:
    """Several goals at once, in the order in which the expert reaches them."""

    goals: tuple[Goal, ...]

    def holds(self, world: World) -> bool:
        return all(goal.holds(world) for goal in self.goals)


def is_above(world: World, obj: str, receptacle: str) -> bool:
    """Return whether the object's centre is over the receptacle, at any height above its floor."""
    origin, extent = world.receptacle(receptacle)
    dx, dy, dz = world.point(obj) - origin
    half_x, half_y = extent.half_x_m + _TOLERANCE_M, extent.half_y_m + _TOLERANCE_M
    inside = np.hypot(dx, dy) <= half_x if extent.round else abs(dx) <= half_x and abs(dy) <= half_y
    return bool(inside and dz > extent.floor_z_m)


def rests_at(world: World, obj: str, receptacle: str) -> bool:
    """Return whether the object is over the receptacle and as low as an object that rests there."""
    origin, extent = world.receptacle(receptacle)
    height = world.point(obj)[2] - origin[2]
    ceiling = extent.rim_z_m + 0.6 * world.scene.objects[obj].shape.height_m + _TOLERANCE_M
    return is_above(world, obj, receptacle) and height < ceiling


@dataclass(frozen=True)
class Task:
    """One task of a suite.

    `grounding` pairs each mention (the words that name an object, in the order of the instruction) with the name of
    its target: an object ("red_cube"), a receptacle ("blue_plate") or a "…_handle".
    """

    suite: str
    scene: Scene
    instruction: str
    goal: Goal
    grounding: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Unique in its suite, and valid in a file name: the scene, then the instruction."""
        return f"{self.scene.name}__{re.sub('[^a-z0-9]+', '_', self.instruction.lower())}"

    @property
    def mentions(self) -> tuple[str, ...]:
        """The mentions, as written in the instruction."""
        return tuple(mention for mention, _ in self.grounding)

    @property
    def targets(self) -> tuple[str, ...]:
        """Name of each mention's target."""
        return tuple(target for _, target in self.grounding)

    @property
    def max_steps(self) -> int:
        """Maximum control steps of an episode: about twice what the expert needs."""
        return 120 * len(getattr(self.goal, "goals", (self.goal,)))


# --- builders, one for each kind of instruction


def move(
    suite: str, scene: Scene, obj: str, to: str, template: str = "pick up {} and place it {} {}"
) -> Task:
    """Pick and place. `template` is filled with the object, "on" or "in", and the receptacle."""
    kind = scene.objects[to].kind
    inside = kind in ("bowl", "basket")
    what, where = _the(obj), "the cabinet" if kind == "cabinet" else _the(to)
    instruction = template.format(what, "in" if inside else "on", where)
    return Task(suite, scene, instruction, (In if inside else On)(obj, to), ((what, obj), (where, to)))


def put(suite: str, scene: Scene, obj: str, to: str) -> Task:
    """Pick and place, said as "put … in …"."""
    return move(suite, scene, obj, to, "put {} {} {}")


def put_in_drawer(suite: str, scene: Scene, obj: str, cabinet: str) -> Task:
    """Put an object into a drawer that is open from the start."""
    grounding = ((_the(obj), obj), (_DRAWER, f"{cabinet}_handle"))
    return Task(suite, scene, f"put {_the(obj)} in {_DRAWER}", In(obj, f"{cabinet}_drawer"), grounding)


def open_drawer(suite: str, scene: Scene, cabinet: str) -> Task:
    """Pull the top drawer open."""
    return Task(suite, scene, f"open {_DRAWER}", Open(cabinet), ((_DRAWER, f"{cabinet}_handle"),))


def close_drawer(suite: str, scene: Scene, cabinet: str) -> Task:
    """Push the top drawer shut."""
    return Task(suite, scene, f"close {_DRAWER}", Closed(cabinet), ((_DRAWER, f"{cabinet}_handle"),))


def beside(suite: str, scene: Scene, obj: str, near: str, to: str) -> Task:
    """Pick and place one of two objects of the same name. Only the object next to it tells them apart."""
    plain = move(suite, scene, obj, to)
    mention = f"{_the(obj)} next to {_the(near)}"
    instruction = plain.instruction.replace(_the(obj), mention, 1)
    return Task(suite, scene, instruction, plain.goal, ((mention, obj), plain.grounding[1]))


def put_both(suite: str, scene: Scene, first: str, second: str, to: str) -> Task:
    """Put two objects into one receptacle."""
    one, two = put(suite, scene, first, to), put(suite, scene, second, to)
    instruction = two.instruction.replace("put ", f"put both {_the(first)} and ", 1)
    return Task(suite, scene, instruction, All((one.goal, two.goal)), (one.grounding[0], *two.grounding))


def then(first: Task, second: Task) -> Task:
    """Do one task after the other."""
    instruction = f"{first.instruction} and {second.instruction}"
    goal = All((first.goal, second.goal))
    return Task(first.suite, first.scene, instruction, goal, (*first.grounding, *second.grounding))


def open_and_put_in(suite: str, scene: Scene, obj: str, cabinet: str) -> Task:
    """Open the drawer, then put an object into it."""
    goal = All((Open(cabinet), In(obj, f"{cabinet}_drawer")))
    grounding = ((_DRAWER, f"{cabinet}_handle"), (_the(obj), obj))
    return Task(suite, scene, f"open {_DRAWER} and put {_the(obj)} in it", goal, grounding)


def put_in_and_close(suite: str, scene: Scene, obj: str, cabinet: str) -> Task:
    """Put an object into the open drawer, then close it."""
    plain = put_in_drawer(suite, scene, obj, cabinet)
    goal = All((plain.goal, Closed(cabinet)))
    return Task(suite, scene, f"{plain.instruction} and close it", goal, plain.grounding)


def _the(name: str) -> str:
    return "the " + " ".join(word for word in name.split("_") if not word.isdigit())
