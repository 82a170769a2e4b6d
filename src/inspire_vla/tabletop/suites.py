"""The suites, as data. See scenes.py for what a layout is."""

from inspire_vla.tabletop.predicates import Closed, In, On, Open
from inspire_vla.tabletop.scenes import Scene
from inspire_vla.tabletop.tasks import Task

SCENES = {
    scene.name: scene
    for scene in (
        Scene("plates", (("red_cube", 0.38, 0.24), ("green_cylinder", 0.61, 0.21), ("yellow_ball", 0.37, -0.21),
                         ("blue_plate", 0.47, 0.03), ("white_bowl", 0.60, -0.20), ("pink_mug", 0.63, 0.02))),
        Scene("basket", (("brown_basket", 0.47, 0.25), ("yellow_ball", 0.34, 0.03), ("purple_cube", 0.61, 0.00),
                         ("orange_cylinder", 0.42, -0.25), ("white_plate", 0.61, -0.20), ("cyan_cube", 0.46, -0.10))),
        Scene("cabinet", (("brown_cabinet", 0.20, 0.28), ("green_mug", 0.43, 0.25), ("red_cube", 0.37, -0.23),
                          ("white_plate", 0.58, -0.07), ("blue_cylinder", 0.62, 0.22))),
        Scene("drawer", (("gray_cabinet", 0.20, -0.28), ("blue_cube", 0.56, -0.26), ("yellow_cylinder", 0.36, 0.22),
                         ("black_bowl", 0.57, 0.17), ("red_ball", 0.47, -0.04)), drawer_open=True),
        Scene("tray", (("gray_tray", 0.42, -0.22), ("white_mug", 0.37, 0.24), ("blue_ball", 0.62, 0.24),
                       ("pink_cube", 0.62, -0.18), ("yellow_plate", 0.54, 0.09), ("purple_cylinder", 0.35, 0.05))),
        Scene("box", (("brown_box", 0.36, 0.25), ("red_cylinder", 0.50, 0.24), ("blue_mug", 0.37, -0.23),
                      ("black_cube", 0.62, -0.22), ("green_plate", 0.55, -0.03), ("orange_ball", 0.40, 0.00))),
        Scene("bowls", (("white_bowl", 0.38, -0.18), ("cyan_cube", 0.61, 0.22), ("red_mug", 0.36, 0.22),
                        ("purple_ball", 0.62, -0.22), ("black_plate", 0.52, 0.03), ("yellow_mug", 0.48, -0.27))),
        Scene("shelf", (("white_cabinet", 0.20, -0.28), ("blue_basket", 0.56, 0.23), ("orange_cube", 0.43, -0.25),
                        ("pink_cylinder", 0.62, -0.22), ("green_ball", 0.36, 0.20), ("cyan_cylinder", 0.58, 0.00))),
        Scene("stand", (("white_box", 0.38, -0.02), ("cyan_ball", 0.62, 0.22), ("green_cube", 0.52, 0.02),
                        ("orange_mug", 0.38, 0.23), ("purple_plate", 0.62, -0.19), ("black_cylinder", 0.37, -0.23))),
    )
}  # fmt: skip


def _the(name: str) -> str:
    return "the " + " ".join(word for word in name.split("_") if not word.isdigit())


def move(
    suite: str, scene: Scene, item: str, to: str, sentence: str = "pick up {} and place it {} {}"
) -> Task:
    """A pick-and-place task; `sentence` takes the thing, "on" or "in", and the place."""
    inside = scene.things[to].kind in ("bowl", "basket")
    goal = In(item, to) if inside else On(item, to)
    what, where = _the(item), _the(to)
    if scene.things[to].kind == "cabinet":
        where, relation = "the cabinet", "on"
    else:
        relation = "in" if inside else "on"
    return Task(suite, scene, sentence.format(what, relation, where), goal, ((what, item), (where, to)))


def put(suite: str, scene: Scene, item: str, to: str) -> Task:
    """The same goal, said as "put … in …"."""
    return move(suite, scene, item, to, "put {} {} {}")


def put_in_drawer(suite: str, scene: Scene, item: str, cabinet: str) -> Task:
    """Needs a drawer that is open."""
    words = f"put {_the(item)} in the top drawer of the cabinet"
    mentions = ((_the(item), item), ("the top drawer of the cabinet", f"{cabinet}_handle"))
    return Task(suite, scene, words, In(item, f"{cabinet}_drawer"), mentions)


def open_drawer(suite: str, scene: Scene, cabinet: str) -> Task:
    mentions = (("the top drawer of the cabinet", f"{cabinet}_handle"),)
    return Task(suite, scene, "open the top drawer of the cabinet", Open(cabinet), mentions)


def close_drawer(suite: str, scene: Scene, cabinet: str) -> Task:
    mentions = (("the top drawer of the cabinet", f"{cabinet}_handle"),)
    return Task(suite, scene, "close the top drawer of the cabinet", Closed(cabinet), mentions)


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


SUITES: dict[str, tuple[Task, ...]] = {"tabletop_seen": _seen("tabletop_seen", SCENES)}
