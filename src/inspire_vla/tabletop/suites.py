"""The suites, as data. Scenes and layouts are in scenes.py, the builders of tasks in tasks.py.

The kinds of instruction of `tabletop_seen` have about the shares of LIBERO-90: `benchmarks/instruction_kinds.py`.
"""

from inspire_vla.tabletop.scenes import DUPLICATE_SCENES, SCENES, VALIDATION_SCENES, Scene
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


def _seen(suite: str, scenes: dict[str, Scene]) -> tuple[Task, ...]:
    s = scenes
    side = {
        name: dict(scene.free) for name, scene in scenes.items()
    }  # left and right exchanged where mirrored
    return (
        move(suite, s["plates"], "red_cube", "blue_plate"),
        put(suite, s["plates"], "yellow_ball", "white_bowl"),
        put_beside(suite, s["plates"], "green_cylinder", side["plates"]["blue_plate"], "blue_plate"),
        put(suite, s["basket"], "yellow_ball", "brown_basket"),
        put(suite, s["basket"], "purple_cube", "brown_basket"),
        move(suite, s["basket"], "orange_cylinder", "white_plate"),
        open_drawer(suite, s["cabinet"], "brown_cabinet"),
        open_and_put_in(suite, s["cabinet"], "purple_cube", "brown_cabinet"),
        put(suite, s["cabinet"], "green_mug", "brown_cabinet"),
        move(suite, s["cabinet"], "red_cube", "white_plate"),
        close_drawer(suite, s["drawer"], "gray_cabinet"),
        put_in_drawer(suite, s["drawer"], "blue_cube", "gray_cabinet"),
        move(suite, s["drawer"], "yellow_cylinder", "black_bowl"),
        put(suite, s["tray"], "white_mug", "gray_tray"),
        put(suite, s["tray"], "blue_ball", "gray_tray"),
        move(suite, s["tray"], "pink_cube", "yellow_plate"),
        put(suite, s["box"], "red_cylinder", "brown_box"),
        move(suite, s["box"], "blue_mug", "green_plate"),
        move_beside(suite, s["box"], "black_cube", side["box"]["green_plate"], "green_plate"),
        move(suite, s["bowls"], "red_mug", "black_plate"),
        put(suite, s["bowls"], "purple_ball", "white_bowl"),
        put_beside(suite, s["bowls"], "cyan_cube", "back", "black_plate"),
        open_drawer(suite, s["shelf"], "white_cabinet"),
        put(suite, s["shelf"], "green_ball", "blue_basket"),
        put(suite, s["shelf"], "orange_cube", "white_cabinet"),
        put(suite, s["shelf"], "pink_cylinder", "blue_basket"),
        put(suite, s["stand"], "green_cube", "white_box"),
        move(suite, s["stand"], "black_cylinder", "purple_plate"),
        move_beside(suite, s["stand"], "orange_mug", side["stand"]["purple_plate"], "purple_plate"),
        then(
            put(suite, s["stand"], "green_cube", "white_box"),
            put(suite, s["stand"], "black_cylinder", "purple_plate"),
        ),
        # duplicates told apart by place
        move(suite, s["cubes"], "green_cube_1", "yellow_plate"),
        put(suite, s["cubes"], "green_cube_2", "blue_bowl"),
        put_beside(suite, s["cubes"], "black_mug", "front", "yellow_plate"),
        move(suite, s["mugs"], "orange_mug_1", "gray_tray"),
        put(suite, s["mugs"], "orange_mug_2", "gray_tray"),
        put(suite, s["mugs"], "orange_mug_3", "gray_tray"),
        put(suite, s["dishes"], "red_mug", "yellow_plate_1"),
        put(suite, s["dishes"], "red_mug", "yellow_plate_2"),
        put(suite, s["dishes"], "white_cylinder", "yellow_plate_1"),
        put(suite, s["soup"], "purple_cube", "white_bowl_1"),
        put(suite, s["soup"], "purple_cube", "white_bowl_2"),
        move(suite, s["soup"], "orange_ball", "white_bowl_2"),
        # duplicates told apart by what is next to them, and by place
        move(suite, s["pantry"], "green_cylinder_1", "white_basket", by="neighbour"),
        move(suite, s["pantry"], "green_cylinder_2", "white_basket", by="neighbour"),
        put(suite, s["pantry"], "green_cylinder_1", "white_basket"),
        put_both(suite, s["pantry"], "pink_cube", "yellow_ball", "white_basket"),
        move(suite, s["orchard"], "blue_ball_1", "purple_plate", by="neighbour"),
        move(suite, s["orchard"], "blue_ball_2", "purple_plate", by="neighbour"),
        put(suite, s["orchard"], "blue_ball_1", "yellow_bowl"),
        move(suite, s["study"], "pink_cube_1", "brown_tray", by="neighbour"),
        move(suite, s["study"], "pink_cube_2", "brown_tray", by="neighbour"),
        # two steps with a drawer
        put_in_and_close(suite, s["kitchen"], "cyan_cube_1", "black_cabinet"),
        put_in_and_close(suite, s["kitchen"], "cyan_cube_2", "black_cabinet"),
        close_drawer(suite, s["kitchen"], "black_cabinet"),
        close_and_put_on(suite, s["kitchen"], "cyan_mug", "black_cabinet"),
    )


