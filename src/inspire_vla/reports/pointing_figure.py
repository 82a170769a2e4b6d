"""Where a pre-trained backbone points when it is asked where things are, on images it has not learned from.

A tile a question: a cross where it points, a ring around what it was asked for, as wide as what counts as found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from inspire_vla.errors import InspireError
from inspire_vla.reports.drawing import FALSE, TRUE, fit, font
from inspire_vla.reports.theme import LIGHT, rgb

TILE, GAP, MARGIN, CAPTION, COLUMNS = 224, 12, 20, 26, 4
INK, PAPER = rgb(LIGHT["ink"]), rgb(LIGHT["paper"])


@dataclass(frozen=True)
class Pointed:
    """A question on an image; where was pointed and where it is, shares of the sides from left and top."""

    pixels: UInt8[np.ndarray, "height width 3"]
    question: str
    pointed: tuple[float, float]
    true: tuple[float, float]


def draw_pointing(answers: Sequence[Pointed], near: float) -> Image.Image:
    """The tiles in rows of four, on light paper.

    Args:
        near: radius of the ring, share of the image's side; a cross within it is green, another red.

    Raises InspireError for no answer.
    """
    if not answers:
        raise InspireError("a figure of pointing needs at least one answer, found none.")
    columns, rows = min(COLUMNS, len(answers)), math.ceil(len(answers) / COLUMNS)
    size = (
        2 * MARGIN + columns * (TILE + GAP) - GAP,
        2 * MARGIN + rows * (TILE + CAPTION + GAP) - GAP,
    )
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, answer in enumerate(answers):
        row, column = divmod(i, COLUMNS)
        x, y = MARGIN + column * (TILE + GAP), MARGIN + row * (TILE + CAPTION + GAP)
        canvas.paste(_tile(answer, near), (x, y))
        draw.text((x, y + TILE + 5), fit(draw, answer.question, 14, TILE), INK, font(14))
    return canvas


def _tile(answer: Pointed, near: float) -> Image.Image:
    image = Image.fromarray(answer.pixels).resize((TILE, TILE), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    found = math.dist(answer.pointed, answer.true) < near
    (u, v), (x, y) = ((TILE * p for p in place) for place in (answer.true, answer.pointed))
    ring, arm = near * TILE, 8
    for colour, width in (((255, 255, 255), 4), (TRUE if found else FALSE, 2)):  # to be seen on any ground
        draw.ellipse((u - ring, v - ring, u + ring, v + ring), outline=colour, width=width)
        draw.line((x - arm, y, x + arm, y), colour, width)
        draw.line((x, y - arm, x, y + arm), colour, width)
    return image
