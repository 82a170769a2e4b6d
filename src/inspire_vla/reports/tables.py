"""Tables of a comparison: built once as rows of text, shown in the terminal (rich), in Markdown and on the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

FILE_WIDTH = 240
"""Columns of tables that are printed into a file or a pipe."""


class Cell(NamedTuple):
    """Text of a cell. On the page a `rate` is also a bar, of the colour of `policy`, and a `sign` a colour."""

    text: str
    rate: float | None = None
    policy: int = 0
    sign: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a table. strong: bold, and followed by a rule in the terminal."""

    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows. The first `words` columns hold words; the others hold numbers, which stand on the right."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    title: str = ""
    words: int = 1

    def rich(self) -> RichTable:
        """Return the table for the terminal."""
        table = RichTable(
            title=escape(self.title),
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for i, column in enumerate(self.columns):
            if i < self.words:
                table.add_column(
                    escape(column), overflow="fold", max_width=14 if len(self.columns) > 5 else None
                )
            else:  # the head may wrap, the numbers do not
                width = max((len(row.cells[i].text) for row in self.rows), default=1)
                table.add_column(escape(column), justify="right", min_width=width, overflow="fold")
        for row in self.rows:
            cells = [escape(cell.text) for cell in row.cells]
            table.add_row(*cells, style="bold" if row.strong else None, end_section=row.strong)
        return table

    def markdown(self) -> list[str]:
        """Return the table as lines of Markdown."""
        lines = [f"| {' | '.join(self.columns)} |", "|---" * len(self.columns) + "|"]
        for row in self.rows:
            texts = [cell.text for cell in row.cells]
            if row.strong:
                texts[0] = f"**{texts[0]}**"
            lines.append(f"| {' | '.join(texts)} |")
        return lines


def terminal() -> Console:
    """Return the console that tables are printed to. In a file or a pipe rich would drop what is beyond 80 columns."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_WIDTH)
    return console


def make_table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell | str] | Row], title: str = "", words: int = 1
) -> Table:
    """Make a table of rows whose cells may be plain text."""
    made = [row if isinstance(row, Row) else make_row(*row) for row in rows]
    return Table(tuple(columns), tuple(made), title, words)


def make_row(*cells: Cell | str, strong: bool = False) -> Row:
    """Make a row of cells that may be plain text."""
    return Row(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells), strong)


def print_comparison(
    comparison: dict[str, Any], *, console: Console | None = None, tasks: bool = False
) -> None:
    """Print success by suite and group (and by task on request), answer accuracy, timing, and warnings.

    Of runs on recorded frames: answers, actions and gripper events (reports/offline.py).
    """
    console = console or terminal()
    for table in comparison_tables(comparison, tasks=tasks):
        console.print(table.rich())
    for line in warnings(comparison):
        console.print(f"[yellow]![/yellow] {escape(line)}")


def comparison_tables(comparison: Mapping[str, Any], *, tasks: bool = False) -> list[Table]:
    """Return the tables for the terminal."""
    from inspire_vla.reports.offline import offline_tables

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


def success_table(comparison: Mapping[str, Any]) -> Table:
    """Success with 95 % intervals by suite and group; each policy after the first with its paired difference."""
    entries: dict[tuple[str, ...], Any] = {(row["suite"],): row for row in comparison["suites"]}
    entries |= {tuple(group["suites"]): group for group in comparison["groups"]}
    rows = []
    for name, suites, strong in suites_and_groups(comparison):
        entry = entries[suites]
        rows.append(make_row(name, episode_count(entry), *_cells(entry), strong=strong))
    title = "Success, % [95 % interval]; groups average their suites"
    return make_table(("suite", "n", *_policy_columns(comparison)), rows, title)


def suites_and_groups(comparison: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], bool]]:
    """Return (name, suites, is it a group?): each group, before it its suites if there are several."""
    rows: list[tuple[str, tuple[str, ...], bool]] = []
    for group in comparison["groups"]:
        several = len(group["suites"]) > 1
        rows += [(short(suite), (suite,), False) for suite in group["suites"] if several]
        mean = f", mean of {len(group['suites'])} suites" if several else ""
        rows.append((group["group"] + mean, tuple(group["suites"]), True))
    return rows


def task_table(comparison: Mapping[str, Any], *, intervals: bool = True) -> Table:
    """Success by task, with 95 % intervals and paired differences, or the rates alone."""
    rows = []
    for entry in comparison["tasks"]:
        cells: list[Any] = _cells(entry, test=False)
        if not intervals:
            cells = [f"{100 * rate['rate']:.0f}" if rate["n"] else "–" for rate in entry["rates"]]
        rows.append(make_row(short(entry["suite"]), entry["task"], episode_count(entry), *cells))
    columns = _policy_columns(comparison, test=False)
    if not intervals:
        columns = [policy["name"] for policy in comparison["policies"]]
    return make_table(("suite", "task", "n", *columns), rows, "Success by task, %", words=2)


def answer_table(comparison: Mapping[str, Any]) -> Table:
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


def goals_table(comparison: Mapping[str, Any]) -> Table:
    """How far each policy came in the tasks with several goals, which succeed when all hold at once."""
    kinds = ("none", "some_with_first", "some_without_first", "one_after_another", "at_once")
    rows = [
        (
            short(entry["suite"]),
            entry["policy"],
            str(entry["n"]),
            *(percent(entry[k] / entry["n"]) for k in kinds),
        )
        for entry in comparison["goals"]
    ]
    columns = ("suite", "policy", "n", "none", "first only", "later only", "all in turn", "all at once")
    return make_table(columns, rows, "Tasks with several goals: goals reached, % of episodes", words=2)


def cost_table(comparison: Mapping[str, Any]) -> Table:
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


def warnings(comparison: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    from inspire_vla.reports.offline import offline_warnings

    lines = []
    if offline := comparison.get("offline"):
        lines += [*warnings(offline), *offline_warnings(offline)]
    for policy in comparison["policies"]:
        name = policy["name"]
        if policy["crashed"]:
            first = policy["crashed"][0]
            lines.append(
                f"{name}: {len(policy['crashed'])} of {policy['episodes']} episodes crashed and count as failures; the "
                f"first, {first['suite']} / {first['task']}: {first['error']}"
            )
        if policy["undecodable"]:
            lines.append(f"{name}: {policy['undecodable']} of {policy['decisions']} actions undecodable")
        total, overridden = policy.get("answers_to_override", 0), policy.get("answers_overridden", 0)
        if overridden < total:
            lines.append(
                f"{name}: its control set {overridden} of {total} answers ({percent(overridden / total)}); the others "
                "are the policy's own, about objects without a known truth"
            )
        if "finished" not in policy["run"]:
            which = ", ".join(policy["run"].get("unfinished", ["the run"]))
            lines.append(f"{name}: not finished: {which} ({policy['episodes']} episodes so far)")
    for entry in comparison["unpaired"]:
        lines.append(
            f"{entry['policy']}: {entry['only_here']} episodes without a partner in the first run, "
            f"{entry['missing_here']} of the first missing here; differences use the pairs alone"
        )
    for entry in comparison.get("differing_conditions", ()):
        found = "; ".join(f"{name} {there} and {here}" for name, (there, here) in entry["differing"].items())
        lines.append(
            f"{entry['policy']}: played under other conditions than the first run ({found}), so the episodes are not "
            "pairs and the difference is not of the policies alone"
        )
    return lines


def short(suite: str) -> str:
    """Return a suite's name without its benchmark: tabletop_spatial → spatial."""
    return suite.partition("_")[2] or suite


def episode_count(entry: Mapping[str, Any]) -> str:
    """Return the number of episodes of each policy, "a–b" where they differ."""
    counts = sorted({rate["n"] for rate in entry["rates"] if rate is not None})
    return "–".join(str(n) for n in (counts if len(counts) < 3 else (counts[0], counts[-1])))


def rate_cell(rate: Mapping[str, Any] | None, policy: int = 0) -> Cell:
    """{"rate": 0.5, "low": 0.4, …} → "50.0 [40–60]"."""
    if rate is None or rate["rate"] is None:
        return Cell("–")
    return Cell(f"{100 * rate['rate']:.1f} [{interval(rate)}]", rate["rate"], policy)


def difference_cell(pair: Mapping[str, Any] | None) -> Cell:
    """{"difference": 0.1, "low": 0.02, …} → "+10.0 [+2, +18]"."""
    if pair is None:
        return Cell("–")
    sign = (pair["low"] > 0) - (pair["high"] < 0)
    return Cell(f"{points(pair['difference'])} {point_interval(pair)}", sign=sign)


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.125 → "12.5 %"; None → "–"."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def interval(estimate: Mapping[str, Any]) -> str:
    """{"low": 0.1, "high": 0.24} → "10–24"."""
    return f"{100 * max(0.0, estimate['low']):.0f}–{100 * min(1.0, estimate['high']):.0f}"


def points(fraction: float | None, digits: int = 1) -> str:
    """A difference in percentage points with its sign: 0.1 → "+10.0", −0.025 → "−2.5"."""
    return "–" if fraction is None else f"{100 * fraction:+.{digits}f}".replace("-", "−")


def point_interval(pair: Mapping[str, Any], digits: int = 0) -> str:
    """{"low": 0.02, "high": 0.18} → "[+2, +18]"."""
    return f"[{points(max(-1.0, pair['low']), digits)}, {points(min(1.0, pair['high']), digits)}]"


def p_value(p: float) -> str:
    """0.0321 → "p = 0.032"; small ones → "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def at(values: Sequence[Any], index: int) -> Any:
    """Return an entry, None beyond the end."""
    return values[index] if index < len(values) else None


def _policy_columns(comparison: Mapping[str, Any], test: bool = True) -> list[str]:
    first, *others = [policy["name"] for policy in comparison["policies"]]
    return [first, *(c for name in others for c in (name, "difference", *(["McNemar"] if test else [])))]


def _cells(entry: Mapping[str, Any], test: bool = True) -> list[Cell]:
    cells = []
    for i, (rate, pair) in enumerate(zip(entry["rates"], entry["paired"], strict=True)):
        cells.append(rate_cell(rate, i))
        if i:
            cells.append(difference_cell(pair))
            if test:
                cells.append(Cell("–" if pair is None else p_value(pair["p_value"])))
    return cells