def _spatial(suite: str, s: dict[str, Scene]) -> tuple[Task, ...]:
    """Duplicate objects told apart by what is next to them, or by place, in scenes of their own."""
    by_neighbour = [
        move(suite, s[scene], obj, to, by="neighbour")
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
        put(suite, s["twin_cubes"], "red_cube_2", "blue_plate"),
        put(suite, s["twin_balls"], "yellow_ball_2", "brown_basket"),
        put(suite, s["twin_mugs"], "white_mug_1", "gray_tray"),
        move(suite, s["twin_cylinders"], "black_cylinder_2", "purple_plate"),
        put(suite, s["twin_bowls"], "orange_cube", "black_bowl_1"),
        put(suite, s["twin_bowls"], "green_ball", "black_bowl_2"),
    )


def _object(suite: str, s: dict[str, Scene]) -> tuple[Task, ...]:
    """Objects that are present in training, but never manipulated."""
    return (
        move(suite, s["plates"], "pink_mug", "blue_plate"),
        move(suite, s["cabinet"], "blue_cylinder", "white_plate"),
        move(suite, s["drawer"], "red_ball", "black_bowl"),
        put_in_drawer(suite, s["drawer"], "red_ball", "gray_cabinet"),
        put(suite, s["tray"], "purple_cylinder", "gray_tray"),
        move(suite, s["tray"], "purple_cylinder", "yellow_plate"),
        move(suite, s["bowls"], "yellow_mug", "black_plate"),
        put(suite, s["shelf"], "cyan_cylinder", "blue_basket"),
    )


def _goal(suite: str, s: dict[str, Scene]) -> tuple[Task, ...]:
    """A manipulated object and a place to put it that were seen in the scene, but never together."""
    return (
        put(suite, s["plates"], "red_cube", "white_bowl"),
        move(suite, s["basket"], "purple_cube", "white_plate"),
        put(suite, s["basket"], "orange_cylinder", "brown_basket"),
        put(suite, s["cabinet"], "red_cube", "brown_cabinet"),
        move(suite, s["cabinet"], "green_mug", "white_plate"),
        put_in_drawer(suite, s["drawer"], "yellow_cylinder", "gray_cabinet"),
        put(suite, s["tray"], "pink_cube", "gray_tray"),
        move(suite, s["box"], "red_cylinder", "green_plate"),
        put(suite, s["shelf"], "orange_cube", "blue_basket"),
        move(suite, s["stand"], "green_cube", "purple_plate"),
        move_beside(suite, s["box"], "blue_mug", "right", "green_plate"),
        put_beside(suite, s["bowls"], "red_mug", "back", "black_plate"),
        put(suite, s["dishes"], "white_cylinder", "yellow_plate_2"),
        put(suite, s["soup"], "orange_ball", "white_bowl_1"),
    )


