"""The timeline under a film: it grows with the film, a lane an object and one for the gripper.

▇▇▇▇▇▇▇▇▇▇▇│              said, one colour a word (bright where it was sure); thin beneath: the truth
▁▁▁▁▁▁▁▁▁▁▁│
    ▬▬▬▬▬▬▬│              the gripper: thin closed, thick holding
"""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import ImageDraw

from inspire_vla.reports.drawing import FAINT, INK, PAPER, Colour
from inspire_vla.reports.theme import WORDS_DARK, rgb, word_of

SAID, TRUTH, GAP, GRIP = 7, 3, 4, 6
RAIL: Colour = (36, 42, 50)


def strip_height(record: Mapping[str, Any]) -> int:
    """Pixels that the strip of this episode takes; 0 where there is nothing to draw."""
    lanes = len(record.get("mentions") or ()) * (SAID + TRUTH + GAP)
    return lanes + (GRIP + GAP if record.get("gripper") else 0)


def word_colour(word: str | None) -> Colour:
    """The colour of a word on dark ground."""
    return rgb(WORDS_DARK[word_of(word)])


def draw_strip(
    draw: ImageDraw.ImageDraw, left: int, top: int, width: int, record: Mapping[str, Any], t: int
) -> None:
    """Draw what was said and done up to step `t` of the episode, from (`left`, `top`), `width` pixels wide."""
    steps = max(1, int(record.get("steps", 0)))
    timeline, gripper = list(record.get("timeline") or ()), list(record.get("gripper") or ())

    def x(step: int) -> float:
        return left + width * min(1.0, step / steps)

    y = top
    for i, _ in enumerate(record.get("mentions") or ()):
        draw.rectangle((left, y, left + width - 1, y + SAID - 1), fill=RAIL)
        for start, stop, (_, answers, truths, confidences) in _spans(timeline, t):
            if i >= len(answers):
                continue
            sure = float(confidences[i]) if i < len(confidences) else 1.0
            said = _mixed(word_colour(answers[i]), 0.35 + 0.65 * min(1.0, max(0.0, sure)))
            _bar(draw, x(start), y, x(stop), SAID, said)
            if i < len(truths) and truths[i] is not None:
                _bar(draw, x(start), y + SAID + 1, x(stop), TRUTH - 1, word_colour(truths[i]))
        y += SAID + TRUTH + GAP
    if gripper:
        draw.line((left, y + GRIP // 2, left + width - 1, y + GRIP // 2), fill=RAIL)
        for start, stop, (_, state) in _spans(gripper, t):
            if state == "holding":
                _bar(draw, x(start), y, x(stop), GRIP, word_colour("grasped"))
            elif state == "closed":
                _bar(draw, x(start), y + 2, x(stop), GRIP - 4, FAINT)
    if strip_height(record):
        draw.line((x(t), top - 2, x(t), top + strip_height(record) - GAP), fill=INK)


def _spans(changes: Sequence[Any], t: int) -> list[tuple[int, int, Any]]:
    """(from, to, entry) of what had begun by step t; each lasts until the next, the last until t."""
    begun = [change for change in changes if change[0] <= t]
    ends = [change[0] for change in begun[1:]] + [t]
    return [(change[0], end, change) for change, end in zip(begun, ends, strict=True) if end > change[0]]


def _bar(draw: ImageDraw.ImageDraw, x0: float, y: int, x1: float, height: int, colour: Colour) -> None:
    draw.rectangle((round(x0), y, max(round(x0), round(x1) - 1), y + height - 1), fill=colour)


def _mixed(colour: Colour, part: float) -> Colour:
    red, green, blue = (round(part * c + (1 - part) * p) for c, p in zip(colour, PAPER, strict=True))
    return red, green, blue
