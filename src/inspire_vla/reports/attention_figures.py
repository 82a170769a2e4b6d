"""Figures of attention: examples side by side, as in the paper's figure 4; shares on the objects; pointing tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from inspire_vla.errors import InspireError, counted
from inspire_vla.reports.attention import TILE, Example, Measurement, summarise
from inspire_vla.reports.attention_overlay import heat_colours
from inspire_vla.reports.figures import (
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    draw_estimate,
    new_figure,
    pixel_axes,
    policy_colour,
    styled,
    tooltip,
)
from inspire_vla.reports.lines import wrap
from inspire_vla.reports.theme import LIGHT

GAP, MARGIN, HEAD, LINE, CAPTION = 12, 24, 34, 22, 62
LANE, GROUP = 46, 22
"""Heights of a lane and of a group's name in the share chart, in pixels."""


@styled
def examples_figure(examples: Sequence[Example], policies: Sequence[str] = ()) -> Figure:
    """Draw a row of tiles for each example. `policies`: in the order of their colours.

    Raises InspireError without examples.
    """
    if not examples:
        raise InspireError("A figure needs at least one example, found none.")
    columns = max(len(example.tiles) for example in examples)
    width = 2 * MARGIN + columns * (TILE + GAP) - GAP
    wheres = [f"{example.suite}, seed {example.seed}" for example in examples]
    titles = [
        wrap(example.instruction, max(20, (width - 2 * MARGIN - 7 * len(where)) // 9), most=2)
        for example, where in zip(examples, wheres, strict=True)
    ]
    height = len(examples) * (HEAD + TILE + CAPTION + GAP) + LINE * sum(len(title) - 1 for title in titles)
    figure = new_figure(width, 2 * MARGIN + height + 26)
    whole = pixel_axes(figure, MARGIN, MARGIN, width - 2 * MARGIN, height + 26)
    whole.set(xlim=(0, width - 2 * MARGIN), xticks=[])
    top = 0
    for example, where, title in zip(examples, wheres, titles, strict=True):
        for i, words in enumerate(title):
            whole.text(0, top + 14 + LINE * i, words, va="center", fontsize=17, parse_math=False)
        whole.text(width - 2 * MARGIN, top + 14, where, ha="right", va="center", color=LIGHT["soft"])
        top += LINE * (len(title) - 1)
        for i, tile in enumerate(example.tiles):
            left = i * (TILE + GAP)
            _image(figure, np.asarray(tile.image.convert("RGB")), MARGIN + left, MARGIN + top + HEAD)
            y = top + HEAD + TILE + 14
            if tile.policy:
                number = list(policies).index(tile.policy) if tile.policy in policies else 0
                whole.plot(left + 5, y, "o", color=policy_colour(number), markersize=10)
            head = f"{tile.policy}, {tile.doing}" if tile.policy else tile.doing
            whole.text(left + (16 if tile.policy else 0), y, head, va="center", fontsize=13, parse_math=False)
            for line, text in enumerate(filter(None, (tile.about, tile.numbers))):
                y_text = y + 18 + 17 * line
                whole.text(
                    left, y_text, text, va="center", fontsize=11.5, color=LIGHT["soft"], parse_math=False
                )
        top += HEAD + TILE + CAPTION + GAP
    ramp = pixel_axes(figure, MARGIN, MARGIN + height + 6, 160, 10)
    ramp.imshow(heat_colours(np.linspace(0, 1, 160))[None], aspect="auto", extent=(0, 160, 10, 0))
    ramp.set_axis_off()
    key = "attention above the image's mean, up to the image's maximum"
    whole.text(170, height + 11, key, va="center", color=LIGHT["soft"])
    return figure


@styled
def share_chart(measured: Sequence[Measurement]) -> Figure:
    """Draw the distribution of shares: a lane for each policy while answering and acting, in each group.

    A lane has a violin, the mean as a dot with its 95 % interval, and chance as a dashed mark.

    Raises InspireError if no object is visible.
    """
    visible = [m for m in measured if m.area > 0]
    if not visible:
        raise InspireError("No attention was measured on a visible object.")
    largest = float(np.percentile([m.share for m in visible], 99.5))
    reach = next(r for r in (0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8, 1.0) if r >= min(1.0, largest))
    policies = list(dict.fromkeys(m.policy for m in measured))
    rows = summarise(measured)
    groups = list(dict.fromkeys(row["group"] for row in rows))
    height = len(rows) * LANE + len(groups) * (GROUP + 8)
    figure = new_figure(WIDTH, TOP + height + 4)
    axis = pixel_axes(figure, LEFT, TOP, WIDTH - LEFT - RIGHT, height)
    axis.xaxis.tick_top()
    axis.grid(visible=True, axis="x")
    axis.set(xlim=(0, reach), xticks=np.linspace(0, reach, 5))
    axis.set_xticklabels([f"{100 * tick:.0f} %" for tick in axis.get_xticks()])
    y = 0.0
    for group in groups:
        _name(axis, group, y + 9, fontweight="bold")
        y += GROUP
        for row in (row for row in rows if row["group"] == group):
            key = (group, row["policy"], row["doing"])
            shares = [m.share for m in visible if (m.group, m.policy, m.doing) == key]
            _lane(axis, row, np.array(shares), y + LANE / 2, policy_colour(policies.index(row["policy"])))
            y += LANE
        y += 8
    return figure


def _lane(axis: Any, row: dict[str, Any], shares: np.ndarray, y: float, colour: str) -> None:
    mean, low, high, median, chance = (f"{row[k]:.1%}" for k in ("mean", "low", "high", "share_50", "chance"))
    text = (
        f"{row['policy']} {row['doing']}, {row['group']}: mean {mean} [{low}, {high}], median {median}, "
        f"by chance {chance}, n = {row['n']} of {counted(row['tasks'], 'task')}"
    )
    if np.ptp(shares) > 0:
        drawn = axis.violinplot(shares, [y], orientation="horizontal", widths=0.84 * LANE, showextrema=False)
        for violin in drawn["bodies"]:
            violin.set(facecolor=colour, edgecolor="none", alpha=0.28)
            tooltip(violin, text)
    draw_estimate(axis, y, [row[key] for key in ("mean", "low", "high")], colour, text)
    axis.plot([row["chance"]] * 2, [y - 15, y + 15], color=LIGHT["ink"], linewidth=1, dashes=(2.5, 2.5))
    _name(axis, row["policy"], y - 5)
    _name(axis, row["doing"], y + 8, color=LIGHT["soft"], fontsize=11)


def _name(axis: Any, text: str, y: float, **style: Any) -> None:
    """Write a name beside the axes."""
    axis.annotate(
        text, (0, y), xycoords=("axes fraction", "data"), xytext=(6 - LEFT, 0), textcoords="offset points",
        va="center", parse_math=False, **{"fontsize": 12, **style},
    )  # fmt: skip


@dataclass(frozen=True)
class Pointing:
    """A question about an image; the predicted place and the true one, as shares of the sides from left and top."""

    pixels: UInt8[np.ndarray, "height width 3"]
    question: str
    predicted: tuple[float, float]
    true: tuple[float, float]


@styled
def pointing_figure(answers: Sequence[Pointing], near: float) -> Figure:
    """Draw images with a cross at the predicted place and a ring around the true one, green if found, else red.

    Args:
        near: radius of the ring, as a share of the image's side: within it the object counts as found.

    Raises InspireError without answers.
    """
    if not answers:
        raise InspireError("A figure of pointing needs at least one answer, found none.")
    side, columns = 224, min(4, len(answers))
    rows = math.ceil(len(answers) / columns)
    questions = [wrap(answer.question, side // 7) for answer in answers]
    height = side + 10 + 16 * max(map(len, questions))
    size = (2 * MARGIN + columns * (side + GAP) - GAP, 2 * MARGIN + rows * (height + GAP) - GAP)
    figure = new_figure(*size)
    for i, answer in enumerate(answers):
        row, column = divmod(i, columns)
        left, top = MARGIN + column * (side + GAP), MARGIN + row * (height + GAP)
        axis = _image(figure, answer.pixels, left, top, side)
        hit = math.dist(answer.predicted, answer.true) < near
        x, y = (side * share for share in answer.predicted)
        centre = side * answer.true[0], side * answer.true[1]
        for colour, width in (("#ffffff", 4), (LIGHT["good" if hit else "bad"], 2)):  # visible on any image
            axis.add_patch(Circle(centre, side * near, fill=False, ec=colour, lw=width))
            axis.plot([x - 8, x + 8], [y, y], color=colour, linewidth=width)
            axis.plot([x, x], [y - 8, y + 8], color=colour, linewidth=width)
        question = "\n".join(questions[i])
        axis.text(0, side + 6, question, va="top", fontsize=12, parse_math=False, clip_on=False)
    return figure


def _image(figure: Figure, pixels: np.ndarray, left: float, top: float, side: float = TILE) -> Any:
    """Show an image; the axes count pixels of the figure from its top left corner."""
    axis = pixel_axes(figure, left, top, side, side)
    axis.imshow(pixels, extent=(0, side, side, 0), interpolation="antialiased")
    axis.set(xlim=(0, side), ylim=(side, 0), xticks=[])
    axis.add_patch(Rectangle((0, 0), side, side, fill=False, ec=LIGHT["line"], lw=0.5))
    return axis
