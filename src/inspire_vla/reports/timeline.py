"""Episodes over time: what was said of each object against the truth, how surely, the gripper, and how it ended.

One panel an episode, all on one scale of steps:

    the red cube   ▇▇▇▇▇▇▇▇▇▇▇▇▇▇    said, one colour a word; as high as the model was sure
                   ▁▁▁▁▁▁▁▁▁▁▁▁▁▁    the truth, in the same colours; a gap where it is not known
    gripper            ▬▬▬▬▬▬▬▬       a line while open, a bar while closed, full while it holds an object
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from inspire_vla.errors import InspireError
from inspire_vla.reports.theme import OTHER, WORDS_LIGHT, standalone, word_of

WIDTH, LEFT, RIGHT = 440, 118, 12
SAID, TRUTH, GAP, GRIP, HEAD, FOOT = 20, 5, 9, 8, 40, 20
RAIL = SAID + TRUTH + GAP
STYLE = (
    ".t-soft{fill:var(--soft);font-size:10.5px}.t-title{font-weight:650}.t-card{fill:var(--card);stroke:var(--line)}"
    ".t-rail{fill:var(--band)}.t-grid{stroke:var(--line)}.t-good{fill:var(--good)}.t-bad{fill:var(--bad)}"
    ".t-end{font-weight:650;font-size:11.5px}.t-open{stroke:var(--soft);stroke-width:1.5}.t-closed{fill:var(--soft)}"
    ".t-holding{fill:var(--w-grasped)}.t-now{stroke:var(--ink);stroke-width:1.5}"
    + "".join(f".w-{word}{{fill:var(--w-{word})}}" for word in WORDS_LIGHT)
)
"""CSS of a panel, beside the variables of `theme`."""
Record = Mapping[str, Any]


def episode_timeline(record: Record, *, steps: int | None = None, titled: bool = True) -> Markup:
    """Return an episode's panel as inline SVG for a page that has `STYLE` and the variables of `theme`.

    Args:
        record: an episode's record as a dictionary.
        steps: where the axis ends, to compare episodes; default: the episode's own length.
        titled: with instruction, policy and outcome above, in a frame; without where they stand beside it.
    """
    total = steps or int(record.get("steps", 0)) or 1
    body, height = _panel(record, total, titled)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'data-steps="{total}" '
        f'data-left="{LEFT}" data-right="{WIDTH - RIGHT}" '
        f'aria-label="{escape(_title(record))}: answers over time">{body}</svg>'
    )


def timelines(records: Sequence[Record], *, columns: int = 2) -> Markup:
    """Return small multiples of episodes as one SVG with its own colours, light and dark.

    Raises InspireError for no episode.
    """
    if not records:
        raise InspireError("a timeline needs at least one episode, found none.")
    columns = max(1, min(columns, len(records)))
    steps = max(int(record.get("steps", 0)) for record in records) or 1
    panels = [_panel(record, steps, True) for record in records]
    pad, top = 16, 46
    parts = [_legend(words_in(records), pad)]
    y = top
    for row in range(0, len(panels), columns):
        cells = panels[row : row + columns]
        for column, (body, _) in enumerate(cells):
            parts.append(f'<g transform="translate({pad + column * (WIDTH + pad)} {y})">{body}</g>')
        y += max(height for _, height in cells) + pad
    return standalone("".join(parts), pad + columns * (WIDTH + pad), y, "Answers over time", STYLE)


def write_timelines(path: str | Path, records: Sequence[Record], *, columns: int = 2) -> Path:
    """Write `timelines` as an SVG file, which a browser shows."""
    target = Path(path)
    if target.suffix != ".svg":
        raise InspireError(f"a timeline is written as .svg, found {target.name!r}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(timelines(records, columns=columns), encoding="utf-8")
    return target


def words_in(records: Sequence[Record]) -> list[str]:
    """The words with a colour of their own that were said or true, in the order of the theme; "other" for the rest."""
    found = {
        word_of(word)
        for record in records
        for _, answers, truths, _ in record.get("timeline") or ()
        for word in (*answers, *truths)
        if word
    }
    return [word for word in WORDS_LIGHT if word in found]


def _panel(record: Record, steps: int, titled: bool) -> tuple[str, int]:
    mentions = list(record.get("mentions") or ())
    timeline, gripper = list(record.get("timeline") or ()), list(record.get("gripper") or ())
    ended = int(record.get("steps", 0))
    success = bool(record.get("success"))
    head = HEAD if titled else 3
    rails = len(mentions) * RAIL + (GRIP + GAP if gripper else 0)
    if not rails:
        rails = RAIL
    height, bottom = head + rails + FOOT, head + rails - GAP + 3
    parts = _heading(record, height, success, ended) if titled else []
    step_of_grid = next(s for s in (5, 10, 25, 50, 100, 250, 500, 10**9) if steps / s <= 6)
    for tick in range(0, steps + 1, step_of_grid):
        x = _x(tick, steps)
        parts.append(f'<line class="t-grid" x1="{x:.1f}" x2="{x:.1f}" y1="{head}" y2="{bottom}"/>')
        parts.append(f'<text class="t-soft" x="{x:.1f}" y="{height - 7}" text-anchor="middle">{tick}</text>')
    for i, mention in enumerate(mentions):
        parts.append(_rail(mention, i, head + i * RAIL, timeline, ended, steps))
    if gripper:
        parts.append(_gripper(gripper, head + len(mentions) * RAIL, ended, steps))
    elif not mentions:
        parts.append(
            f'<text class="t-soft" x="12" y="{head + 15}">acts without saying where things are</text>'
        )
    mark = f'cx="{_x(ended, steps):.1f}" cy="{bottom}" r="3.5"'
    parts.append(f'<circle class="{"t-good" if success else "t-bad"}" {mark}/>')
    return "".join(parts), height


def _heading(record: Record, height: int, success: bool, ended: int) -> list[str]:
    outcome = "crashed" if record.get("error") else "done" if success else "not done"
    return [
        f'<rect class="t-card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        f'<text class="t-title" x="12" y="19">{escape(_cut(str(record.get("instruction", "")), 58))}</text>',
        f'<text class="t-soft" x="12" y="33">{escape(_title(record))}</text>',
        (
            f'<text class="t-end {"t-good" if success else "t-bad"}" x="{WIDTH - 12}" y="33" text-anchor="end">'
            f"{outcome} at {ended}</text>"
        ),
    ]


def _rail(mention: str, i: int, top: int, timeline: Sequence[Any], ended: int, steps: int) -> str:
    parts = [
        _name(mention, top + 15),
        f'<rect class="t-rail" x="{LEFT}" y="{top}" width="{_x(ended, steps) - LEFT:.1f}" height="{SAID}"/>',
    ]
    for k, (step, answers, truths, confidences) in enumerate(timeline):
        if i >= len(answers):
            continue
        until = timeline[k + 1][0] if k + 1 < len(timeline) else ended
        x, width = _x(step, steps), max(0.8, _x(until, steps) - _x(step, steps))
        sure = min(1.0, max(0.0, float(confidences[i]))) if i < len(confidences) else 1.0
        truth = truths[i] if i < len(truths) else None
        tip = f"step {step}: {answers[i]} ({sure:.0%})" + (f", truth: {truth}" if truth is not None else "")
        high = max(1.0, SAID * sure)
        parts.append(
            f'<rect class="w-{word_of(answers[i])}" x="{x:.1f}" y="{top + SAID - high:.1f}" '
            f'width="{width + 0.15:.2f}" height="{high:.1f}"><title>{escape(tip)}</title></rect>'
        )
        if truth is not None:
            parts.append(
                f'<rect class="w-{word_of(truth)}" x="{x:.1f}" y="{top + SAID + 1.5}" width="{width + 0.15:.2f}" '
                f'height="{TRUTH}"/>'
            )
    return "".join(parts)


def _gripper(changes: Sequence[Any], top: int, ended: int, steps: int) -> str:
    parts = [_name("gripper", top + 9)]
    middle = top + GRIP / 2
    for (step, state), until in zip(changes, [*(c[0] for c in changes[1:]), ended], strict=True):
        x, end = _x(step, steps), _x(until, steps)
        tip = f"<title>{escape(f'step {step}: {state}')}</title>"
        if state == "open":
            ends = f'x1="{x:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"'
            parts.append(f'<line class="t-open" {ends}>{tip}</line>')
        else:
            kind = "holding" if state == "holding" else "closed"
            high = GRIP if kind == "holding" else GRIP - 3
            parts.append(
                f'<rect class="t-{kind}" x="{x:.1f}" y="{middle - high / 2}" width="{max(0.8, end - x):.1f}" '
                f'height="{high}" rx="1.5">{tip}</rect>'
            )
    return "".join(parts)


def _legend(words: Sequence[str], pad: int) -> str:
    parts, x = [], pad
    for word in words:
        parts.append(f'<rect class="w-{word}" x="{x}" y="14" width="12" height="12" rx="3"/>')
        parts.append(f'<text x="{x + 17}" y="24">{escape("another word" if word == OTHER else word)}</text>')
        x += 34 + 7 * len(word)
    said = (
        "above: said, as high as it was sure; below: true. Gripper: a line open, a bar closed, full: it holds"
    )
    parts.append(f'<text class="t-soft" x="{pad}" y="40">{said}</text>')
    return "".join(parts)


def _name(text: str, y: float) -> str:
    return f'<text x="12" y="{y}"><title>{escape(text)}</title>{escape(_cut(text, 18))}</text>'


def _title(record: Record) -> str:
    parts = (record.get("policy"), record.get("suite"), f"seed {record.get('seed')}")
    return " · ".join(str(part) for part in parts if part)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def _x(step: float, steps: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, step / steps)
