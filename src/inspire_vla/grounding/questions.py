"""Questions on an image, and their answers: what things are called, whether they are there, where they stand in it.

Where is the red cube? ☞ (0.42, 0.73)   answered by pointing: shares of the image's width and height
Where is the gripper? ☞ (0.50, 0.18)
Is there a blue mug? no
What is at 4 7 2 3? red cube            tenths of width and height, then hundredths: (0.42, 0.73)
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from inspire_vla.grounding.images import GRIPPER, HANDLE, NOTHING, Images

LEAST_VISIBLE = 0.0008
"""A thing that takes less of the image (two points of 48 × 48) is not asked about."""
_BESIDE = 0.17
"""In shares of the image: of two alike, the nearer one to another thing "is next to" it if nearer than this."""


@dataclass(frozen=True)
class Exchange:
    """One question and its answer: words, or a place to point at (from the left, from the top)."""

    question: str
    answer: str = ""
    place: tuple[float, float] | None = None


def exchanges(images: Images, row: int, rng: np.random.Generator, most: int) -> list[Exchange]:
    """Draw up to `most` questions on an image, in random order."""
    shown = _shown(images, row)
    named = _phrases(images, row, shown, rng)
    asked = [Exchange(f"Where is {name}?", place=tuple(images.places[row, i].tolist())) for i, name in named]
    rng.shuffle(asked)  # type: ignore[arg-type]
    others = [*_presence(images, row, shown, rng), *_naming(images, row, rng)]
    drawn = [*asked[: max(0, most - len(others))], *others]
    rng.shuffle(drawn)  # type: ignore[arg-type]
    return drawn[:most]


def place_words(place: np.ndarray) -> str:
    """(u, v) in [0, 1) → " 4 7 2 3"."""
    hundredths = np.clip((np.asarray(place) * 100).astype(int), 0, 99)
    return "".join(f" {digit}" for digit in (*(hundredths // 10), *(hundredths % 10)))


def kind_and_colour(name: str) -> tuple[str, str]:
    """ "red_cube_1" → ("cube", "red")."""
    colour, kind = name.split("_")[:2]
    return kind, colour


def _shown(images: Images, row: int) -> list[int]:
    """Numbers of the things whose point is in the image and of which something is to be seen."""
    places = images.places[row]
    inside = ((places > 0) & (places < 1)).all(axis=1) & (images.visible[row] >= LEAST_VISIBLE)
    return [i for i in np.flatnonzero(inside).tolist() if images.names[row, i]]


def _phrases(
    images: Images, row: int, shown: list[int], rng: np.random.Generator
) -> Iterator[tuple[int, str]]:
    """(number, what it is called) of the things that a phrase picks out among all of the image's."""
    names = [str(name) for name in images.names[row] if name]
    things = [name for name in names if name != GRIPPER and not name.endswith(HANDLE)]
    alike = Counter(kind_and_colour(name) for name in things)
    kinds = Counter(kind for kind, _ in map(kind_and_colour, things))
    for i in shown:
        name = names[i]
        if name == GRIPPER:
            yield i, "the gripper"
            continue
        if name.endswith(HANDLE):
            yield i, "the top drawer of the cabinet"
            continue
        kind, colour = kind_and_colour(name)
        if alike[kind, colour] == 1:
            short = kinds[kind] == 1 and rng.random() < 0.25
            yield i, f"the {kind}" if short else f"the {colour} {kind}"
        elif (neighbour := _neighbour(images, row, shown, i)) is not None:
            near_kind, near_colour = kind_and_colour(names[neighbour])
            yield i, f"the {colour} {kind} next to the {near_colour} {near_kind}"


def _neighbour(images: Images, row: int, shown: list[int], twin: int) -> int | None:
    """A thing that stands beside this one of several alike, and beside no other of them."""
    names, places = images.names[row], images.places[row]
    alike = kind_and_colour(str(names[twin]))
    things = [i for i in shown if names[i] != GRIPPER and not str(names[i]).endswith(HANDLE)]
    twins = [i for i in things if kind_and_colour(str(names[i])) == alike]
    others = Counter(kind_and_colour(str(names[i])) for i in things)
    best: tuple[float, int] | None = None
    for i in things:
        if others[kind_and_colour(str(names[i]))] > 1:
            continue
        distances = {t: float(np.hypot(*(places[i] - places[t]))) for t in twins}
        own = distances.pop(twin)
        clear = own < _BESIDE and all(d > 1.6 * own for d in distances.values())
        if clear and (best is None or own < best[0]):
            best = own, i
    return None if best is None else best[1]


def _presence(images: Images, row: int, shown: list[int], rng: np.random.Generator) -> Iterator[Exchange]:
    """One question: of a thing that is there, or of one half of which is (its colour, its kind)."""
    names = [str(name) for name in images.names[row] if name]
    there = {kind_and_colour(name) for name in names if name != GRIPPER and not name.endswith(HANDLE)}
    seen = [i for i in shown if names[i] != GRIPPER and not names[i].endswith(HANDLE)]
    if not seen:
        return
    kind, colour = kind_and_colour(names[int(rng.choice(seen))])
    if rng.random() < 0.5:
        yield Exchange(f"Is there a {colour} {kind}?", " yes")
        return
    mixed = [(k, c) for k, _ in there for _, c in there if (k, c) not in there]
    if mixed:
        kind, colour = mixed[int(rng.integers(len(mixed)))]
        yield Exchange(f"Is there a {colour} {kind}?", " no")


def _naming(images: Images, row: int, rng: np.random.Generator) -> Iterator[Exchange]:
    """One question: what is at a point of the image, a thing four times of five."""
    owners = images.owners[row]
    wanted = owners >= 0 if rng.random() < 0.8 else owners == NOTHING
    points = np.argwhere(wanted)
    if not len(points):
        return
    y, x = points[int(rng.integers(len(points)))]
    place = (np.array([x, y]) + 0.5) / np.array(owners.shape[::-1])
    owner = int(owners[y, x])
    answer = " nothing"
    if owner >= 0:
        kind, colour = kind_and_colour(str(images.names[row, owner]))
        answer = f" {colour} {kind}"
    yield Exchange(f"What is at{place_words(place)}?", answer)
