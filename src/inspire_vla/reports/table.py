"""A table: rows of text, shown in the terminal (rich), in Markdown and on the page. How numbers stand in its cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from inspire_vla.comparison_format import Interval, Paired

FILE_WIDTH = 240
"""Columns of tables that are printed into a file or a pipe."""


_LONGEST_WORD = 24
"""Columns of a word in a table of the terminal that is not cut, such as a joint's name."""


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
                words = (word for row in self.rows for word in row.cells[i].text.split())
                width = min(_LONGEST_WORD, max([14, *map(cell_len, words)]))
                table.add_column(
                    escape(column), overflow="fold", max_width=width if len(self.columns) > 5 else None
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


def short(suite: str) -> str:
    """Return a suite's name without its benchmark: tabletop_spatial → spatial. A number keeps it: libero_10."""
    name = suite.partition("_")[2]
    return suite if not name or name[0].isdigit() else name


def rate_cell(rate: Interval | None, policy: int = 0) -> Cell:
    """{"rate": 0.5, "low": 0.4, …} → "50.0 [40–60]"."""
    if rate is None or rate["rate"] is None:
        return Cell("–")
    return Cell(f"{100 * rate['rate']:.1f} [{interval(rate)}]", rate["rate"], policy)


def difference_cell(pair: Paired | None) -> Cell:
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
    """{"low": 0.02, "high": 0.18} → "[+2, +18]"; "–" without an interval."""
    if isnan(pair["low"]):
        return "–"
    return f"[{points(max(-1.0, pair['low']), digits)}, {points(min(1.0, pair['high']), digits)}]"


def p_value(p: float) -> str:
    """0.0321 → "p = 0.032"; small ones → "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def in_percent(rate: Interval | None) -> tuple[float, float, float] | None:
    """{"rate": 0.5, "low": 0.4, …} → (50, 40, …); None without a rate, as that of no episodes."""
    if rate is None or rate["rate"] is None or rate["low"] is None or rate["high"] is None:
        return None
    return 100 * rate["rate"], 100 * rate["low"], 100 * rate["high"]


def known[T](value: T | None) -> T:
    """Return a value that is there, as in a comparison of policies that have all played the same episodes."""
    assert value is not None
    return value


def at(values: Sequence[Any], index: int) -> Any:
    """Return an entry, None beyond the end."""
    return values[index] if index < len(values) else None
