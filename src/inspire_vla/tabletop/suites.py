"""The suites, as data. Scenes and layouts are in scenes.py, the builders of tasks in tasks.py."""

from inspire_vla.tabletop.scenes import DUPLICATE_SCENES, SCENES, Scene
from inspire_vla.tabletop.tasks import (
    Task,
    beside,
    close_drawer,
    move,
    open_and_put_in,
    open_drawer,
    put,
    put_both,
    put_in_and_close,
    put_in_drawer,
    then,
)


def _seen(suite: str, scenes: dict[str, Scene]) -> tuple[Task, ...]:
    s = scenes
    return (
        move(suite, s["plates"], "red_cube", "blue_plate"),
        move(suite, s["plates"], "green_cylinder", "blue_plate"),
        put(suite, s["plates"], "yellow_ball", "white_bowl"),
        put(suite, s["basket"], "yellow_ball", "brown_basket"),
        put(suite, s["basket"], "purple_cube", "brown_basket"),
        move(suite, s["basket"], "orange_cylinder", "white_plate"),
        open_drawer(suite, s["cabinet"], "brown_cabinet"),
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
        move(suite, s["box"], "black_cube", "green_plate"),
        move(suite, s["bowls"], "cyan_cube", "white_bowl"),
        move(suite, s["bowls"], "red_mug", "black_plate"),
        put(suite, s["bowls"], "purple_ball", "white_bowl"),
        put(suite, s["shelf"], "green_ball", "blue_basket"),
        put(suite, s["shelf"], "orange_cube", "white_cabinet"),
        put(suite, s["shelf"], "pink_cylinder", "blue_basket"),
        put(suite, s["stand"], "green_cube", "white_box"),
        put(suite, s["stand"], "orange_mug", "white_box"),
        move(suite, s["stand"], "black_cylinder", "purple_plate"),
    )


def _spatial(suite: str) -> tuple[Task, ...]:
    """Duplicate objects that only a relation tells apart, in scenes of their own."""
    return tuple(
        beside(suite, scene, obj, near, to)
        for scene, obj, near, to in (
            (DUPLICATE_SCENES["twin_cubes"], "red_cube_1", "white_bowl", "blue_plate"),
            (DUPLICATE_SCENES["twin_cubes"], "red_cube_2", "pink_mug", "blue_plate"),
            (DUPLICATE_SCENES["twin_balls"], "yellow_ball_1", "white_plate", "brown_basket"),
            (DUPLICATE_SCENES["twin_balls"], "yellow_ball_2", "purple_cube", "brown_basket"),
            (DUPLICATE_SCENES["twin_mugs"], "white_mug_1", "yellow_plate", "gray_tray"),
            (DUPLICATE_SCENES["twin_mugs"], "white_mug_2", "blue_ball", "gray_tray"),
            (DUPLICATE_SCENES["twin_cylinders"], "black_cylinder_1", "white_box", "purple_plate"),
            (DUPLICATE_SCENES["twin_cylinders"], "black_cylinder_2", "orange_mug", "purple_plate"),
        )
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
    """A manipulated object and a receptacle that were seen, but never together."""
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
    )


def _long(suite: str, s: dict[str, Scene]) -> tuple[Task, ...]:
    """Two seen steps in a row."""
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
        open_and_put_in(suite, s["cabinet"], "red_cube", "brown_cabinet"),
        put_in_and_close(suite, s["drawer"], "blue_cube", "gray_cabinet"),
    )


_MIRRORED = {name: scene.mirrored(f"{name}_mirrored") for name, scene in SCENES.items()}

SUITES: dict[str, tuple[Task, ...]] = {
    "tabletop_seen": _seen("tabletop_seen", SCENES),
    "tabletop_spatial": _spatial("tabletop_spatial"),
    "tabletop_object": _object("tabletop_object", SCENES),
    "tabletop_goal": _goal("tabletop_goal", SCENES),
    "tabletop_long": _long("tabletop_long", SCENES),
    "tabletop_validation": _seen("tabletop_validation", _MIRRORED),
}
"""All suites. Train on the first, report the next four, and tune on `tabletop_validation`: the seen tasks in layouts
with left and right exchanged. So nothing is tuned on a suite that is reported."""

GROUPS = dict.fromkeys(SUITES, "unseen") | {"tabletop_seen": "seen", "tabletop_validation": "validation"}
"""Role of each suite, for a policy that was trained on the seen tasks."""
