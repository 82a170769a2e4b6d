"""Questions about an image: where an object is, whether it is there, and what is at a point.

Where is the red cube? → (0.42, 0.73)   answered by pointing: fractions of the image's width and height
Where is the gripper?  → (0.50, 0.18)
Is there a blue mug?   → no
What is at 4 7 2 3?    → red cube       tenths of width and height, then hundredths: (0.42, 0.73)

An object is named by its colour and kind, by its place among objects of the same name, or by its relation to another
object. Places and relations are those of the image: left is to the left in the image, front is towards the camera. The
robot has no part in them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan

import numpy as np

from inspire_vla.grounding.images import BACKGROUND, GRIPPER, HANDLE, Images

MIN_VISIBILITY = 0.0008
"""Objects that cover less of the image (two points of 48 × 48) are not asked about."""
PHRASE_KINDS = {
    "gripper": 1.0, "drawer": 1.0, "name": 4.0, "place": 4.0, "next to": 2.0, "side": 3.0, "between": 1.0,
}  # fmt: skip
"""How an object is told from the others → how often such a question is drawn, where it is possible.

gripper: "the gripper" · drawer: "the top drawer of the cabinet" · name: "the red cube", or "the cube" ·
place: "the left red cube", "the cube in the middle" · next to: "the red cube next to the bowl" ·
side: "the red cube behind the bowl" · between: "the red cube between the bowl and the blue mug".
"""
_SHORT = 0.25
"""Probability that an object which is the only one of its kind is called "the cube", without its colour."""
_RELATION_OF_UNIQUE = 0.2
"""Probability that an object which its name identifies is also asked about by its relations."""
_SIDES = {"left": -1, "right": 1, "front": 1j, "back": -1j}
"""Word → direction on the table: right + front · i."""
_RELATIONS = {"left": "to the left of", "right": "to the right of", "front": "in front of", "back": "behind"}
_AT_PLACE = {
    "left": "on the left", "right": "on the right", "front": "at the front", "back": "at the back",
    "middle": "in the middle",
}  # fmt: skip
_MARGIN_M = 0.06
"""Least distance along the word's axis between "the left cube" and the other cubes."""
_NEXT_TO_M = 0.20
"""Largest distance at which an object "is next to" another."""
_SIDE_M = (0.05, 0.35)
"""Distances at which an object is "behind" another."""
_BETWEEN_M = 0.6
"""Largest distance of two landmarks between which an object is."""
_PRESENCE = 2
"""Number of questions about presence."""


@dataclass(frozen=True)
class Question:
    """A question with its answer: text, or a point (u, v) to point at.

    `kind` is one of PHRASE_KINDS, "presence" or "recognition".
    """

    text: str
    kind: str
    answer: str = ""
    point: tuple[float, float] | None = None


def sample_questions(images: Images, row: int, rng: np.random.Generator, most: int) -> list[Question]:
    """Sample up to `most` questions about one image, in random order."""
    if most < 1:
        return []
    others = [
        *(question for _ in range(_PRESENCE) for question in _presence(images, row, rng)),
        *_recognition(images, row, rng),
    ]
    points = images.positions[row]
    where = [  # whose answer is unique, in one wording each
        Question(f"Where is {phrase}?", kind, point=tuple(points[i].tolist()))
        for i, phrase, kind in _phrases(images, row, rng)
    ]
    counts = Counter(question.kind for question in where)
    weight = np.array([PHRASE_KINDS[question.kind] / counts[question.kind] for question in where])
    drawn = min(len(where), max(0, most - len(others)))
    chosen = rng.choice(len(where), drawn, replace=False, p=weight / weight.sum()) if drawn else ()
    questions = [*(where[i] for i in chosen), *others]
    rng.shuffle(questions)  # type: ignore[arg-type]
    return questions[:most]


