"""The two charts of the page, as inline SVG: success with intervals, and the paired difference.

Drawn 380 units wide, so that a phone shows them at their own size; colours are the page's variables.
"""

from typing import Any

from markupsafe import Markup, escape

from inspire_vla.reports.numbers import percent, points
from inspire_vla.reports.table import short

WIDTH, LEFT, RIGHT = 380, 118, 14
TOP, STEP = 26, 17


def success_chart(comparison: dict[str, Any]) -> Markup:
    """A dot and its interval for each policy, for each suite and group, on 0 to 100 %."""
    rows = _rows(comparison)
    policies = [policy["name"] for policy in comparison["policies"]]
    bands: list[str] = []
    parts: list[str] = []
    y = TOP
    for label, row, strong in rows:
        height = STEP * len(policies) + 10
        if strong:
            bands.append(f'<rect class="band" x="0" y="{y - 4}" width="{WIDTH}" height="{height}"/>')
        parts.append(_label(label, y + height / 2 - 3, strong))
        for i, rate in enumerate(row["rates"]):
            if rate is None or not rate["n"]:
                continue
            yy = y + STEP * i + STEP / 2
            title = f"{policies[i]}, {label}: {percent(rate['rate'])} of {rate['n']}"
            parts.append(_dot(_x(rate["rate"]), _x(rate["low"]), _x(rate["high"]), yy, f"p{i % 6}", title))
        y += height
    grid = "".join(_gridline(_x(v / 100), y, f"{v}") for v in (0, 25, 50, 75, 100))
    return _svg("".join(bands) + grid + "".join(parts), y, "Success in percent, with 95 % intervals")


def difference_chart(comparison: dict[str, Any]) -> Markup | None:
    """The paired difference to the first policy in points, with its interval; None for a single policy."""
    rows = _rows(comparison)
    pairs = [p for _, row, _ in rows for p in row["paired"] if p is not None]
    if not pairs:
        return None
    names = [policy["name"] for policy in comparison["policies"]]
    reach = next(
        r
        for r in (0.1, 0.2, 0.4, 0.6, 1.0)
        if r >= min(1, max(abs(v) for p in pairs for v in (p["low"], p["high"])))
    )

    def x(difference: float) -> float:
        return _x((max(-reach, min(reach, difference)) + reach) / (2 * reach))

    bands: list[str] = []
    parts: list[str] = []
    y = TOP
    for label, row, strong in rows:
        height = STEP * len(names) + 10  # as high as the other chart's rows, so that they line up
        if strong:
            bands.append(f'<rect class="band" x="0" y="{y - 4}" width="{WIDTH}" height="{height}"/>')
        parts.append(_label(label, y + height / 2 - 3, strong))
        for i, pair in enumerate(row["paired"]):
            if pair is None:
                continue
            yy = y + height / 2 - 5 if len(names) == 2 else y + STEP * i + STEP / 2
            title = (
                f"{names[i]} − {names[0]}, {label}: {points(pair['difference'])} points, {pair['n']} pairs"
            )
            parts.append(_dot(x(pair["difference"]), x(pair["low"]), x(pair["high"]), yy, f"p{i % 6}", title))
        y += height
    marks = (-reach, -reach / 2, 0.0, reach / 2, reach)
    grid = "".join(_gridline(x(v), y, points(v, 0) if v else "0", zero=not v) for v in marks)
    return _svg(
        "".join(bands) + grid + "".join(parts), y, f"Difference to {names[0]} in points, with 95 % intervals"
    )


def _rows(comparison: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
    """(label, row, is it a group?), each group before its suites; a group of one suite stands alone."""
    rows = []
    for group in comparison["groups"]:
        rows.append((group["group"], group, True))
        if len(group["suites"]) > 1:
            rows += [
                (short(s["suite"]), s, False) for s in comparison["suites"] if s["suite"] in group["suites"]
            ]
    return rows


def _x(fraction: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * fraction


def _dot(x: float, low: float, high: float, y: float, colour: str, title: str) -> str:
    return (
        f'<g class="{colour}"><title>{escape(title)}</title>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="whisker"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/></g>'
    )


def _label(text: str, y: float, strong: bool) -> str:
    return f'<text x="6" y="{y:.1f}" class="{"strong" if strong else "plain"}">{escape(text)}</text>'


def _gridline(x: float, bottom: float, text: str, *, zero: bool = False) -> str:
    return (
        f'<line class="grid{" zero" if zero else ""}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom - 4}"/>'
        f'<text class="tick" x="{x:.1f}" y="{TOP - 12}">{escape(text)}</text>'
    )


def _svg(body: str, height: float, label: str) -> Markup:
    return Markup(  # every text in `body` went through escape()
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )
