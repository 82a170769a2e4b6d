"""How tasks are said: each function writes the sentence, the goal and the mentions of one kind of task."""

from inspire_vla.tabletop.predicates import All, Closed, In, On, Open
from inspire_vla.tabletop.scenes import Scene
from inspire_vla.tabletop.tasks import Task

_DRAWER = "the top drawer of the cabinet"


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
    words = f"put {_the(item)} in {_DRAWER}"
    mentions = ((_the(item), item), (_DRAWER, f"{cabinet}_handle"))
    return Task(suite, scene, words, In(item, f"{cabinet}_drawer"), mentions)


def open_drawer(suite: str, scene: Scene, cabinet: str) -> Task:
    mentions = ((_DRAWER, f"{cabinet}_handle"),)
    return Task(suite, scene, f"open {_DRAWER}", Open(cabinet), mentions)


def close_drawer(suite: str, scene: Scene, cabinet: str) -> Task:
    mentions = ((_DRAWER, f"{cabinet}_handle"),)
    return Task(suite, scene, f"close {_DRAWER}", Closed(cabinet), mentions)


def beside(suite: str, scene: Scene, item: str, near: str, to: str) -> Task:
    """One of two things of the same name, told apart by what it stands next to."""
    plain = move(suite, scene, item, to)
    said = f"{_the(item)} next to {_the(near)}"
    words = plain.instruction.replace(_the(item), said, 1)
    return Task(suite, scene, words, plain.goal, ((said, item), plain.mentions[1]))


def put_both(suite: str, scene: Scene, first: str, second: str, to: str) -> Task:
    """Two things to one place."""
    one, two = put(suite, scene, first, to), put(suite, scene, second, to)
    words = two.instruction.replace("put ", f"put both {_the(first)} and ", 1)
    return Task(suite, scene, words, All((one.goal, two.goal)), (one.mentions[0], *two.mentions))


def then(first: Task, second: Task) -> Task:
    """One task after the other."""
    words = f"{first.instruction} and {second.instruction}"
    goal = All((first.goal, second.goal))
    return Task(first.suite, first.scene, words, goal, (*first.mentions, *second.mentions))


def open_and_put_in(suite: str, scene: Scene, item: str, cabinet: str) -> Task:
    words = f"open {_DRAWER} and put {_the(item)} in it"
    goal = All((Open(cabinet), In(item, f"{cabinet}_drawer")))
    return Task(suite, scene, words, goal, ((_DRAWER, f"{cabinet}_handle"), (_the(item), item)))


def put_in_and_close(suite: str, scene: Scene, item: str, cabinet: str) -> Task:
    plain = put_in_drawer(suite, scene, item, cabinet)
    goal = All((plain.goal, Closed(cabinet)))
    return Task(suite, scene, f"{plain.instruction} and close it", goal, plain.mentions)
