"""The tables of a comparison, and the warnings beside them."""

from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from inspire_vla.comparison_format import Compared, Comparison, PolicyEntry, RatesEntry
from inspire_vla.errors import counted
from inspire_vla.reports.offline import offline_tables, offline_warnings
from inspire_vla.reports.table import (
    Cell,
    Table,
    difference_cell,
    in_percent,
    make_row,
    make_table,
    p_value,
    percent,
    rate_cell,
    short,
    terminal,
)


def print_comparison(comparison: Comparison, *, console: Console | None = None, tasks: bool = False) -> None:
    """Print success by suite and group (and by task on request), answer accuracy, timing, and warnings.

    Of runs on recorded frames: answers, actions and gripper events (reports/offline.py).
    """
    console = console or terminal()
    for table in comparison_tables(comparison, tasks=tasks):
        console.print(table.rich())
    for line in warnings(comparison):
        console.print(f"[yellow]![/yellow] {escape(line)}")


def comparison_tables(comparison: Comparison, *, tasks: bool = False) -> list[Table]:
    """Return the tables for the terminal."""
    tables = []
    if comparison["policies"]:
        tables.append(success_table(comparison))
        if tasks:
            tables.append(task_table(comparison, intervals=False))
        groups = [group["group"] for group in comparison["groups"]]
        if any(entry.get(group) for entry in comparison["answers"] for group in groups):
            tables.append(answer_table(comparison))
        if comparison.get("goals"):
            tables.append(goals_table(comparison))
        tables.append(cost_table(comparison))
    if offline := comparison.get("offline"):
        tables += [*offline_tables(offline), cost_table(offline)]
    return tables


def success_table(comparison: Comparison) -> Table:
    """Success with 95 % intervals by suite and group; each policy after the first with its paired difference."""
    rows = [
        make_row(row.name, episode_count(row.entry), *_cells(row.entry), strong=row.is_group)
        for row in suites_and_groups(comparison)
    ]
    title = "Success, % [95 % interval]; groups average their suites"
    return make_table(("suite", "n", *_policy_columns(comparison)), rows, title)


class SuiteRow(NamedTuple):
    """A suite, or the mean of a group of suites."""

    name: str
    suites: tuple[str, ...]
    entry: RatesEntry
    is_group: bool


def suites_and_groups(comparison: Comparison) -> list[SuiteRow]:
    """Return each group, before it its suites if there are several."""
    entries = {entry["suite"]: entry for entry in comparison["suites"]}
    rows: list[SuiteRow] = []
    for group in comparison["groups"]:
        suites = tuple(group["suites"])
        mean = ""
        if len(suites) > 1:
            rows += [SuiteRow(short(suite), (suite,), entries[suite], False) for suite in suites]
            mean = f", mean of {len(suites)} suites"
        rows.append(SuiteRow(group["group"] + mean, suites, group, True))
    return rows


def task_table(comparison: Comparison, *, intervals: bool = True) -> Table:
    """Success by task, with 95 % intervals and paired differences, or the rates alone."""
    rows = []
    for entry in comparison["tasks"]:
        cells: list[Any] = _cells(entry, test=False)
        if not intervals:
            estimates = map(in_percent, entry["rates"])
            cells = ["–" if estimate is None else f"{estimate[0]:.0f}" for estimate in estimates]
        rows.append(make_row(short(entry["suite"]), entry["task"], episode_count(entry), *cells))
    columns = _policy_columns(comparison, test=False)
    if not intervals:
        columns = [policy["name"] for policy in comparison["policies"]]
    return make_table(("suite", "task", "n", *columns), rows, "Success by task, %", words=2)


def answer_table(comparison: Comparison) -> Table:
    """Accuracy of the answers in the loop, beside the majority-class baseline."""
    rows = [
        (
            entry["policy"],
            group["group"],
            percent(accuracy["rate"]),
            percent(accuracy["majority_class"]),
            str(accuracy["n"]),
        )
        for entry in comparison["answers"]
        for group in comparison["groups"]
        if (accuracy := entry.get(group["group"]))
    ]
    columns = ("policy", "suites", "accuracy", "majority class", "n")
    return make_table(columns, rows, "Answers in the loop, accuracy in %", words=2)


def goals_table(comparison: Comparison) -> Table:
    """How far each policy came in the tasks with several goals, which succeed when all hold at once."""
    rows = []
    for entry in comparison["goals"]:
        some = (entry["some_with_first"], entry["some_without_first"])
        counts = (entry["none"], *some, entry["one_after_another"], entry["at_once"])
        shares = (percent(count / entry["n"]) for count in counts)
        rows.append((short(entry["suite"]), entry["policy"], str(entry["n"]), *shares))
    columns = ("suite", "policy", "n", "none", "first only", "later only", "all in turn", "all at once")
    return make_table(columns, rows, "Tasks with several goals: goals reached, % of episodes", words=2)


