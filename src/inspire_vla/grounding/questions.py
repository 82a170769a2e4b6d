"""Questions about an image: where an object is, whether it is there, and what is at a point.

Where is the red cube? → (0.42, 0.73)   answered by pointing: fractions of the image's width and height
Where is the gripper?  → (0.50, 0.18)
Is there a blue mug?   → no
What is at 4 7 2 3?    → red cube       tenths of width and height, then hundredths: (0.42, 0.73)
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from inspire_vla.grounding.images import BACKGROUND, GRIPPER, HANDLE, Images

MIN_VISIBILITY = 0.0008
"""Objects that cover less of the image (two points of 48 × 48) are not asked about."""
_NEXT_TO = 0.17
"""Largest distance, as a fraction of the image, at which an object "is next to" another."""


@dataclass(frozen=True)
class Question:
    """A question with its answer: text, or a point (u, v) to point at."""

    text: str
    answer: str = ""
    point: tuple[float, float] | None = None


def sample_questions(images: Images, row: int, rng: np.random.Generator, most: int) -> list[Question]:
    """Sample up to `most` questions about one image, in random order."""
    shown = _shown(images, row)
    phrases = _phrases(images, row, shown, rng)
    where = [Question(f"Where is {p}?", point=tuple(images.positions[row, i].tolist())) for i, p in phrases]
    rng.shuffle(where)  # type: ignore[arg-type]
    others = [*_presence(images, row, shown, rng), *_recognition(images, row, rng)]
    questions = [*where[: max(0, most - len(others))], *others]
    rng.shuffle(questions)  # type: ignore[arg-type]
    return questions[:most]


def point_words(point: np.ndarray) -> str:
    """(u, v) in [0, 1) → " 4 7 2 3"."""
    hundredths = np.clip((np.asarray(point) * 100).astype(int), 0, 99)
    return "".join(f" {digit}" for digit in (*(hundredths // 10), *(hundredths % 10)))


def kind_and_colour(name: str) -> tuple[str, str]:
    """ "red_cube_1" → ("cube", "red")."""
    colour, kind = name.split("_")[:2]
    return kind, colour


def _is_object(name: str) -> bool:
    return bool(name) and name != GRIPPER and not name.endswith(HANDLE)


def _shown(images: Images, row: int) -> list[int]:
    """Indices of what is inside the image and visible: objects, handles and the gripper."""
    positions = images.positions[row]
    inside = ((positions > 0) & (positions < 1)).all(axis=1) & (images.visibility[row] >= MIN_VISIBILITY)
    return [i for i in np.flatnonzero(inside).tolist() if images.names[row, i]]


def _phrases(
    images: Images, row: int, shown: list[int], rng: np.random.Generator
) -> Iterator[tuple[int, str]]:
    """(index, phrase) of everything that a phrase identifies uniquely in the image."""
    names = [str(name) for name in images.names[row] if name]
    objects = [kind_and_colour(name) for name in names if _is_object(name)]
    same, kinds = Counter(objects), Counter(kind for kind, _ in objects)
    for i in shown:
        name = names[i]
        if name == GRIPPER:
            yield i, "the gripper"
            continue
        if name.endswith(HANDLE):
            yield i, "the top drawer of the cabinet"
            continue
        kind, colour = kind_and_colour(name)
        if same[kind, colour] == 1:
            short = kinds[kind] == 1 and rng.random() < 0.25
            yield i, f"the {kind}" if short else f"the {colour} {kind}"
        elif (neighbour := _neighbour(images, row, shown, i)) is not None:
            near_kind, near_colour = kind_and_colour(names[neighbour])
            yield i, f"the {colour} {kind} next to the {near_colour} {near_kind}"


def _neighbour(images: Images, row: int, shown: list[int], duplicate: int) -> int | None:
    """The nearest unique object next to this one of several duplicates, and next to none of the others."""
    names, positions = images.names[row], images.positions[row]
    looks = {i: kind_and_colour(str(names[i])) for i in shown if _is_object(str(names[i]))}
    duplicates = [i for i in looks if looks[i] == looks[duplicate]]
    count = Counter(looks.values())
    best: tuple[float, int] | None = None
    for i in looks:
        if count[looks[i]] > 1:
            continue
        distances = {d: float(np.hypot(*(positions[i] - positions[d]))) for d in duplicates}
        distance = distances.pop(duplicate)
        clear = distance < _NEXT_TO and all(other > 1.6 * distance for other in distances.values())
        if clear and (best is None or distance < best[0]):
            best = distance, i
    return None if best is None else best[1]


def _presence(images: Images, row: int, shown: list[int], rng: np.random.Generator) -> Iterator[Question]:
    """One question: about an object that is there, or about its colour and another object's kind combined."""
    names = [str(name) for name in images.names[row] if name]
    present = {kind_and_colour(name) for name in names if _is_object(name)}
    visible = [i for i in shown if _is_object(names[i])]
    if not visible:
        return
    kind, colour = kind_and_colour(names[int(rng.choice(visible))])
    if rng.random() < 0.5:
        yield Question(f"Is there a {colour} {kind}?", " yes")
        return
    absent = [(k, c) for k, _ in present for _, c in present if (k, c) not in present]
    if absent:
        kind, colour = absent[int(rng.integers(len(absent)))]
        yield Question(f"Is there a {colour} {kind}?", " no")


def _recognition(images: Images, row: int, rng: np.random.Generator) -> Iterator[Question]:
    """One question: what is at a point, which is on an object four times out of five."""
    segmentation = images.segmentation[row]
    wanted = segmentation >= 0 if rng.random() < 0.8 else segmentation == BACKGROUND
    candidates = np.argwhere(wanted)
    if not len(candidates):
        return
    y, x = candidates[int(rng.integers(len(candidates)))]
    point = (np.array([x, y]) + 0.5) / np.array(segmentation.shape[::-1])
    index = int(segmentation[y, x])
    answer = " nothing"
    if index >= 0:
        kind, colour = kind_and_colour(str(images.names[row, index]))
        answer = f" {colour} {kind}"
    yield Question(f"What is at{point_words(point)}?", answer)