def _long(suite: str, s: dict[str, Scene]) -> tuple[Task, ...]:
    """Two steps that were seen, but never one after the other."""
    return (
        put_both(suite, s["basket"], "yellow_ball", "purple_cube", "brown_basket"),
        put_both(suite, s["tray"], "white_mug", "blue_ball", "gray_tray"),
        put_both(suite, s["shelf"], "green_ball", "pink_cylinder", "blue_basket"),
        then(
            put(suite, s["plates"], "yellow_ball", "white_bowl"),
            put(suite, s["plates"], "red_cube", "blue_plate"),
        ),
        then(
            put(suite, s["box"], "red_cylinder", "brown_box"), put(suite, s["box"], "blue_mug", "green_plate")
        ),
        then(
            put(suite, s["bowls"], "purple_ball", "white_bowl"),
            put(suite, s["bowls"], "red_mug", "black_plate"),
        ),
        then(
            put(suite, s["dishes"], "red_mug", "yellow_plate_2"),
            put(suite, s["dishes"], "white_cylinder", "yellow_plate_1"),
        ),
        then(
            put(suite, s["soup"], "purple_cube", "white_bowl_1"),
            put(suite, s["soup"], "orange_ball", "white_bowl_2"),
        ),
        open_and_put_in(suite, s["cabinet"], "red_cube", "brown_cabinet"),
        put_in_and_close(suite, s["drawer"], "blue_cube", "gray_cabinet"),
    )


def _validation_spatial(suite: str, s: dict[str, Scene]) -> tuple[Task, ...]:
    """Like `_spatial`, with other objects, neighbours and scenes."""
    return (
        move(suite, s["twin_brown_cubes"], "brown_cube_1", "blue_basket", by="neighbour"),
        move(suite, s["twin_brown_cubes"], "brown_cube_2", "blue_basket", by="neighbour"),
        put(suite, s["twin_brown_cubes"], "brown_cube_1", "blue_basket"),
        move(suite, s["twin_red_cylinders"], "red_cylinder_1", "white_plate", by="neighbour"),
        move(suite, s["twin_red_cylinders"], "red_cylinder_2", "white_plate", by="neighbour"),
        put(suite, s["twin_red_cylinders"], "red_cylinder_2", "white_plate"),
    )


def _validation_long(suite: str, s: dict[str, Scene]) -> tuple[Task, ...]:
    """Like `_long`, in mirrored scenes and with other pairs of seen steps."""
    return (
        put_both(suite, s["pantry"], "pink_cube", "green_cylinder_1", "white_basket"),
        then(
            put(suite, s["basket"], "yellow_ball", "brown_basket"),
            put(suite, s["basket"], "orange_cylinder", "white_plate"),
        ),
        then(
            put(suite, s["shelf"], "green_ball", "blue_basket"),
            put(suite, s["shelf"], "orange_cube", "white_cabinet"),
        ),
        then(
            put(suite, s["cubes"], "green_cube_1", "yellow_plate"),
            put(suite, s["cubes"], "green_cube_2", "blue_bowl"),
        ),
        then(
            put(suite, s["tray"], "blue_ball", "gray_tray"),
            put(suite, s["tray"], "pink_cube", "yellow_plate"),
        ),
        put_in_and_close(suite, s["kitchen"], "cyan_mug", "black_cabinet"),
    )


_MIRRORED = {name: scene.mirrored(f"{name}_mirrored") for name, scene in SCENES.items()}

SUITES: dict[str, tuple[Task, ...]] = {
    "tabletop_seen": _seen("tabletop_seen", SCENES),
    "tabletop_spatial": _spatial("tabletop_spatial", DUPLICATE_SCENES),
    "tabletop_object": _object("tabletop_object", SCENES),
    "tabletop_goal": _goal("tabletop_goal", SCENES),
    "tabletop_long": _long("tabletop_long", SCENES),
    "tabletop_validation": _seen("tabletop_validation", _MIRRORED),
    "tabletop_validation_spatial": _validation_spatial("tabletop_validation_spatial", VALIDATION_SCENES),
    "tabletop_validation_long": _validation_long("tabletop_validation_long", _MIRRORED),
}
"""All suites. Train on the first, report the next four, and tune on the last three: the seen tasks in layouts with left
and right exchanged, and tasks like those of *spatial* and *long*. So nothing is tuned on a suite that is reported."""

GROUPS = {
    suite: "seen" if suite == "tabletop_seen" else "validation" if "validation" in suite else "unseen"
    for suite in SUITES
}
"""Role of each suite, for a policy that was trained on the seen tasks."""
