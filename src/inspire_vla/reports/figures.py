"""Figures by matplotlib, for files and for the page: success rates with intervals, differences, learning curves.

Sizes are pixels, 72 per inch, also in SVG and for fonts. Figures are drawn in the light colours of `theme`. On the
page, and in an SVG file with `dark=True`, the colours are CSS variables, so they follow the reader's colour scheme.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from inspire_vla.comparison_format import Comparison, RatesEntry
from inspire_vla.errors import counted
from inspire_vla.files import atomic_path
from inspire_vla.reports.fonts import with_fonts
from inspire_vla.reports.table import in_percent, known, percent, points, short
from inspire_vla.reports.theme import LIGHT, POLICIES, css_variables

PX = 72
"""Pixels per inch."""
SVG = "http://www.w3.org/2000/svg"
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif"
STYLE: Any = {
    "font.size": 11, "text.color": LIGHT["ink"], "axes.labelcolor": LIGHT["soft"], "axes.titlesize": 11,
    "axes.titlelocation": "left", "axes.edgecolor": LIGHT["line"], "axes.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": LIGHT["line"],
    "xtick.color": LIGHT["line"], "xtick.labelcolor": LIGHT["soft"], "xtick.labelsize": 10.5,
    "ytick.color": LIGHT["line"], "ytick.labelcolor": LIGHT["ink"], "legend.frameon": False,
    "figure.facecolor": LIGHT["paper"], "svg.fonttype": "none", "svg.hashsalt": "inspire",
}  # fmt: skip
WIDTH, LEFT, RIGHT, TOP, ROW = 380, 118, 20, 26, 17
"""Of the page's charts, in pixels; a phone shows them at their own size."""
TICKS = (0, 25, 50, 75, 100)


