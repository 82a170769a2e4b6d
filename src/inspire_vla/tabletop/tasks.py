"""Tasks: an instruction, its scene, and the goal that makes it true. One function builds each kind of task."""

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.objects import DRAWER_TRAVEL_M
from inspire_vla.tabletop.places import MIDDLE, SIDES
from inspire_vla.tabletop.scene import BESIDE_M, Scene
from inspire_vla.tabletop.world import World

_TOLERANCE_M = 0.008
_DRAWER = "the top drawer of the cabinet"
_PICK_AND_PLACE, _PUT = "pick up {} and place it {}", "put {} {}"
_BESIDE = {
    "left": "to the left of", "right": "to the right of", "front": "in front of", "back": "behind",
}  # fmt: skip


class Goal(Protocol):
    """A predicate over a world."""

    def holds(self, world: World) -> bool:
        """Return whether the goal holds now."""
        ...


@dataclass(frozen=True)
class On:
    """`obj` rests on `receptacle` (a plate, a tray, a box, the top of a cabinet) and no finger touches it.

    `In` is an `On`, because physics and the expert treat them alike. Only the instruction's words differ.
    """

    obj: str
    receptacle: str

    def holds(self, world: World) -> bool:
        return rests_at(world, self.obj, self.receptacle) and not world.touched(self.obj)


@dataclass(frozen=True)
class In(On):
    """`obj` lies inside `receptacle` (a bowl, a basket, "…_drawer") and no finger touches it."""


@dataclass(frozen=True)
class Beside:
    """`obj` stands on the table, on one side of `reference` (a key of `places.SIDES`), and no finger touches it.

    Its centre is at most 12 cm from the edge of the reference and at most 6 cm off the axis of the side.
    """

    obj: str
    reference: str
    side: str

    def holds(self, world: World) -> bool:
        return stands_beside(world, self.obj, self.reference, self.side) and not world.touched(self.obj)


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


def goals_of(goal: Goal) -> tuple[Goal, ...]:
    """Return the goals that a goal consists of, in the order in which the expert reaches them; itself, if of one."""
    return goal.goals if isinstance(goal, All) else (goal,)


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


def stands_beside(world: World, obj: str, reference: str, side: str) -> bool:
    """Return whether the object stands on the table on that side of the reference; see `Beside`."""
    objects = world.scene.objects
    here = world.point(obj)
    offset = here[:2] - world.point(reference)[:2]
    edge_m = objects[reference].shape.radius_m
    along = float(offset @ SIDES[side])
    across = float(np.abs(offset - along * SIDES[side]).sum())
    on_table = here[2] < objects[obj].rest_z_m + 2 * _TOLERANCE_M
    return bool(on_table and edge_m <= along <= edge_m + 2 * BESIDE_M and across <= BESIDE_M)


@dataclass(frozen=True)
class Task:
    """One task of a suite.

    `grounding` pairs each mention (the words that name an object, in the order of the instruction) with the name of
    its target: an object ("red_cube"), a receptacle ("blue_plate") or a "…_handle".
    """

    scene: Scene
    instruction: str
    goal: Goal
    grounding: tuple[tuple[str, str], ...]
    suite: str = ""

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
        return 120 * len(goals_of(self.goal))


# --- builders, one for each kind of instruction


def mention(scene: Scene, name: str, *, by: str = "place", noun_first: bool = False) -> str:
    """Return the words that name an object of a scene. Of several equal objects they tell which one.

    Args:
        by: "place" ("the left red cube") or "neighbour" ("the red cube next to the white bowl").
        noun_first: "the red cube on the left" instead of "the left red cube".

    Raises:
        InspireError: the object has equals, and the scene does not say how they are told apart.
    """
    plain = "the " + " ".join(name.split("_")[:2])
    if not scene.equals(name):
        return plain
    distinguished_by = dict(scene.places if by == "place" else scene.neighbours)
    if name not in distinguished_by:
        raise InspireError(f"Scene {scene.name!r} has several {plain[4:]}s and no {by} of {name!r}.")
    if by == "neighbour":
        return f"{plain} next to {mention(scene, distinguished_by[name])}"
    where = distinguished_by[name]
    if where in ("front", "back"):
        return f"{plain} at the {where}"
    if noun_first:
        return f"{plain} {'in' if where == MIDDLE else 'on'} the {where}"
    return plain.replace("the ", f"the {where} ", 1)


