"""The figures beside the tables of the experiment's results, as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.reports.table import short

BASE, INSPIRE, OTHER = "#6c757d", "#2a6f97", "#b0413e"


def success_figure(comparison: Mapping[str, Any], path: Path) -> None:
    """Success by suite with 95 % intervals, base beside InSpire."""
    rows = [(short(s["suite"]), s) for s in comparison["suites"]]
    rows += [("unseen, mean", g) for g in comparison["groups"] if g["group"] == "unseen"]
    with _figure(path, (1.35 * len(rows) + 1, 3.1)) as (axis,):
        for place, (colour, name) in enumerate(((BASE, "base"), (INSPIRE, "InSpire"))):
            rates = [row["rates"][place] for _, row in rows]
            where = [i + 0.2 * (2 * place - 1) for i in range(len(rows))]
            _dots(axis, where, rates, colour, name)
        axis.set_xticks(range(len(rows)), [name for name, _ in rows])
        axis.set_ylim(0, 100)
        axis.set_ylabel("success, %")
        axis.axvline(0.5, color="#ced4da", linewidth=0.8)
        axis.legend(frameon=False, loc="upper right")


def variants_figure(comparison: Mapping[str, Any], titles: Mapping[str, str], path: Path) -> None:
    """Success on seen and unseen tasks for each policy or control."""
    groups = {group["group"]: group for group in comparison["groups"]}
    names = [titles.get(p["name"], p["name"]) for p in comparison["policies"]]
    with _figure(path, (7.2, 0.42 * len(names) + 0.9), columns=len(groups)) as axes:
        for axis, (title, group) in zip(axes, groups.items(), strict=True):
            for i, rate in enumerate(group["rates"]):
                if rate is None or rate["rate"] is None:
                    continue
                colour = {"base": BASE, "InSpire": INSPIRE}.get(comparison["policies"][i]["name"], OTHER)
                low, high = 100 * max(0.0, rate["low"]), 100 * min(1.0, rate["high"])
                axis.plot([low, high], [i, i], color=colour, linewidth=1.5)
                axis.plot(100 * rate["rate"], i, "o", color=colour, markersize=5)
            axis.set_title(f"{title} tasks", fontsize=9, loc="left")
            axis.set_xlabel("success, %")
            axis.set_xlim(left=0)
            axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
            axis.invert_yaxis()


def curves_figure(
    curves: Mapping[str, Sequence[tuple[str, Sequence[float], Sequence[float]]]],
    path: Path,
    across: Mapping[str, str] | None = None,
) -> None:
    """Learning curves: {title: ((name, thousands of samples, values), …)}, a panel each.

    Args:
        across: what those panels count whose horizontal axis counts something else.
    """
    with _figure(path, (3.4 * len(curves), 2.7), columns=len(curves)) as axes:
        for axis, (title, lines) in zip(axes, curves.items(), strict=True):
            for place, (name, steps, values) in enumerate(lines):
                axis.plot(
                    steps,
                    values,
                    label=name,
                    color=(BASE, INSPIRE, OTHER, "#e9a03b")[place % 4],
                    linewidth=1.3,
                )
            axis.set_title(title, fontsize=9, loc="left")
            axis.set_xlabel((across or {}).get(title, "samples, thousands"))
            axis.set_ylim(bottom=0)
            axis.legend(frameon=False, fontsize=8)


def randomness_figure(curve: Mapping[float, Mapping[str, Any]], path: Path) -> None:
    """Success of base and InSpire over layout_randomness, on seen and on unseen tasks, with 95 % intervals."""
    across = sorted(curve)
    with _figure(path, (6.4, 2.9), columns=2) as axes:
        for axis, name in zip(axes, ("seen", "unseen"), strict=True):
            groups = [next(g for g in curve[r]["groups"] if g["group"] == name) for r in across]
            for place, (colour, kind) in enumerate(((BASE, "base"), (INSPIRE, "InSpire"))):
                rates = [group["rates"][place] for group in groups]
                axis.plot(across, [100 * rate["rate"] for rate in rates], color=colour, linewidth=1.2)
                _dots(axis, across, rates, colour, kind, beside=(0, (-13, 7)[place]))
            axis.set_title(f"{name} tasks", fontsize=9, loc="left")
            axis.set_xlabel("layout_randomness")
            axis.set_ylim(-12, 112)
            axis.set_xlim(-0.08, 1.08)
            axis.set_yticks(range(0, 101, 20))
        axes[0].set_ylabel("success, %")
        axes[1].legend(frameon=False, loc="upper right")


def _dots(
    axis: Any,
    where: Sequence[float],
    rates: Sequence[Any],
    colour: str,
    name: str,
    beside: tuple[float, float] = (7, -3),
) -> None:
    """Rates in % with their intervals. beside: where a rate's number stands from its dot, in points of print."""
    middle = [100 * rate["rate"] for rate in rates]
    error = [
        [100 * (rate["rate"] - max(0.0, rate["low"])) for rate in rates],
        [100 * (min(1.0, rate["high"]) - rate["rate"]) for rate in rates],
    ]
    axis.errorbar(where, middle, yerr=error, fmt="o", color=colour, capsize=3, label=name, markersize=5)
    for x, y in zip(where, middle, strict=True):
        axis.annotate(
            f"{y:.0f}",
            (x, y),
            textcoords="offset points",
            xytext=beside,
            ha="left" if beside[0] else "center",
            fontsize=8,
            color=colour,
        )


class _figure:
    """A figure with plain axes, written as SVG when the block ends; the same input gives the same file."""

    def __init__(self, path: Path, size: tuple[float, float], columns: int = 1) -> None:
        self.path, self.size, self.columns = path, size, columns

    def __enter__(self) -> Any:
        import matplotlib

        matplotlib.use("svg")
        from matplotlib import pyplot

        self.pyplot = pyplot
        self.context = pyplot.rc_context(
            {"font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "inspire", "svg.fonttype": "none",
             "axes.spines.top": False, "axes.spines.right": False}
        )  # fmt: skip
        self.context.__enter__()
        self.figure, axes = pyplot.subplots(1, self.columns, figsize=self.size, squeeze=False)
        return axes[0]

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            self.figure.tight_layout()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.figure.savefig(self.path, metadata={"Date": None})
        self.pyplot.close(self.figure)
        self.context.__exit__(kind, *rest)
