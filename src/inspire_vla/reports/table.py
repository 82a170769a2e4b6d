"""A comparison as tables in the terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inspire_vla.reports.numbers import interval, milliseconds, p_value, percent, points


def print_comparison(
    comparison: dict[str, Any], *, console: Console | None = None, tasks: bool = False
) -> None:
    """Print success per group and suite (and per task on request), answers, timing, and what went wrong."""
    console = console or Console()
    console.print(success_table(comparison))
    if tasks:
        console.print(task_table(comparison))
    answers = answer_table(comparison)
    if answers is not None:
        console.print(answers)
    for line in warnings(comparison):
        console.print(f"[yellow]![/yellow] {escape(line)}")


def success_table(comparison: dict[str, Any]) -> Table:
    """Success in percent with 95 % intervals; each policy after the first with its paired difference."""
    table = Table(title="Success, % \\[95 % interval]; groups average their suites", title_justify="left")
    table.add_column("suite", no_wrap=True)
    table.add_column("n", justify="right")
    _policy_columns(table, comparison)
    for group in comparison["groups"]:
        members = [suite for suite in comparison["suites"] if suite["suite"] in group["suites"]]
        if len(members) > 1:
            for suite in members:
                table.add_row(f"  {short(suite['suite'])}", _n(suite), *_cells(suite))
        table.add_row(group["group"], _n(group), *_cells(group), style="bold", end_section=True)
    timing = [milliseconds(policy["timing"]["inference_ms_median"]) for policy in comparison["policies"]]
    cells = [timing[0]] + [cell for ms in timing[1:] for cell in (ms, "", "")]
    table.add_row("decision", "", *cells, style="dim")
    return table


def task_table(comparison: dict[str, Any]) -> Table:
    """Success per task in percent, without intervals: a task has few episodes, the suites carry the message."""
    table = Table(title="Per task, %", title_justify="left")
    table.add_column("suite", no_wrap=True)
    table.add_column("task")
    table.add_column("n", justify="right")
    for policy in comparison["policies"]:
        table.add_column(policy["name"], justify="right", no_wrap=True)
    for task in comparison["tasks"]:
        rates = [f"{100 * rate['rate']:.0f}" if rate["n"] else "–" for rate in task["rates"]]
        table.add_row(short(task["suite"]), task["task"], _n(task), *rates)
    return table


def answer_table(comparison: dict[str, Any]) -> Table | None:
    """Accuracy of the answers in the loop beside the majority class; None when nobody answered."""
    rows = [
        (entry["policy"], group["group"], entry[group["group"]])
        for entry in comparison["answers"]
        for group in comparison["groups"]
        if entry.get(group["group"])
    ]
    if not rows:
        return None
    table = Table(title="Answers in the loop, accuracy in %", title_justify="left")
    for column in ("policy", "suites", "accuracy", "majority class", "n"):
        table.add_column(column, justify="left" if column in ("policy", "suites") else "right")
    for policy, group, answers in rows:
        table.add_row(
            policy, group, percent(answers["rate"]), percent(answers["majority_class"]), str(answers["n"])
        )
    return table


def warnings(comparison: dict[str, Any]) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    lines = []
    for policy in comparison["policies"]:
        if policy["crashed"]:
            first = policy["crashed"][0]
            lines.append(
                f"{policy['name']}: {len(policy['crashed'])} of {policy['episodes']} episodes crashed and count as "
                f"failures; the first, {first['suite']} / {first['task']}: {first['error']}"
            )
        if policy["undecodable"]:
            lines.append(
                f"{policy['name']}: {policy['undecodable']} of {policy['decisions']} actions undecodable"
            )
        asked, forced = policy.get("answers_to_override", 0), policy.get("answers_overridden", 0)
        if forced < asked:
            lines.append(
                f"{policy['name']}: its control set {forced} of {asked} answers ({percent(forced / asked)}); the "
                "others are the policy's own, about objects whose truth is not known"
            )
        if "finished" not in policy["run"]:
            lines.append(f"{policy['name']}: the run is not finished ({policy['episodes']} episodes so far)")
    for entry in comparison["unpaired"]:
        lines.append(
            f"{entry['policy']}: {entry['only_here']} episodes without a partner in the first run, "
            f"{entry['missing_here']} of the first missing here; differences use the pairs alone"
        )
    for entry in comparison.get("differing_conditions", ()):
        found = "; ".join(f"{name} {there} and {here}" for name, (there, here) in entry["differing"].items())
        lines.append(
            f"{entry['policy']}: played under other conditions than the first run ({found}): these are no pairs, "
            "the difference is not of the policies alone"
        )
    return lines


def short(suite: str) -> str:
    """tabletop_spatial → spatial."""
    return suite.partition("_")[2] or suite


def _n(row: dict[str, Any]) -> str:
    counts = sorted({rate["n"] for rate in row["rates"] if rate is not None})
    return "–".join(str(n) for n in (counts if len(counts) < 3 else (counts[0], counts[-1])))


def _policy_columns(table: Table, comparison: dict[str, Any]) -> None:
    for i, policy in enumerate(comparison["policies"]):
        table.add_column(policy["name"], justify="right", no_wrap=True)
        if i:
            table.add_column("difference", justify="right", no_wrap=True)
            table.add_column("McNemar", justify="right", no_wrap=True)


def _cells(row: dict[str, Any]) -> list[str]:
    cells = []
    for i, (rate, paired) in enumerate(zip(row["rates"], row["paired"], strict=True)):
        shown = "–"
        if rate is not None and rate["n"]:
            shown = f"{100 * rate['rate']:.1f} \\[{interval(rate)}]"
        cells.append(shown)
        if i and paired is not None:
            low, high = points(paired["low"], 0), points(paired["high"], 0)
            cells += [f"{points(paired['difference'])} \\[{low}, {high}]", p_value(paired["p_value"])]
        elif i:
            cells += ["–", "–"]
    return cells
