"""Answers over an episode's steps: one drawing for the page, for SVG files, for label figures and for videos.

the red cube   ▇▇▇▇▇▇▇▇▇▇▇▇▇▇    given answers, a colour each; the height is the confidence
               ▁▁▁▁▁▁▁▁▁▁▁▁▁▁    true answers in the same colours; a gap where the truth is unknown
gripper            ▬▬▬▬▬▬▬▬       a line: open; a bar: closed; a thick bar: holding an object
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.summary import Timeline as LabelTimeline
from inspire_vla.reports.figures import inline_svg, new_figure, pixel_axes, save, styled, tooltip
from inspire_vla.reports.lines import cut, wrap
from inspire_vla.reports.theme import ANSWERS, LIGHT, OTHER, answer_name

Record = Mapping[str, Any]
"""An episode's record as a dictionary: steps, mentions, timeline, gripper, success, error, instruction, … An optional
`frames_per_second` makes the axis count seconds instead of steps."""


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels: width of the panel and its margins, heights of the parts of a lane."""

    width: int = 440
    left: int = 118
    right: int = 12
    answer: int = 20
    truth: int = 5
    gap: int = 9
    gripper: int = 8

    @property
    def lane(self) -> int:
        return self.answer + self.truth + self.gap

    def height(self, record: Record) -> int:
        """Height of the lanes; 0 where there is nothing to draw."""
        gripper = self.gripper + self.gap if record.get("gripper") else 0
        return len(record.get("mentions") or ()) * self.lane + gripper


PAGE = Layout()
TITLE, LINE, AXIS = 40, 16, 20
"""Heights in pixels of a panel's title, of a second line in it, and of its axis."""


_STEPS = (5, 10, 25, 50, 100, 250, 500)
_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
"""What may be between two ticks of the axis."""


def draw_lanes(
    axis: Any, record: Record, steps: int, layout: Layout = PAGE, colours: Mapping[str, str] = LIGHT
) -> None:
    """Draw the lanes of a record into axes made by `pixel_axes`. The x axis ends at `steps`."""
    axis.set_xlim(0, steps)
    ended = int(record.get("steps", 0))
    timeline, gripper = list(record.get("timeline") or ()), list(record.get("gripper") or ())
    truth_top = layout.answer + min(1.5, layout.truth / 3)
    top = 0
    for i, _ in enumerate(record.get("mentions") or ()):
        _bar(axis, 0, ended, top, layout.answer, colours["band"], zorder=0)
        for start, stop, (step, answers, truths, confidences) in spans(timeline, ended):
            if i >= len(answers):
                continue
            confidence = min(1.0, max(0.0, float(confidences[i]))) if i < len(confidences) else 1.0
            truth = truths[i] if i < len(truths) else None
            text = (
                f"step {step}: {answers[i]} ({confidence:.0%})" if answers[i] else f"step {step}: no answer"
            )
            text += "" if truth is None else f", truth: {truth}"
            height = max(1.0, layout.answer * confidence)
            colour = colours["w-" + answer_name(answers[i])] if answers[i] else colours["band"]
            tooltip(_bar(axis, start, stop, top + layout.answer - height, height, colour), text)
            if truth is not None:
                _bar(axis, start, stop, top + truth_top, layout.truth, colours["w-" + answer_name(truth)])
        top += layout.lane
    for start, stop, (step, state) in spans(gripper, ended):
        height = {"open": 1.5, "holding": layout.gripper}.get(state, layout.gripper - 3)
        colour = colours["w-grasped" if state == "holding" else "soft"]
        middle = top + layout.gripper / 2
        tooltip(_bar(axis, start, stop, middle - height / 2, height, colour), f"step {step}: {state}")


def spans(changes: Sequence[Any], end: int) -> Iterator[tuple[int, int, Any]]:
    """Yield (from, to, entry): each entry, which begins with its step, lasts until the next, the last until `end`."""
    for change, stop in zip(changes, [*(change[0] for change in changes[1:]), end], strict=False):
        if change[0] < stop:
            yield change[0], stop, change


@styled
def episode_timeline(record: Record, *, steps: int | None = None) -> Markup:
    """Return an episode's lanes as inline SVG for the page. steps: where the axis ends, to compare episodes."""
    total = steps or int(record.get("steps", 0)) or 1
    figure = new_figure(PAGE.width, _panel_height(record))
    _panel(figure, record, 0, 3, total)
    ends = {"steps": total, "left": PAGE.left, "right": PAGE.width - PAGE.right}
    return inline_svg(figure, f"{_subtitle(record)}: answers over time", data=ends)


@styled
def timelines(records: Sequence[Record]) -> Figure:
    """Return small multiples of episodes, each with its instruction and outcome, on one scale of steps.

    Raises InspireError for no episode.
    """
    if not records:
        raise InspireError("A timeline needs at least one episode, found none.")
    columns = min(2, len(records))
    steps = max(int(record.get("steps", 0)) for record in records) or 1
    rows = [records[i : i + columns] for i in range(0, len(records), columns)]
    titles = [TITLE + LINE * (max(len(_instruction_lines(record)) for record in row) - 1) for row in rows]
    heights = [title + max(map(_panel_height, row)) + 16 for row, title in zip(rows, titles, strict=True)]
    figure = new_figure(16 + columns * (PAGE.width + 16), 50 + sum(heights))
    answers = answers_in(records)
    handles = [Patch(color=LIGHT[f"w-{answer}"], label=answer_label(answer)) for answer in answers]
    figure.legend(
        handles=handles, loc="upper left", ncols=max(1, len(handles)), fontsize=11, borderaxespad=0.2,
        handlelength=1, handleheight=1,
    )  # fmt: skip
    top = 50
    for row, title, height in zip(rows, titles, heights, strict=True):
        for column, record in enumerate(row):
            left = 16 + column * (PAGE.width + 16)
            _title(figure, record, left, top)
            _panel(figure, record, left, top + title, steps)
        top += height
    return figure