def point_words(point: np.ndarray) -> str:
    """(u, v) in [0, 1) → " 4 7 2 3"."""
    hundredths = np.clip((np.asarray(point) * 100).astype(int), 0, 99)
    return "".join(f" {digit}" for digit in (*(hundredths // 10), *(hundredths % 10)))


def kind_and_colour(name: str) -> tuple[str, str]:
    """ "red_cube_1" → ("cube", "red"); "_plate_1" → ("plate", "")."""
    colour, kind = name.split("_")[:2]
    return kind, colour


def noun_of(kind: str, colour: str) -> str:
    """("cube", "red") → "red cube"; ("plate", "") → "plate"."""
    return f"{colour} {kind}" if colour else kind


def _is_object(name: str) -> bool:
    return bool(name) and name != GRIPPER and not name.endswith(HANDLE)


def _shown(images: Images, row: int) -> list[int]:
    """Indices of what is inside the image and visible: objects, handles and the gripper."""
    positions = images.positions[row]
    inside = ((positions > 0) & (positions < 1)).all(axis=1) & (images.visibility[row] >= MIN_VISIBILITY)
    return [i for i in np.flatnonzero(inside).tolist() if images.names[row, i]]


def _phrases(images: Images, row: int, rng: np.random.Generator) -> Iterator[tuple[int, str, str]]:
    """(index, phrase, kind of phrase) of everything that a phrase identifies uniquely in the image."""
    shown = _shown(images, row)
    for i in shown:
        name = str(images.names[row, i])
        if name == GRIPPER:
            yield i, "the gripper", "gripper"
        elif name.endswith(HANDLE):
            yield i, "the top drawer of the cabinet", "drawer"
    groups = _groups(images, row)
    nouns: dict[int, list[str]] = {}  # of each object that a noun alone identifies
    for noun, group in groups.items():
        if len(group) == 1 and group[0] in shown:
            nouns.setdefault(group[0], []).append(noun)
    names = {i: f"the {of[-1 if rng.random() < _SHORT else 0]}" for i, of in nouns.items()}
    yield from ((i, name, "name") for i, name in names.items())

    on_table = [complex(right, front) for right, front in images.on_table[row].tolist()]
    landmarks = {i: name for i, name in names.items() if not isnan(on_table[i].real)}
    for noun, group in groups.items():
        if not set(group) <= set(shown) or any(isnan(on_table[i].real) for i in group):
            continue  # an object of this name is out of sight, or in the air
        for i in group:
            here, others = on_table[i], [on_table[other] for other in group if other != i]
            if others:
                for place, at_place in _AT_PLACE.items():
                    if is_at(place, here, others):
                        phrase = f"{place} {noun}" if rng.random() < 0.5 else f"{noun} {at_place}"
                        yield i, f"the {phrase}", "place"
            elif rng.random() >= _RELATION_OF_UNIQUE:
                continue
            around = {name: on_table[j] for j, name in landmarks.items() if j not in group}
            for phrase, kind in _relations(here, others, around):
                yield i, f"the {noun} {phrase}", kind


def _groups(images: Images, row: int) -> dict[str, list[int]]:
    """Noun, "red cube" or "cube" → indices of all objects that it describes, visible or not."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(map(str, images.names[row])):
        if _is_object(name):
            kind, colour = kind_and_colour(name)
            for noun in dict.fromkeys((noun_of(kind, colour), kind)):
                groups.setdefault(noun, []).append(i)
    return groups


def _relations(
    here: complex, others: Sequence[complex], landmarks: Mapping[str, complex]
) -> Iterator[tuple[str, str]]:
    """(phrase, kind of phrase) of each relation to a landmark that tells an object from the others of its name."""
    for name, landmark in landmarks.items():
        if is_next_to(here, others, landmark):
            yield f"next to {name}", "next to"
        for side, words in _RELATIONS.items():
            if is_beside(side, here, others, landmark):
                yield f"{words} {name}", "side"
    for (one, first), (two, second) in combinations(landmarks.items(), 2):
        if is_between(here, others, first, second):
            yield f"between {one} and {two}", "between"


# Places and relations. Points on the table are complex numbers: right + front · i, in metres, as the camera sees them.


def is_at(place: str, here: complex, others: Sequence[complex]) -> bool:
    """Whether a place (a side or "middle") tells an object from the others of its name.

    The middle of three is between the two others, along the axis on which they are further apart.
    """
    if place != "middle":
        return all(((here - other) / _SIDES[place]).real >= _MARGIN_M for other in others)
    if len(others) != 2:
        return False
    across = others[1] - others[0]
    axis = 1 if abs(across.real) > abs(across.imag) else 1j
    low, high = sorted((other / axis).real for other in others)
    return low + _MARGIN_M <= (here / axis).real <= high - _MARGIN_M


def is_next_to(here: complex, others: Sequence[complex], landmark: complex) -> bool:
    """Whether an object is next to a landmark, and the others of its name are clearly further away."""
    distance = abs(here - landmark)
    return distance <= _NEXT_TO_M and all(abs(other - landmark) >= 1.6 * distance for other in others)


def is_beside(side: str, here: complex, others: Sequence[complex], landmark: complex) -> bool:
    """Whether an object is on one side of a landmark, and the others of its name clearly are not."""

    def within(point: complex, slope: float) -> bool:
        offset = (point - landmark) / _SIDES[side]
        return offset.real > 0 and abs(offset.imag) <= slope * offset.real

    nearest, farthest = _SIDE_M
    along = ((here - landmark) / _SIDES[side]).real
    return nearest <= along <= farthest and within(here, 0.6) and not any(within(o, 1.2) for o in others)


def is_between(here: complex, others: Sequence[complex], one: complex, two: complex) -> bool:
    """Whether an object is between two landmarks, and the others of its name clearly are not."""
    length = abs(two - one)

    def within(point: complex, ends: float, width: float) -> bool:
        along = (point - one) / (two - one)  # real part: 0 at one, 1 at two
        return ends <= along.real <= 1 - ends and abs(along.imag) * length <= width

    return (
        0 < length <= _BETWEEN_M and within(here, 0.2, 0.06) and not any(within(o, 0.0, 0.12) for o in others)
    )


def _presence(images: Images, row: int, rng: np.random.Generator) -> Iterator[Question]:
    """One question: about an object that is there, or about its colour and another object's kind combined."""
    names = [str(name) for name in images.names[row] if name]
    present = {kind_and_colour(name) for name in names if _is_object(name)}
    visible = [i for i in _shown(images, row) if _is_object(names[i])]
    if not visible:
        return
    kind, colour = kind_and_colour(names[int(rng.choice(visible))])
    if rng.random() < 0.5:
        yield Question(f"Is there a {noun_of(kind, colour)}?", "presence", " yes")
        return
    absent = [(k, c) for k, _ in present for _, c in present if (k, c) not in present]
    if absent:
        kind, colour = absent[int(rng.integers(len(absent)))]
        yield Question(f"Is there a {noun_of(kind, colour)}?", "presence", " no")


def _recognition(images: Images, row: int, rng: np.random.Generator) -> Iterator[Question]:
    """One question: what is at a point, which is on an object four times out of five."""
    segmentation = images.segmentation[row]
    eligible = segmentation >= 0 if rng.random() < 0.8 else segmentation == BACKGROUND
    candidates = np.argwhere(eligible)
    if not len(candidates):
        return
    y, x = candidates[int(rng.integers(len(candidates)))]
    point = (np.array([x, y]) + 0.5) / np.array(segmentation.shape[::-1])
    index = int(segmentation[y, x])
    answer = " nothing"
    if index >= 0:
        answer = f" {noun_of(*kind_and_colour(str(images.names[row, index])))}"
    yield Question(f"What is at{point_words(point)}?", "recognition", answer)
