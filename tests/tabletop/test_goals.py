"""Goals hold when they should and only then."""

import numpy as np

from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.places import SIDES, mirrored
from inspire_vla.tabletop.suites import SUITES
from inspire_vla.tabletop.tasks import All, Beside, Closed, In, On, Open, is_above, rests_at


def _world(name: str):
    task = next(task for task in SUITES["tabletop_seen"] if task.scene.name == name)
    env = TabletopEnv(task, cameras=())
    env.reset(seed=0)
    return env.world


def _put(world, obj: str, position) -> None:
    import mujoco

    at = world.model.joint(obj).qposadr[0]
    world.data.qpos[at : at + 3] = position
    mujoco.mj_forward(world.model, world.data)


def test_on_needs_position_and_height():
    world = _world("plates")
    plate, extent = world.receptacle("blue_plate")
    goal = On("red_cube", "blue_plate")
    assert not goal.holds(world)
    _put(world, "red_cube", plate + np.array([0.02, 0.0, extent.floor_z_m + 0.024]))
    assert goal.holds(world)
    _put(world, "red_cube", plate + np.array([0.0, 0.0, 0.15]))
    assert is_above(world, "red_cube", "blue_plate")
    assert not rests_at(world, "red_cube", "blue_plate")
    _put(world, "red_cube", plate + np.array([0.10, 0.0, 0.024]))
    assert not goal.holds(world)


def test_in_needs_to_be_below_the_rim():
    world = _world("basket")
    basket, _ = world.receptacle("brown_basket")
    goal = In("yellow_ball", "brown_basket")
    _put(world, "yellow_ball", basket + np.array([0.05, -0.05, 0.031]))
    assert goal.holds(world)
    _put(world, "yellow_ball", basket + np.array([0.0, 0.0, 0.20]))
    assert not goal.holds(world)


def test_a_drawer_is_open_or_closed_or_neither_and_never_both():
    world = _world("cabinet")
    joint = world.model.joint("brown_cabinet_drawer").qposadr[0]
    seen = set()
    for opening in np.linspace(0, 0.12, 25):
        world.data.qpos[joint] = opening
        is_open, is_closed = Open("brown_cabinet").holds(world), Closed("brown_cabinet").holds(world)
        assert not (is_open and is_closed)
        assert not All((Open("brown_cabinet"), Closed("brown_cabinet"))).holds(world)
        seen.add((is_open, is_closed))
    assert seen == {(True, False), (False, True), (False, False)}


def test_beside_is_on_one_side_near_and_on_the_table():
    world = _world("plates")
    plate = world.point("blue_plate")
    for side in SIDES:
        for along, across, height, holds in (
            (0.138, 0.0, 0.024, True),
            (0.138, 0.05, 0.024, True),
            (0.138, 0.07, 0.024, False),  # too far off the axis
            (0.05, 0.0, 0.036, False),  # on the plate
            (0.22, 0.0, 0.024, False),  # too far away
            (0.138, 0.0, 0.10, False),  # in the air
        ):
            sideways = np.array([-SIDES[side][1], SIDES[side][0]])
            _put(world, "red_cube", [*(plate[:2] + along * SIDES[side] + across * sideways), height])
            assert Beside("red_cube", "blue_plate", side).holds(world) == holds, (side, along, across, height)


def test_mirroring_a_world_exchanges_left_and_right_of_an_object():
    world = _world("plates")
    rng = np.random.default_rng(0)
    count = 0
    for _ in range(60):
        plate, cube = rng.uniform((0.4, -0.1), (0.6, 0.1)), rng.uniform(-0.2, 0.2, 2)
        sides = {}
        for sign in (1, -1):
            flip = np.array([1, sign])
            _put(world, "blue_plate", [*(plate * flip), 0.0])
            _put(world, "red_cube", [*((plate + cube) * flip), 0.024])
            sides[sign] = {side for side in SIDES if Beside("red_cube", "blue_plate", side).holds(world)}
        assert {mirrored(side) for side in sides[1]} == sides[-1]
        assert len(sides[1]) <= 1
        count += len(sides[1])
    assert count > 5
