"""The suites, as data. Scenes and layouts are in scenes.py, the builders of tasks in tasks.py.

The kinds of instruction of `tabletop_seen` have about the shares of LIBERO-90: `benchmarks/instruction_kinds.py`.
"""

from dataclasses import replace

from inspire_vla.tabletop.scene import Scene
from inspire_vla.tabletop.scenes import DUPLICATE_SCENES, SCENES, VALIDATION_SCENES
from inspire_vla.tabletop.tasks import (
    Task,
    close_and_put_on,
    close_drawer,
    move,
    move_beside,
    open_and_put_in,
    open_drawer,
    put,
    put_beside,
    put_both,
    put_in_and_close,
    put_in_drawer,
    then,
)


def _seen(s: dict[str, Scene]) -> tuple[Task, ...]:
    side = {name: dict(scene.free) for name, scene in s.items()}  # left and right exchanged where mirrored
    return (
        move(s["plates"], "red_cube", "blue_plate"),
        put(s["plates"], "yellow_ball", "white_bowl"),
        put_beside(s["plates"], "green_cylinder", side["plates"]["blue_plate"], "blue_plate"),
        put(s["basket"], "yellow_ball", "brown_basket"),
        put(s["basket"], "purple_cube", "brown_basket"),
        move(s["basket"], "orange_cylinder", "white_plate"),
        open_drawer(s["cabinet"], "brown_cabinet"),
        open_and_put_in(s["cabinet"], "purple_cube", "brown_cabinet"),
        put(s["cabinet"], "green_mug", "brown_cabinet"),
        move(s["cabinet"], "red_cube", "white_plate"),
        close_drawer(s["drawer"], "gray_cabinet"),
        put_in_drawer(s["drawer"], "blue_cube", "gray_cabinet"),
        move(s["drawer"], "yellow_cylinder", "black_bowl"),
        put(s["tray"], "white_mug", "gray_tray"),
        put(s["tray"], "blue_ball", "gray_tray"),
        move(s["tray"], "pink_cube", "yellow_plate"),
        put(s["box"], "red_cylinder", "brown_box"),
        move(s["box"], "blue_mug", "green_plate"),
        move_beside(s["box"], "black_cube", side["box"]["green_plate"], "green_plate"),
        move(s["bowls"], "red_mug", "black_plate"),
        put(s["bowls"], "purple_ball", "white_bowl"),
        put_beside(s["bowls"], "cyan_cube", "back", "black_plate"),
        open_drawer(s["shelf"], "white_cabinet"),
        put(s["shelf"], "green_ball", "blue_basket"),
        put(s["shelf"], "orange_cube", "white_cabinet"),
        put(s["shelf"], "pink_cylinder", "blue_basket"),
        put(s["stand"], "green_cube", "white_box"),
        move(s["stand"], "black_cylinder", "purple_plate"),
        move_beside(s["stand"], "orange_mug", side["stand"]["purple_plate"], "purple_plate"),
        then(put(s["stand"], "green_cube", "white_box"), put(s["stand"], "black_cylinder", "purple_plate")),
        # duplicates told apart by place
        move(s["cubes"], "green_cube_1", "yellow_plate"),
        put(s["cubes"], "green_cube_2", "blue_bowl"),
        put_beside(s["cubes"], "black_mug", "front", "yellow_plate"),
        move(s["mugs"], "orange_mug_1", "gray_tray"),
        put(s["mugs"], "orange_mug_2", "gray_tray"),
        put(s["mugs"], "orange_mug_3", "gray_tray"),
        put(s["dishes"], "red_mug", "yellow_plate_1"),
        put(s["dishes"], "red_mug", "yellow_plate_2"),
        put(s["dishes"], "white_cylinder", "yellow_plate_1"),
        put(s["soup"], "purple_cube", "white_bowl_1"),
        put(s["soup"], "purple_cube", "white_bowl_2"),
        move(s["soup"], "orange_ball", "white_bowl_2"),
        # duplicates told apart by what is next to them, and by place
        move(s["pantry"], "green_cylinder_1", "white_basket", by="neighbour"),
        move(s["pantry"], "green_cylinder_2", "white_basket", by="neighbour"),
        put(s["pantry"], "green_cylinder_1", "white_basket"),
        put_both(s["pantry"], "pink_cube", "yellow_ball", "white_basket"),
        move(s["orchard"], "blue_ball_1", "purple_plate", by="neighbour"),
        move(s["orchard"], "blue_ball_2", "purple_plate", by="neighbour"),
        put(s["orchard"], "blue_ball_1", "yellow_bowl"),
        move(s["study"], "pink_cube_1", "brown_tray", by="neighbour"),
        move(s["study"], "pink_cube_2", "brown_tray", by="neighbour"),
        # two steps with a drawer
        put_in_and_close(s["kitchen"], "cyan_cube_1", "black_cabinet"),
        put_in_and_close(s["kitchen"], "cyan_cube_2", "black_cabinet"),
        close_drawer(s["kitchen"], "black_cabinet"),
        close_and_put_on(s["kitchen"], "cyan_mug", "black_cabinet"),
    )


