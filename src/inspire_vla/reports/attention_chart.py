"""The distribution of the attention on the objects asked about, for each policy, while it answers and while it acts.

A lane each:  a violin of the shares, their mean a dot with its 95 % interval, chance a dashed mark.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup, escape

from inspire_vla.errors import InspireError
from inspire_vla.reports.attention_share import Measurement, summarise
from inspire_vla.reports.theme import standalone

WIDTH, LEFT, RIGHT, TOP, LANE, HEAD = 380, 104, 14, 26, 46, 22
STYLE = (
    ".a-violin{stroke:none;opacity:.28}.a-mean{stroke-width:3;stroke-linecap:round}"
    ".a-chance{stroke:var(--ink);stroke-dasharray:2.5 2.5}"
    ".a-grid{stroke:var(--line)}.a-tick{fill:var(--soft);font-size:10.5px;text-anchor:middle}"
    ".a-group{font-weight:650}.a-doing{fill:var(--soft);font-size:11px}"
    + "".join(f".p{i}{{fill:var(--p{i});stroke:var(--p{i})}}" for i in range(6))
)


def share_chart(measured: Sequence[Measurement]) -> Markup:
    """Return the chart as inline SVG for a page that has `STYLE` and the variables of `theme`.

    Raises InspireError where no object can be seen.
    """
    body, height = _chart(measured)
    label = "Share of attention on the objects mentioned"
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{body}</svg>')


def write_share_chart(path: str | Path, measured: Sequence[Measurement]) -> Path:
    """Write the chart as an SVG file with its own colours."""
    target = Path(path)
    body, height = _chart(measured)
    pad = 12
    moved = f'<g transform="translate({pad} {pad})">{body}</g>'
    text = standalone(moved, WIDTH + 2 * pad, height + 2 * pad, "Share of attention", STYLE)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _chart(measured: Sequence[Measurement]) -> tuple[str, int]:
    seen = [m for m in measured if m.area > 0]
    if not seen:
        raise InspireError("no attention was measured on an object that can be seen.")
    reach = _reach(float(np.percentile([m.share for m in seen], 99.5)))
    policies = list(dict.fromkeys(m.policy for m in measured))
    rows = summarise(measured)
    parts: list[str] = []
    y = TOP
    for group in dict.fromkeys(row["group"] for row in rows):
        parts.append(f'<text class="a-group" x="6" y="{y + 13}">{escape(group)}</text>')
        y += HEAD
        for row in (r for r in rows if r["group"] == group):
            members = [
                m.share for m in seen if (m.group, m.policy, m.doing) == (group, row["policy"], row["doing"])
            ]
            parts.append(_lane(row, np.array(members), y + LANE / 2, reach, policies.index(row["policy"])))
            y += LANE
        y += 8
    ticks = "".join(_tick(share, reach, y) for share in np.linspace(0, reach, 5))
    return ticks + "".join(parts), y + 4


def _lane(row: dict, shares: np.ndarray, y: float, reach: float, policy: int) -> str:
    def x(share: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share / reach))

    at = np.linspace(0, reach, 72)
    high = _density(shares, at) * 0.42 * LANE
    upper = [f"{x(a):.1f},{y - h:.1f}" for a, h in zip(at, high, strict=True)]
    lower = [f"{x(a):.1f},{y + h:.1f}" for a, h in zip(at[::-1], high[::-1], strict=True)]
    tip = (
        f"{row['policy']} {row['doing']}, {row['group']}: mean {row['mean']:.1%} "
        f"[{row['low']:.1%}, {row['high']:.1%}], "
        f"median {row['share_50']:.1%}, by chance {row['chance']:.1%}, n = {row['n']} of {row['tasks']} tasks"
    )
    chance = x(row["chance"])
    return (
        f'<text x="6" y="{y - 1:.1f}">{escape(row["policy"])}</text>'
        f'<text class="a-doing" x="6" y="{y + 12:.1f}">{escape(row["doing"])}</text>'
        f'<g class="p{policy % 6}"><title>{escape(tip)}</title>'
        f'<polygon class="a-violin" points="{" ".join(upper + lower)}"/>'
        f'<line class="a-mean" x1="{x(row["low"]):.1f}" x2="{x(row["high"]):.1f}" y1="{y}" y2="{y}"/>'
        f'<circle cx="{x(row["mean"]):.1f}" cy="{y}" r="4.5"/></g>'
        f'<line class="a-chance" x1="{chance:.1f}" x2="{chance:.1f}" y1="{y - 15:.1f}" y2="{y + 15:.1f}"/>'
    )


def _density(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A Gaussian density of `values` ≥ 0 at the places `at`, mirrored at 0, scaled to a greatest value of 1."""
    spread = min(values.std(), (np.percentile(values, 75) - np.percentile(values, 25)) / 1.34) or values.std()
    width = max(0.9 * spread * len(values) ** -0.2, at[-1] / 200)
    both = np.concatenate([values, -values])
    heights = np.exp(-0.5 * ((at[:, None] - both) / width) ** 2).sum(1)
    return heights / heights.max()


def _reach(largest: float) -> float:
    """Where the axis ends: the next round number."""
    return next(r for r in (0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8, 1.0) if r >= min(1.0, largest))


def _tick(share: float, reach: float, bottom: float) -> str:
    x = LEFT + (WIDTH - LEFT - RIGHT) * share / reach
    return (
        f'<line class="a-grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom - 4:.0f}"/>'
        f'<text class="a-tick" x="{x:.1f}" y="{TOP - 12}">{100 * share:.0f} %</text>'
    )
