"""Goals as data: what must hold for a task to be done. A new kind of goal is one small class."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inspire_vla.tabletop.objects import DRAWER_TRAVEL_M
from inspire_vla.tabletop.world import World

_SLACK_M = 0.008


class Goal(Protocol):
    """Something that holds or does not hold in a world."""

    def holds(self, world: World) -> bool: ...


@dataclass(frozen=True)
class On:
    """`thing` rests on the place `on` (a plate, a tray, a box, a cabinet's top), held by no finger."""

    thing: str
    on: str

    def holds(self, world: World) -> bool:
        return at_place(world, self.thing, self.on) and not world.touched(self.thing)


@dataclass(frozen=True)
class In:
    """`thing` lies inside the place `inside` (a bowl, a basket, "…_drawer"), held by no finger."""

    thing: str
    inside: str

    def holds(self, world: World) -> bool:
        return at_place(world, self.thing, self.inside) and not world.touched(self.thing)


@dataclass(frozen=True)
class Open:
    """The cabinet's top drawer is at least three quarters out."""

    cabinet: str

    def holds(self, world: World) -> bool:
        return world.drawer_opening(self.cabinet) > 0.75 * DRAWER_TRAVEL_M


@dataclass(frozen=True)
class Closed:
    """The cabinet's top drawer is shut to within 1.2 cm."""

    cabinet: str

    def holds(self, world: World) -> bool:
        return world.drawer_opening(self.cabinet) < 0.012


@dataclass(frozen=True)
class All:
    """Several goals at once, listed in the order in which they are best reached."""

    goals: tuple[Goal, ...]

    def holds(self, world: World) -> bool:
        return all(goal.holds(world) for goal in self.goals)


def above_place(world: World, thing: str, place: str, margin_m: float = 0.0) -> bool:
    """Whether the thing's middle stands over the place, `margin_m` inside its edge, at any height above it."""
    origin, extent = world.place(place)
    dx, dy, dz = world.point(thing) - origin
    half_x, half_y = extent.half_x_m + _SLACK_M - margin_m, extent.half_y_m + _SLACK_M - margin_m
    inside = np.hypot(dx, dy) <= half_x if extent.round else abs(dx) <= half_x and abs(dy) <= half_y
    return bool(inside and dz > extent.floor_z_m)


def at_place(world: World, thing: str, place: str) -> bool:
    """Whether the thing is over the place and as low as something that rests there."""
    origin, extent = world.place(place)
    height = world.point(thing)[2] - origin[2]
    ceiling = extent.rim_z_m + 0.6 * world.scene.things[thing].shape.height_m + _SLACK_M
    return above_place(world, thing, place) and height < ceiling