def _spatial(s: dict[str, Scene]) -> tuple[Task, ...]:
    """Duplicate objects told apart by what is next to them, or by place, in scenes of their own."""
    by_neighbour = [
        move(s[scene], obj, to, by="neighbour")
        for scene, obj, to in (
            ("twin_cubes", "red_cube_1", "blue_plate"),
            ("twin_cubes", "red_cube_2", "blue_plate"),
            ("twin_balls", "yellow_ball_1", "brown_basket"),
            ("twin_balls", "yellow_ball_2", "brown_basket"),
            ("twin_mugs", "white_mug_1", "gray_tray"),
            ("twin_mugs", "white_mug_2", "gray_tray"),
            ("twin_cylinders", "black_cylinder_1", "purple_plate"),
            ("twin_cylinders", "black_cylinder_2", "purple_plate"),
        )
    ]
    return (
        *by_neighbour,
        put(s["twin_cubes"], "red_cube_2", "blue_plate"),
        put(s["twin_balls"], "yellow_ball_2", "brown_basket"),
        put(s["twin_mugs"], "white_mug_1", "gray_tray"),
        move(s["twin_cylinders"], "black_cylinder_2", "purple_plate"),
        put(s["twin_bowls"], "orange_cube", "black_bowl_1"),
        put(s["twin_bowls"], "green_ball", "black_bowl_2"),
    )


def _object(s: dict[str, Scene]) -> tuple[Task, ...]:
    """Objects that are present in training, but never manipulated."""
    return (
        move(s["plates"], "pink_mug", "blue_plate"),
        move(s["cabinet"], "blue_cylinder", "white_plate"),
        move(s["drawer"], "red_ball", "black_bowl"),
        put_in_drawer(s["drawer"], "red_ball", "gray_cabinet"),
        put(s["tray"], "purple_cylinder", "gray_tray"),
        move(s["tray"], "purple_cylinder", "yellow_plate"),
        move(s["bowls"], "yellow_mug", "black_plate"),
        put(s["shelf"], "cyan_cylinder", "blue_basket"),
    )


def _goal(s: dict[str, Scene]) -> tuple[Task, ...]:
    """A manipulated object and a place to put it that were seen in the scene, but never together."""
    return (
        put(s["plates"], "red_cube", "white_bowl"),
        move(s["basket"], "purple_cube", "white_plate"),
        put(s["basket"], "orange_cylinder", "brown_basket"),
        put(s["cabinet"], "red_cube", "brown_cabinet"),
        move(s["cabinet"], "green_mug", "white_plate"),
        put_in_drawer(s["drawer"], "yellow_cylinder", "gray_cabinet"),
        put(s["tray"], "pink_cube", "gray_tray"),
        move(s["box"], "red_cylinder", "green_plate"),
        put(s["shelf"], "orange_cube", "blue_basket"),
        move(s["stand"], "green_cube", "purple_plate"),
        move_beside(s["box"], "blue_mug", "right", "green_plate"),
        put_beside(s["bowls"], "red_mug", "back", "black_plate"),
        put(s["dishes"], "white_cylinder", "yellow_plate_2"),
        put(s["soup"], "orange_ball", "white_bowl_1"),
    )


def _both(s: dict[str, Scene]) -> tuple[tuple[Scene, str, str, str], ...]:
    """Two objects for one place, as `put_both` takes them: each was put there alone."""
    return (
        (s["basket"], "yellow_ball", "purple_cube", "brown_basket"),
        (s["tray"], "white_mug", "blue_ball", "gray_tray"),
        (s["shelf"], "green_ball", "pink_cylinder", "blue_basket"),
    )