def write_timelines(path: str | Path, records: Sequence[Record]) -> Path:
    """Write `timelines` as a figure (SVG, PNG or PDF by the ending)."""
    return save(timelines(records), path, dark=True)


def label_record(labels: LabelTimeline) -> Record:
    """Return the labels of a dataset's episode as a record to draw: a decision wherever a label changes."""
    changes = [0, *(np.flatnonzero((labels.answers[1:] != labels.answers[:-1]).any(axis=1)) + 1).tolist()]
    ends = [*changes[1:], len(labels.answers)]
    timeline = []
    for start, end in zip(changes, ends, strict=True):
        confidences = (
            () if labels.confidence is None else tuple(labels.confidence[start:end].mean(axis=0).tolist())
        )
        timeline.append((start, tuple(map(str, labels.answers[start])), (), confidences))
    return {
        "instruction": labels.segment.instruction, "mentions": labels.mentions, "steps": len(labels.answers),
        "timeline": timeline, "frames_per_second": labels.fps, "suite": f"episode {labels.segment.episode}",
    }  # fmt: skip


def answers_in(records: Sequence[Record]) -> list[str]:
    """Return the answers with a colour of their own, given or true, in the order of the theme; OTHER for the rest."""
    names = {
        answer_name(answer)
        for record in records
        for _, answers, truths, _ in record.get("timeline") or ()
        for answer in (*answers, *truths)
        if answer
    }
    return [answer for answer in ANSWERS if answer in names]


def answer_label(answer: str) -> str:
    """Return the text of a legend."""
    return "another answer" if answer == OTHER else answer


def _panel_height(record: Record) -> int:
    return 3 + (PAGE.height(record) or PAGE.lane) + AXIS


def _panel(figure: Figure, record: Record, left: float, top: float, steps: int) -> None:
    """The lanes with their names, the axis, and the end of the episode as a dot."""
    height = PAGE.height(record) or PAGE.lane
    axis = pixel_axes(
        figure, left + PAGE.left, top, PAGE.width - PAGE.left - PAGE.right, height - PAGE.gap + 3
    )
    draw_lanes(axis, record, steps)
    axis.grid(visible=True, axis="x")
    fps = record.get("frames_per_second")
    ticks = _ticks(steps / (fps or 1), _SECONDS if fps else _STEPS)
    if fps:
        axis.set_xticks(ticks * fps, [f"{tick:g} s" for tick in ticks])
    else:
        axis.set_xticks(ticks)
    names = [*(record.get("mentions") or ()), *(["gripper"] if record.get("gripper") else [])]
    for i, name in enumerate(names):
        y = i * PAGE.lane + (PAGE.answer / 2 if name in (record.get("mentions") or ()) else PAGE.gripper / 2)
        text = axis.annotate(
            cut(name, 17), (0, y), xycoords=("axes fraction", "data"), xytext=(12 - PAGE.left, 0),
            textcoords="offset points", va="center", fontsize=12, parse_math=False,
        )  # fmt: skip
        tooltip(text, name)
    if not names:
        axis.text(0, PAGE.answer / 2, "acts without reasoning", color=LIGHT["soft"], va="center")
    colour = LIGHT["good" if record.get("success") else "bad"]
    if record.get("success") is not None:
        axis.plot(
            int(record.get("steps", 0)), height - PAGE.gap + 3, "o", color=colour, markersize=7, clip_on=False
        )


def _title(figure: Figure, record: Record, left: float, top: float) -> None:
    width, height = figure.get_size_inches() * figure.dpi
    lines = _instruction_lines(record)
    texts = [(left + 12, 12 + LINE * i, line, "left", LIGHT["ink"], "bold") for i, line in enumerate(lines)]
    below = 12 + LINE * len(lines)
    texts.append((left + 12, below, _subtitle(record), "left", LIGHT["soft"], "normal"))
    if record.get("success") is not None:
        outcome = "crashed" if record.get("error") else "success" if record["success"] else "failure"
        colour = LIGHT["good" if record["success"] else "bad"]
        end = f"{outcome} at {int(record.get('steps', 0))}"
        texts.append((left + PAGE.width - PAGE.right, below, end, "right", colour, "bold"))
    for x, y, text, side, colour, weight in texts:
        figure.text(
            x / width, 1 - (top + y) / height, text, ha=side, va="center", color=colour, fontweight=weight,
            parse_math=False,
        )  # fmt: skip


def _ticks(end: float, distances: Sequence[float]) -> NDArray[np.float64]:
    """At most seven ticks from 0 to `end`, at the first of these distances that allows it."""
    distance = next((d for d in distances if end / d <= 6), max(distances[-1], end))
    return np.array([i * distance for i in range(int(end / distance + 1e-9) + 1)], dtype=np.float64)


def _instruction_lines(record: Record) -> list[str]:
    return wrap(str(record.get("instruction", "")), 58, most=2)


def _bar(
    axis: Any, start: float, stop: float, top: float, height: float, colour: str, zorder: float = 2
) -> Any:
    (bar,) = axis.barh(
        top, stop - start, height, start, align="edge", color=colour, linewidth=0, zorder=zorder
    )
    bar.set_clip_on(False)
    return bar


def _subtitle(record: Record) -> str:
    where: list[Any] = [record.get("suite"), f"seed {record['seed']}" if "seed" in record else None]
    if (
        record.get("success") is None and "seed" in record
    ):  # recorded frames: the seed is the dataset's episode
        where = [f"episode {record['seed']} of the dataset"]
    return " · ".join(str(part) for part in (record.get("policy"), *where) if part)