styled = rc_context(STYLE)
"""Decorator of functions that draw, so that texts and axes have the style, and the user's own figures do not."""


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Return an empty figure of this size in pixels."""
    figure = Figure(figsize=(width / PX, height / PX), dpi=PX, **options)
    FigureCanvasAgg(figure)
    return figure


def panels(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    """Return a figure of this size in pixels and its axes, side by side."""
    figure = new_figure(width, height, layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def pixel_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Any:
    """Return axes without frame at this place of the figure, in pixels; its y axis counts pixels downwards."""
    w, h = figure.get_size_inches() * PX
    axis = figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
    axis.set_ylim(height, 0)
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return axis


@styled
def save(figure: Figure, path: str | Path, *, dark: bool = False) -> Path:
    """Write a figure atomically (SVG, PNG or PDF by the ending). The same figure always gives the same file.

    dark: SVG only; in dark mode the file uses the dark colours.
    """
    target = Path(path)
    with atomic_path(target) as partial:
        if dark and target.suffix == ".svg":
            partial.write_text(inline_svg(figure, standalone=True), encoding="utf-8")
        else:
            options = {"format": target.suffix[1:] or "png", "dpi": 130, **_undated(target.suffix)}
            with_fonts(figure, lambda: figure.savefig(partial, **options), as_text=target.suffix == ".svg")
    return target


@styled
def inline_svg(
    figure: Figure, label: str = "", *, standalone: bool = False, data: Mapping[str, Any] | None = None
) -> Markup:
    """Return a figure as an SVG element for a page that has the colours of `theme` as CSS variables.

    The `gid` of an artist becomes its tooltip. Every text is escaped.

    Args:
        label: what the figure shows, for screen readers.
        standalone: with the CSS variables, as a file of its own.
        data: `data-…` attributes of the element.
    """
    buffer = io.StringIO()
    if not standalone:
        figure.set_facecolor("none")
    with_fonts(figure, lambda: figure.savefig(buffer, format="svg", **_undated(".svg")), as_text=True)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.findall(f"{{{SVG}}}metadata"):
        root.remove(element)
    for group in root.iter(f"{{{SVG}}}g"):
        name = group.attrib.pop("id", "")
        if name.startswith(TOOLTIP):
            ElementTree.SubElement(group, f"{{{SVG}}}title").text = name.removeprefix(TOOLTIP)
    if standalone:
        style = ElementTree.Element(f"{{{SVG}}}style")
        style.text = str(css_variables())
        root.insert(0, style)
    else:
        del root.attrib["width"], root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": label} | {
        f"data-{k}": str(v) for k, v in (data or {}).items()
    }
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"font: ((?:\w+ )?[\d.]+px) [^;\"]*", rf"font: \1 {FONT}", text)
    names = {colour: name for name, colour in reversed(LIGHT.items())}
    return Markup(  # ElementTree has escaped every text
        re.sub(
            r"(?<=: )#[0-9a-f]{6}",
            lambda match: f"var(--{names[match[0]]})" if match[0] in names else match[0],
            text,
        )
    )


TOOLTIP = "tooltip: "


def tooltip(artist: Any, text: str) -> None:
    """Show `text` when the pointer is over the artist, on a page."""
    artist.set_gid(TOOLTIP + text)


def policy_colour(i: int) -> str:
    """Return the colour of policy `i` on a light page, as "#rrggbb". Policies beyond the last colour begin again."""
    return LIGHT[f"p{i % POLICIES}"]


def draw_estimate(axis: Any, y: float, values: Sequence[float], colour: str, text: str) -> None:
    """Draw a dot with its interval at height y. values: (value, low, high)."""
    value, low, high = values
    (line,) = axis.plot([low, high], [y, y], color=colour, linewidth=2.5, alpha=0.55, solid_capstyle="round")
    (dot,) = axis.plot(value, y, "o", color=colour, markersize=9, markeredgewidth=0)
    for artist in (line, dot):
        artist.set_clip_on(False)
        tooltip(artist, text)


@styled
def success_chart(comparison: Comparison) -> Figure:
    """Success in % with 95 % intervals: a row for each group and suite, a dot for each policy."""
    policies = [policy["name"] for policy in comparison["policies"]]
    figure, axis, rows = _rows_of(comparison)
    for y, label, row in rows:
        for i, rate in enumerate(row["rates"]):
            if rate is not None and (estimate := in_percent(rate)) is not None:
                text = f"{policies[i]}, {label}: {percent(rate['rate'])} of {rate['n']}"
                draw_estimate(axis, y + ROW * (i + 0.5), estimate, policy_colour(i), text)
    axis.set(xlim=(0, 100), xticks=TICKS, xticklabels=[f"{tick} %" for tick in TICKS])
    return figure


@styled
def difference_chart(comparison: Comparison) -> Figure | None:
    """The paired difference to the first policy in points, with 95 % intervals; None for a single policy."""
    names = [policy["name"] for policy in comparison["policies"]]
    figure, axis, rows = _rows_of(comparison)
    largest = 0.0
    for y, label, row in rows:
        for i, pair in enumerate(row["paired"]):
            if pair is None:
                continue
            largest = max(largest, *(abs(pair[key]) for key in ("low", "high")))
            y_middle = y + ROW * len(names) / 2 if len(names) == 2 else y + ROW * (i + 0.5)
            values = [max(-100, min(100, 100 * pair[key])) for key in ("difference", "low", "high")]
            text = (
                f"{names[i]} − {names[0]}, {label}: {points(pair['difference'])} points, "
                f"{counted(pair['n'], 'pair')}"
            )
            draw_estimate(axis, y_middle, values, policy_colour(i), text)
    if not largest:
        return None
    reach = next(r for r in (0.1, 0.2, 0.4, 0.6, 1.0) if r >= min(1.0, largest))
    ticks = [-reach, -reach / 2, 0.0, reach / 2, reach]
    axis.set(xlim=(-100 * reach, 100 * reach), xticks=[100 * tick for tick in ticks])
    axis.set_xticklabels([points(tick, 0) if tick else "0" for tick in ticks])
    axis.axvline(0, color=LIGHT["soft"], linewidth=1, zorder=1)
    return figure


def _rows_of(comparison: Comparison) -> tuple[Figure, Any, list[tuple[float, str, RatesEntry]]]:
    """A chart with labelled rows, one per group and suite: (top of the row, label, entry of the comparison)."""
    entries: list[tuple[str, RatesEntry, bool]] = []
    for group in comparison["groups"]:
        entries.append((group["group"], group, True))
        if len(group["suites"]) > 1:
            entries += [
                (short(s["suite"]), s, False) for s in comparison["suites"] if s["suite"] in group["suites"]
            ]
    height = ROW * len(comparison["policies"]) + 10
    figure = new_figure(WIDTH, TOP + height * len(entries))
    axis = pixel_axes(figure, LEFT, TOP, WIDTH - LEFT - RIGHT, height * len(entries))
    axis.xaxis.tick_top()
    axis.grid(visible=True, axis="x")
    rows: list[tuple[float, str, RatesEntry]] = []
    for i, (label, entry, strong) in enumerate(entries):
        y = i * height
        if strong:
            band = axis.axhspan(y, y + height, xmin=-1, color=LIGHT["band"], linewidth=0, zorder=-1)
            band.set(clip_on=False, x=-LEFT / (WIDTH - LEFT - RIGHT), width=WIDTH / (WIDTH - LEFT - RIGHT))
        axis.annotate(
            label, (0, y + height / 2), xycoords=("axes fraction", "data"), xytext=(6 - LEFT, 0),
            textcoords="offset points", va="center", fontsize=12,
            **({"fontweight": "bold"} if strong else {"color": LIGHT["soft"]}),
        )  # fmt: skip
        rows.append((y + 5, label, entry))
    return figure, axis, rows


@styled
def success_figure(comparison: Comparison, path: Path) -> None:
    """Write `success_chart` as a file, with a legend."""
    figure = success_chart(comparison)
    handles = [
        figure.axes[0].plot([], [], "o", color=policy_colour(i), label=policy["name"])[0]
        for i, policy in enumerate(comparison["policies"])
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        fontsize=9,
        borderpad=0,
        handletextpad=0,
        ncols=2,
        columnspacing=0.6,
    )
    save(figure, path)


@styled
def variants_figure(comparison: Comparison, titles: Mapping[str, str], path: Path) -> None:
    """Success on each group of suites, a row for each policy or control: the method, the baseline, then variants."""
    names = [fill(titles.get(policy["name"], policy["name"]), 34) for policy in comparison["policies"]]
    figure, axes = panels(620, 30 * len(names) + 60, len(comparison["groups"]))
    for axis, group in zip(axes, comparison["groups"], strict=True):
        for i, rate in enumerate(group["rates"]):
            if (estimate := in_percent(rate)) is not None:
                colour = policy_colour((1, 0)[i] if i < 2 else 2)
                draw_estimate(axis, i, [min(100.0, max(0.0, end)) for end in estimate], colour, names[i])
        axis.set(title=f"{group['group']} tasks", xlabel="success, %", yticks=range(len(names)))
        axis.set_xlim(left=0)
        axis.set_yticklabels(names if axis is axes[0] else [""] * len(names))
        axis.invert_yaxis()
        axis.grid(visible=True, axis="x")
    save(figure, path)


class Curve(NamedTuple):
    """A line of a panel: its name, and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class CurvePanel(NamedTuple):
    """A panel of learning curves. x_label: what its horizontal axis counts."""

    title: str
    x_label: str
    curves: Sequence[Curve]


