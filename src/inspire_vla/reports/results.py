"""The results of the experiment as tables in Markdown and figures: what docs/results.md shows between its markers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.reports.numbers import interval, p_value, points
from inspire_vla.reports.table import short

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
BASE, INSPIRE, OTHER = "#6c757d", "#2a6f97", "#b0413e"


def write_between_markers(document: Path, text: str) -> None:
    """Put `text` between the markers of a document. Raises InspireError where it has none."""
    whole = document.read_text(encoding="utf-8")
    if BEGIN not in whole or END not in whole:
        raise InspireError(f"{document} lacks the markers {BEGIN} and {END}.")
    head, rest = whole.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    document.write_text(f"{head}{BEGIN}\n{text.strip()}\n{END}{tail}", encoding="utf-8")


def headline_table(comparison: Mapping[str, Any]) -> list[str]:
    """Base against InSpire, by suite and group: rates, paired difference, McNemar's test."""
    lines = [
        "| suite | pairs | base, % | InSpire, % | difference, points | McNemar |",
        "|---|---|---|---|---|---|",
    ]
    for group in comparison["groups"]:
        members = [suite for suite in comparison["suites"] if suite["suite"] in group["suites"]]
        for suite in members if len(members) > 1 else ():
            lines.append(_headline(short(suite["suite"]), suite))
        mean = f", mean of {len(members)} suites" if len(members) > 1 else ""
        lines.append(_headline(f"**{group['group']}{mean}**", group))
    return lines


def _headline(name: str, row: Mapping[str, Any]) -> str:
    first, second = row["rates"]
    pair = row["paired"][1]
    difference = f"{points(pair['difference'])} [{points(pair['low'], 0)}, {points(pair['high'], 0)}]"
    return f"| {name} | {pair['n']} | {_rate(first)} | {_rate(second)} | {difference} | {p_value(pair['p_value'])} |"


def variants_table(comparison: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    """One row for each policy or control: success, and the paired difference to the first, by group; answers."""
    groups = [group for group in comparison["groups"] if group["group"] in ("seen", "unseen")]
    heads = [f"{g['group']}, % | against the first, points | McNemar" for g in groups]
    lines = [f"| | {' | '.join(heads)} | answers true, % |", "|---" * (2 + 3 * len(groups)) + "|"]
    for i, policy in enumerate(comparison["policies"]):
        cells = [
            cell for group in groups for cell in (_rate(group["rates"][i]), *_against(group["paired"][i]))
        ]
        answers = [comparison["answers"][i].get(group["group"]) for group in groups]
        said = " / ".join("–" if a is None else f"{100 * a['rate']:.0f}" for a in answers)
        lines.append(f"| {titles.get(policy['name'], policy['name'])} | {' | '.join(cells)} | {said} |")
    return lines


def _against(pair: Mapping[str, Any] | None) -> tuple[str, str]:
    if pair is None:
        return "–", "–"
    span = f"[{points(pair['low'], 0)}, {points(pair['high'], 0)}]"
    return f"{points(pair['difference'])} {span}, n = {pair['n']}", p_value(pair["p_value"])


def answer_lines(comparison: Mapping[str, Any], policy: int) -> list[str]:
    """Accuracy of the answers in the loop, by group and suite, beside the majority guess."""
    answers = comparison["answers"][policy]
    lines = ["| answers in the loop | n | true, % | majority guess, % |", "|---|---|---|---|"]
    rows = [(f"**{g}**", answers.get(g)) for g in ("seen", "unseen")]
    rows += [(short(name), row) for name, row in answers["suites"].items() if not name.endswith("_seen")]
    for name, row in rows:
        if row is not None:
            lines.append(
                f"| {name} | {row['asked']:,} | {100 * row['rate']:.1f} | {100 * row['majority']:.1f} |"
            )
    return lines


def cost_lines(comparison: Mapping[str, Any]) -> list[str]:
    """What a decision took in these evaluations, busy as the machine was."""
    lines = [
        "| | decisions | ms a decision, median | batch, mean | undecodable | crashed |",
        "|---|---|---|---|---|---|",
    ]
    for policy in comparison["policies"]:
        timing = policy["timing"]
        lines.append(
            f"| {policy['name']} | {policy['decisions']:,} | {timing['inference_ms_median'] or 0:.1f} "
            f"| {timing['batch_mean'] or 0:.1f} | {policy['undecodable']} | {len(policy['crashed'])} |"
        )
    return lines


def _rate(rate: Mapping[str, Any] | None) -> str:
    if rate is None or rate["rate"] is None:
        return "–"
    return f"{100 * rate['rate']:.1f} [{interval(rate)}]"


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


def _dots(axis: Any, where: Sequence[float], rates: Sequence[Any], colour: str, name: str) -> None:
    middle = [100 * rate["rate"] for rate in rates]
    error = [
        [100 * (rate["rate"] - max(0.0, rate["low"])) for rate in rates],
        [100 * (min(1.0, rate["high"]) - rate["rate"]) for rate in rates],
    ]
    axis.errorbar(where, middle, yerr=error, fmt="o", color=colour, capsize=3, label=name, markersize=5)
    for x, y in zip(where, middle, strict=True):
        axis.annotate(
            f"{y:.0f}", (x, y), textcoords="offset points", xytext=(7, -3), fontsize=8, color=colour
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