def cost_table(comparison: Compared) -> Table:
    """What a decision took in these evaluations, and how often something failed."""
    rows = [
        (
            policy["name"], f"{policy['decisions']:,}", f"{policy['timing']['inference_ms_median'] or 0:.1f}",
            f"{policy['timing']['batch_mean'] or 0:.1f}", str(policy["undecodable"]), str(len(policy["crashed"])),
        )
        for policy in comparison["policies"]
    ]  # fmt: skip
    return make_table(
        ("", "decisions", "ms a decision, median", "batch, mean", "undecodable", "crashed"), rows
    )


def warnings(comparison: Comparison) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    offline = comparison.get("offline")
    of_offline = [] if offline is None else [*_warnings(offline), *offline_warnings(offline)]
    return [*of_offline, *_warnings(comparison)]


def _warnings(comparison: Compared) -> list[str]:
    lines = []
    for policy in comparison["policies"]:
        name = policy["name"]
        if policy["crashed"]:
            first = policy["crashed"][0]
            lines.append(
                f"{name}: {len(policy['crashed'])} of {counted(policy['episodes'], 'episode')} crashed, and a crash "
                f"is a failure; the first, {first['suite']} / {first['task']}: {first['error']}"
            )
        if policy["undecodable"]:
            lines.append(
                f"{name}: {policy['undecodable']} of {counted(policy['decisions'], 'action')} undecodable"
            )
        lines += _played_otherwise(policy, comparison["policies"][0])
        total, overridden = policy.get("answers_to_override", 0), policy.get("answers_overridden", 0)
        if overridden < total:
            lines.append(
                f"{name}: its control set {overridden} of {counted(total, 'answer')} ({percent(overridden / total)}); "
                "the others are the policy's own, about objects without a known truth"
            )
        if "finished" not in policy["run"]:
            which = ", ".join(policy["run"].get("unfinished", ["the run"]))
            lines.append(f"{name}: not finished: {which} ({counted(policy['episodes'], 'episode')} so far)")
    for unpaired in comparison["unpaired"]:
        lines.append(
            f"{unpaired['policy']}: {counted(unpaired['only_here'], 'episode')} without a partner in the first run, "
            f"{unpaired['missing_here']} of the first missing here; differences use the pairs alone"
        )
    for other in comparison.get("differing_conditions", ()):
        differences = "; ".join(
            f"{name} {there} and {here}" for name, (there, here) in other["differing"].items()
        )
        lines.append(
            f"{other['policy']}: played under other conditions than the first run ({differences}), so the episodes are "
            "not pairs and the difference is not of the policies alone"
        )
    return lines


def _played_otherwise(policy: PolicyEntry, first: PolicyEntry) -> list[str]:
    """What a run's options changed of how its policy acts by itself."""
    plan, reference = (each["run"].get("plan", {}) for each in (policy, first))
    lines = []
    if (control := plan.get("control", "none")) != "none":
        lines.append(
            f"{policy['name']}: played under --control {control}, so this is not the policy by itself"
        )
    steps = [each.get("n_action_steps") for each in (plan, reference)]
    if steps[0] != steps[1]:
        mine, theirs = ("as many as its checkpoint says" if n is None else n for n in steps)
        lines.append(
            f"{policy['name']}: executed {mine} of each chunk's actions (--n-action-steps), and {first['name']} "
            f"{theirs}"
        )
    return lines


def episode_count(entry: RatesEntry) -> str:
    """Return the number of episodes of each policy, "a–b" where they differ."""
    counts = sorted({rate["n"] for rate in entry["rates"] if rate is not None})
    return "–".join(str(n) for n in (counts if len(counts) < 3 else (counts[0], counts[-1])))


def _policy_columns(comparison: Comparison, test: bool = True) -> list[str]:
    first, *others = [policy["name"] for policy in comparison["policies"]]
    return [first, *(c for name in others for c in (name, "difference", *(["McNemar"] if test else [])))]


def _cells(entry: RatesEntry, test: bool = True) -> list[Cell]:
    cells = []
    for i, (rate, pair) in enumerate(zip(entry["rates"], entry["paired"], strict=True)):
        cells.append(rate_cell(rate, i))
        if i:
            cells.append(difference_cell(pair))
            if test:
                cells.append(Cell("–" if pair is None else p_value(pair["p_value"])))
    return cells