def _pairs(s: dict[str, Scene]) -> tuple[tuple[Task, Task], ...]:
    """Two steps of a scene that can be done in any order: each was done alone."""
    return (
        (put(s["plates"], "yellow_ball", "white_bowl"), put(s["plates"], "red_cube", "blue_plate")),
        (put(s["box"], "red_cylinder", "brown_box"), put(s["box"], "blue_mug", "green_plate")),
        (put(s["bowls"], "purple_ball", "white_bowl"), put(s["bowls"], "red_mug", "black_plate")),
        (put(s["dishes"], "red_mug", "yellow_plate_2"), put(s["dishes"], "white_cylinder", "yellow_plate_1")),
        (put(s["soup"], "purple_cube", "white_bowl_1"), put(s["soup"], "orange_ball", "white_bowl_2")),
    )


def _long(s: dict[str, Scene]) -> tuple[Task, ...]:
    """Two steps that were seen, but never one after the other."""
    return (
        *(put_both(*words) for words in _both(s)),
        *(then(first, second) for first, second in _pairs(s)),
        open_and_put_in(s["cabinet"], "red_cube", "brown_cabinet"),
        put_in_and_close(s["drawer"], "blue_cube", "gray_cabinet"),
    )


def _long_reversed(s: dict[str, Scene]) -> tuple[Task, ...]:
    """The tasks of `_long` whose steps can be done in any order, with the steps named in the other order."""
    return (
        *(put_both(scene, second, first, to) for scene, first, second, to in _both(s)),
        *(then(second, first) for first, second in _pairs(s)),
    )


def _validation_spatial(s: dict[str, Scene]) -> tuple[Task, ...]:
    """Like `_spatial`, with other objects, neighbours and scenes."""
    return (
        move(s["twin_brown_cubes"], "brown_cube_1", "blue_basket", by="neighbour"),
        move(s["twin_brown_cubes"], "brown_cube_2", "blue_basket", by="neighbour"),
        put(s["twin_brown_cubes"], "brown_cube_1", "blue_basket"),
        move(s["twin_red_cylinders"], "red_cylinder_1", "white_plate", by="neighbour"),
        move(s["twin_red_cylinders"], "red_cylinder_2", "white_plate", by="neighbour"),
        put(s["twin_red_cylinders"], "red_cylinder_2", "white_plate"),
    )


def _validation_long(s: dict[str, Scene]) -> tuple[Task, ...]:
    """Like `_long`, in mirrored scenes and with other pairs of seen steps."""
    return (
        put_both(s["pantry"], "pink_cube", "green_cylinder_1", "white_basket"),
        then(
            put(s["basket"], "yellow_ball", "brown_basket"),
            put(s["basket"], "orange_cylinder", "white_plate"),
        ),
        then(put(s["shelf"], "green_ball", "blue_basket"), put(s["shelf"], "orange_cube", "white_cabinet")),
        then(put(s["cubes"], "green_cube_1", "yellow_plate"), put(s["cubes"], "green_cube_2", "blue_bowl")),
        then(put(s["tray"], "blue_ball", "gray_tray"), put(s["tray"], "pink_cube", "yellow_plate")),
        put_in_and_close(s["kitchen"], "cyan_mug", "black_cabinet"),
    )


_MIRRORED = {name: scene.mirrored(f"{name}_mirrored") for name, scene in SCENES.items()}

_TASKS = {
    "tabletop_seen": _seen(SCENES),
    "tabletop_spatial": _spatial(DUPLICATE_SCENES),
    "tabletop_object": _object(SCENES),
    "tabletop_goal": _goal(SCENES),
    "tabletop_long": _long(SCENES),
    "tabletop_long_reversed": _long_reversed(SCENES),
    "tabletop_validation": _seen(_MIRRORED),
    "tabletop_validation_spatial": _validation_spatial(VALIDATION_SCENES),
    "tabletop_validation_long": _validation_long(_MIRRORED),
}
SUITES: dict[str, tuple[Task, ...]] = {
    suite: tuple(replace(task, suite=suite) for task in tasks) for suite, tasks in _TASKS.items()
}
"""All suites. Train on the first, report the next four, and tune on the last three: the seen tasks in layouts with left
and right exchanged, and tasks like those of *spatial* and *long*. So nothing is tuned on a suite that is reported.
`tabletop_long_reversed` asks which step of a two-step instruction a policy does. It is in no group."""

GROUPS = {
    suite: "seen" if suite == "tabletop_seen" else "validation" if "validation" in suite else "unseen"
    for suite in SUITES
    if suite != "tabletop_long_reversed"
}
"""Role of each suite, for a policy that was trained on the seen tasks."""
