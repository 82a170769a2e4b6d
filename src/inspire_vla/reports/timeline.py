"""Episodes over time: what was said of each object against the truth, how surely, and how it ended.

One panel an episode, all on one scale of steps:

    the red cube   ▇▇▇▇▇▇▇▇▇▇▇▇▇▇    said, one colour a word; as high as the model was sure
                   ▁▁▁▁▁▁▁▁▁▁▁▁▁▁    the truth, in the same colours; a gap where it is not known
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from inspire_vla.errors import InspireError

LIGHT = {
    "right": "#1f7a8c", "left": "#2f5fb3", "up": "#7b4fa3", "down": "#b0326b", "front": "#c2560a", "back": "#8a6d00",
    "grasped": "#1d7f4b", "close": "#55706a", "near": "#7d9a3c", "middle": "#b08a2e", "far": "#8c5a4a",
}  # fmt: skip
DARK = {
    "right": "#58b8cc", "left": "#86abf5", "up": "#b58ae0", "down": "#ea7aac", "front": "#ff9d5c", "back": "#dcbf52",
    "grasped": "#5fcf93", "close": "#9dbdb5", "near": "#b9d673", "middle": "#e6c268", "far": "#cf9a88",
}  # fmt: skip
OTHER = "other"
WIDTH, LEFT, RIGHT = 440, 118, 12
SAID, TRUTH, GAP, HEAD, FOOT = 20, 5, 9, 40, 20
STYLE = """
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:#1c2126}
.soft{fill:#5d6873;font-size:10.5px}.title{font-weight:650}.paper{fill:#fbfbf9}.card{fill:#fff;stroke:#dfe2e4}
.rail{fill:#f1f2ef}.grid{stroke:#dfe2e4}.good{fill:#1d7f4b}.bad{fill:#c0352b}.end{font-weight:650;font-size:11.5px}
%s
@media (prefers-color-scheme:dark){text{fill:#e7eaec}.soft{fill:#98a3ad}.paper{fill:#14181c}
.card{fill:#1b2025;stroke:#303840}.rail{fill:#242b32}.grid{stroke:#303840}.good{fill:#5fcf93}.bad{fill:#ff7d72}
%s}
"""


def episode_timeline(record: Mapping[str, Any], *, steps: int | None = None) -> Markup:
    """Return an episode's panel as inline SVG.

    Args:
        record: an episode's record as a dictionary.
        steps: where the axis ends, to compare episodes; default: the episode's own length.
    """
    body, height = _panel(record, steps or int(record.get("steps", 0)) or 1)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(_title(record))}: answers over time"><style>{_style()}</style>{body}</svg>'
    )


def timelines(records: Sequence[Mapping[str, Any]], *, columns: int = 2) -> Markup:
    """Return small multiples of episodes as one SVG with its own colours, light and dark.

    Raises InspireError for no episode.
    """
    if not records:
        raise InspireError("a timeline needs at least one episode, found none.")
    columns = max(1, min(columns, len(records)))
    steps = max(int(record.get("steps", 0)) for record in records) or 1
    panels = [_panel(record, steps) for record in records]
    words = [w for w in LIGHT if any(w in _words(record) for record in records)]
    pad, top = 16, 46
    parts = [_legend(words, pad)]
    y = top
    for row in range(0, len(panels), columns):
        cells = panels[row : row + columns]
        for column, (body, _) in enumerate(cells):
            parts.append(f'<g transform="translate({pad + column * (WIDTH + pad)} {y})">{body}</g>')
        y += max(height for _, height in cells) + pad
    width = pad + columns * (WIDTH + pad)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}">'
        f'<style>{_style()}</style><rect class="paper" width="{width}" height="{y}"/>{"".join(parts)}</svg>'
    )


def write_timelines(path: str | Path, records: Sequence[Mapping[str, Any]], *, columns: int = 2) -> Path:
    """Write `timelines` as an SVG file, which a browser shows."""
    target = Path(path)
    if target.suffix != ".svg":
        raise InspireError(f"a timeline is written as .svg, found {target.name!r}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(timelines(records, columns=columns), encoding="utf-8")
    return target


def _panel(record: Mapping[str, Any], steps: int) -> tuple[str, int]:
    mentions = list(record.get("mentions") or ())
    timeline = list(record.get("timeline") or ())
    height = HEAD + max(1, len(mentions)) * (SAID + TRUTH + GAP) + FOOT
    ended = int(record.get("steps", 0))
    success = bool(record.get("success"))
    outcome = "crashed" if record.get("error") else "done" if success else "not done"
    rails = max(1, len(mentions)) * (SAID + TRUTH + GAP)
    parts = [
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        f'<text class="title" x="12" y="19">{escape(_cut(str(record.get("instruction", "")), 58))}</text>',
        f'<text class="soft" x="12" y="33">{escape(_title(record))}</text>',
        (
            f'<text class="end {"good" if success else "bad"}" x="{WIDTH - 12}" y="33" text-anchor="end">'
            f"{outcome} at {ended}</text>"
        ),
    ]
    step_of_grid = next(s for s in (5, 10, 25, 50, 100, 250, 500, 10**9) if steps / s <= 6)
    for tick in range(0, steps + 1, step_of_grid):
        x = _x(tick, steps)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD}" y2="{HEAD + rails - GAP + 3}"/>'
        )
        parts.append(f'<text class="soft" x="{x:.1f}" y="{height - 7}" text-anchor="middle">{tick}</text>')
    for i, mention in enumerate(mentions):
        parts.append(_rail(mention, i, timeline, ended, steps))
    if not mentions:
        parts.append(f'<text class="soft" x="12" y="{HEAD + 15}">acts without saying where things are</text>')
    x = _x(ended, steps)
    parts.append(
        f'<circle class="{"good" if success else "bad"}" cx="{x:.1f}" cy="{HEAD + rails - GAP + 3}" r="3.5"/>'
    )
    return "".join(parts), height


def _rail(mention: str, i: int, timeline: Sequence[Any], ended: int, steps: int) -> str:
    top = HEAD + i * (SAID + TRUTH + GAP)
    label = _cut(mention, 18)
    parts = [
        f'<text x="12" y="{top + 15}"><title>{escape(mention)}</title>{escape(label)}</text>',
        f'<rect class="rail" x="{LEFT}" y="{top}" width="{_x(ended, steps) - LEFT:.1f}" height="{SAID}"/>',
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
            f'<rect class="{_colour(answers[i])}" x="{x:.1f}" y="{top + SAID - high:.1f}" width="{width + 0.15:.2f}" '
            f'height="{high:.1f}"><title>{escape(tip)}</title></rect>'
        )
        if truth is not None:
            parts.append(
                f'<rect class="{_colour(truth)}" x="{x:.1f}" y="{top + SAID + 1.5}" width="{width + 0.15:.2f}" '
                f'height="{TRUTH}"/>'
            )
    return "".join(parts)


def _legend(words: Sequence[str], pad: int) -> str:
    parts, x = [], pad
    for word in words:
        parts.append(f'<rect class="{_colour(word)}" x="{x}" y="14" width="12" height="12" rx="3"/>')
        parts.append(f'<text x="{x + 17}" y="24">{escape(word)}</text>')
        x += 34 + 7 * len(word)
    parts.append(
        f'<text class="soft" x="{pad}" y="40">above: said, as high as it was sure; below: true</text>'
    )
    return "".join(parts)


def _style() -> Markup:
    def rules(colours: Mapping[str, str]) -> str:
        return "".join(f".w-{word}{{fill:{colour}}}" for word, colour in colours.items())

    return Markup(STYLE % (rules({**LIGHT, OTHER: "#6b7785"}), rules({**DARK, OTHER: "#93a1b0"})))


def _colour(word: str | None) -> str:
    return f"w-{word if word in LIGHT else OTHER}"


def _words(record: Mapping[str, Any]) -> set[str]:
    return {w for _, answers, truths, _ in record.get("timeline") or () for w in (*answers, *truths) if w}


def _title(record: Mapping[str, Any]) -> str:
    parts = (record.get("policy"), record.get("suite"), f"seed {record.get('seed')}")
    return " · ".join(str(part) for part in parts if part)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def _x(step: float, steps: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, step / steps)