def move(scene: Scene, obj: str, to: str, template: str = _PICK_AND_PLACE, by: str = "place") -> Task:
    """Pick and place. `template` is filled with the object and where it goes. `by`: see `mention`."""
    kind = scene.objects[to].kind
    inside = kind in ("bowl", "basket")
    noun_first = template == _PICK_AND_PLACE
    what = mention(scene, obj, by=by, noun_first=noun_first)
    where = "the cabinet" if kind == "cabinet" else mention(scene, to, noun_first=noun_first)
    instruction = template.format(what, f"{'in' if inside else 'on'} {where}")
    return Task(scene, instruction, (In if inside else On)(obj, to), ((what, obj), (where, to)))


def put(scene: Scene, obj: str, to: str, by: str = "place") -> Task:
    """Pick and place, said as "put … in …"."""
    return move(scene, obj, to, _PUT, by)


def move_beside(scene: Scene, obj: str, side: str, reference: str, template: str = _PICK_AND_PLACE) -> Task:
    """Place an object on the table, on one side of another.

    Raises InspireError unless the scene's layouts keep a spot free there.
    """
    if (reference, side) not in scene.free:
        raise InspireError(f"Scene {scene.name!r} keeps no spot free for {reference!r}, side {side!r}.")
    what, where = mention(scene, obj, noun_first=template == _PICK_AND_PLACE), mention(scene, reference)
    instruction = template.format(what, f"{_BESIDE[side]} {where}")
    grounding = ((what, obj), (where, reference))
    return Task(scene, instruction, Beside(obj, reference, side), grounding)


def put_beside(scene: Scene, obj: str, side: str, reference: str) -> Task:
    """Place an object beside another, said as "put … to the left of …"."""
    return move_beside(scene, obj, side, reference, _PUT)


def put_in_drawer(scene: Scene, obj: str, cabinet: str) -> Task:
    """Put an object into a drawer that is open from the start."""
    what = mention(scene, obj)
    grounding = ((what, obj), (_DRAWER, f"{cabinet}_handle"))
    return Task(scene, f"put {what} in {_DRAWER}", In(obj, f"{cabinet}_drawer"), grounding)


def open_drawer(scene: Scene, cabinet: str) -> Task:
    """Pull the top drawer open."""
    return Task(scene, f"open {_DRAWER}", Open(cabinet), ((_DRAWER, f"{cabinet}_handle"),))


def close_drawer(scene: Scene, cabinet: str) -> Task:
    """Push the top drawer shut."""
    return Task(scene, f"close {_DRAWER}", Closed(cabinet), ((_DRAWER, f"{cabinet}_handle"),))


def put_both(scene: Scene, first: str, second: str, to: str) -> Task:
    """Put two objects into one receptacle."""
    one, two = put(scene, first, to), put(scene, second, to)
    instruction = two.instruction.replace("put ", f"put both {one.mentions[0]} and ", 1)
    return Task(scene, instruction, All((one.goal, two.goal)), (one.grounding[0], *two.grounding))


def then(first: Task, second: Task) -> Task:
    """Do one task after the other."""
    instruction = f"{first.instruction} and {second.instruction}"
    goal = All((first.goal, second.goal))
    return Task(first.scene, instruction, goal, (*first.grounding, *second.grounding))


def open_and_put_in(scene: Scene, obj: str, cabinet: str) -> Task:
    """Open the drawer, then put an object into it."""
    what = mention(scene, obj)
    goal = All((Open(cabinet), In(obj, f"{cabinet}_drawer")))
    grounding = ((_DRAWER, f"{cabinet}_handle"), (what, obj))
    return Task(scene, f"open {_DRAWER} and put {what} in it", goal, grounding)


def put_in_and_close(scene: Scene, obj: str, cabinet: str) -> Task:
    """Put an object into the open drawer, then close it."""
    plain = put_in_drawer(scene, obj, cabinet)
    goal = All((plain.goal, Closed(cabinet)))
    return Task(scene, f"{plain.instruction} and close it", goal, plain.grounding)


def close_and_put_on(scene: Scene, obj: str, cabinet: str) -> Task:
    """Close the drawer, then put an object on top of the cabinet."""
    what = mention(scene, obj)
    goal = All((Closed(cabinet), On(obj, cabinet)))
    grounding = ((_DRAWER, f"{cabinet}_handle"), (what, obj))
    return Task(scene, f"close {_DRAWER} and put {what} on top of it", goal, grounding)