@styled
def curves_figure(shown: Sequence[CurvePanel], path: Path) -> None:
    """Learning curves, a panel beside the other."""
    figure, axes = panels(250 * len(shown), 200, len(shown))
    for axis, panel in zip(axes, shown, strict=True):
        for i, curve in enumerate(panel.curves):
            axis.plot(curve.x, curve.y, label=curve.name, color=policy_colour(i), linewidth=1.6)
        axis.set(title=panel.title, xlabel=panel.x_label)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=9)
    save(figure, path)


@styled
def sweep_figure(sweep: Mapping[float, Comparison], option: str, path: Path) -> None:
    """Success over the values of an option, with 95 % intervals: a panel for each group of suites."""
    values = sorted(sweep)
    groups = [group["group"] for group in sweep[values[0]]["groups"]]
    figure, axes = panels(250 * len(groups), 220, len(groups))
    for axis, name in zip(axes, groups, strict=True):
        by_value = [next(g for g in sweep[value]["groups"] if g["group"] == name) for value in values]
        for i, policy in enumerate(sweep[values[0]]["policies"]):
            estimates = [known(in_percent(group["rates"][i])) for group in by_value]
            middle = [value for value, _, _ in estimates]
            error = [
                [value - max(0.0, low) for value, low, _ in estimates],
                [min(100.0, high) - value for value, _, high in estimates],
            ]
            style = {"fmt": "o-", "color": policy_colour(i), "capsize": 3, "label": policy["name"]}
            axis.errorbar(values, middle, yerr=error, **style)
            for x, y in zip(values, middle, strict=True):
                label_style = {"xytext": (0, 7 if i else -14), "textcoords": "offset points", "ha": "center"}
                axis.annotate(f"{y:.0f}", (x, y), color=policy_colour(i), fontsize=10, **label_style)
        axis.set(title=f"{name} tasks", xlabel=option, ylim=(-15, 115))
        axis.margins(x=0.08)
        axis.set_yticks(range(0, 101, 20))
    axes[0].set_ylabel("success, %")
    axes[-1].legend(loc="upper right", fontsize=9)
    save(figure, path)


def _undated(suffix: str) -> dict[str, Any]:
    return {"metadata": {"Date": None}} if suffix == ".svg" else {}
