"""The tables of the experiment's results in Markdown: what docs/results.md shows between its markers.

They are made of comparisons of two policies, `variants_table` also of more.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from inspire_vla.comparison_format import Comparison, OverSeeds, Paired, RatesEntry
from inspire_vla.errors import InspireError, reason_of
from inspire_vla.files import check_writable, write_text
from inspire_vla.reports.table import (
    Cell,
    Row,
    difference_cell,
    known,
    make_row,
    make_table,
    p_value,
    point_interval,
    points,
    rate_cell,
    short,
)
from inspire_vla.reports.tables import cost_table, suites_and_groups

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_ACCURACIES = ("rate", "majority_class", "per_task_majority")


def check_document(document: Path) -> str:
    """Return the text of a document. Raises InspireError unless it has one pair of markers and can be written."""
    if not document.is_file():
        raise InspireError(f"There is no document {document}; it needs the markers {BEGIN} and {END}.")
    check_writable(document.parent)
    try:
        whole = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InspireError(f"{document} cannot be read as text: {reason_of(error)}.") from None
    for marker in (BEGIN, END):
        if (count := whole.count(marker)) != 1:
            found = "lacks" if not count else f"has {count} times"
            raise InspireError(
                f"{document} {found} the marker {marker}; it needs {BEGIN} and {END}, once each."
            )
    if whole.index(END) < whole.index(BEGIN):
        raise InspireError(f"{document} has the marker {END} before {BEGIN}; the results stand between them.")
    return whole


def write_between_markers(document: Path, text: str) -> None:
    """Replace the text between the markers of a document. Raises InspireError as `check_document`."""
    whole = check_document(document)
    head, rest = whole.split(BEGIN, 1)
    write_text(document, f"{head}{BEGIN}\n{text.strip()}\n{END}{rest.split(END, 1)[1]}")


def headline_table(comparison: Comparison) -> list[str]:
    """Success by suite and group: rates, paired difference, McNemar's test."""
    rows = [_paired(row.name, row.entry, strong=row.is_group) for row in suites_and_groups(comparison)]
    return _pair_table("suite", names_of(comparison), rows)


def steps_table(by_step: Mapping[int, Comparison], names: Sequence[str]) -> list[str]:
    """Success on one group of suites: a row for each number of training steps. names: of both policies."""
    rows = [_paired(f"{step:,}", comparison["groups"][0]) for step, comparison in sorted(by_step.items())]
    return _pair_table("training steps", names, rows)


def tasks_table(comparison: Comparison) -> list[str]:
    """Numbers of successes by task, folded away."""
    rows = []
    for entry in comparison["tasks"]:
        rates = [known(rate) for rate in entry["rates"]]
        counts = [rates[0]["n"], *(rate["successes"] for rate in rates)]
        rows.append((short(entry["suite"]), entry["task"], *map(str, counts)))
    table = make_table(("suite", "task", "n", *names_of(comparison)), rows, words=2)
    return [
        "<details><summary>By task, all training seeds together</summary>", "", *table.markdown(), "", "</details>",
    ]  # fmt: skip


def variants_table(comparison: Comparison, titles: Mapping[str, str]) -> list[str]:
    """Success, paired difference to the first, and answer accuracy: a row for each policy or control."""
    groups = comparison["groups"]
    heads = [c for g in groups for c in (f"{g['group']}, %", "against the first, points", "McNemar")]
    rows = []
    for i, policy in enumerate(comparison["policies"]):
        cells = [c for g in groups for c in (rate_cell(g["rates"][i]), *_against(g["paired"][i]))]
        accuracies = _accuracies(comparison, i)
        rows.append(make_row(titles.get(policy["name"], policy["name"]), *cells, *accuracies))
    return make_table(("", *heads, *_ACCURACY_HEADS), rows).markdown()


def pairs_table(pairs: Mapping[str, Comparison]) -> list[str]:
    """Success of two policies each, {name of the pair: comparison}: a row for each group of suites."""
    rows = [
        _paired(f"{name}: {group['group']}", group)
        for name, comparison in pairs.items()
        for group in comparison["groups"]
    ]
    return _pair_table("", ("the latter", "the former"), rows)


def sweep_table(sweep: Mapping[float, Comparison], option: str) -> list[str]:
    """Success by group, paired difference on the last group, and answer accuracy: a row for each value of an option."""
    first = next(iter(sweep.values()))
    base, method = names_of(first)
    heads = [c for g in first["groups"] for c in (f"{g['group']}: {base}, %", f"{method}, %")]
    rows = []
    for value, comparison in sorted(sweep.items()):
        cells = [rate_cell(rate) for group in comparison["groups"] for rate in group["rates"]]
        against = _against(comparison["groups"][-1]["paired"][1])
        rows.append(make_row(f"{value:g}", *cells, *against, *_accuracies(comparison, 1)))
    return make_table((option, *heads, "difference, points", "McNemar", *_ACCURACY_HEADS), rows).markdown()


def answer_lines(comparison: Comparison, policy: int) -> list[str]:
    """Accuracy of the answers in the loop by group and suite, beside both baselines.

    The first mention also stands alone: it is mostly the object to grasp.
    """
    answers = comparison["answers"][policy]
    heads = ["answers in the loop", "n", "accuracy, %", "majority class, %", "per-task majority, %"]
    heads += ["first mention: accuracy, %", "per-task majority, %"]
    entries = [(group["group"], answers.get(group["group"]), True) for group in comparison["groups"]]
    entries += [
        (short(suite), answers["suites"].get(suite), False)
        for group in comparison["groups"]
        for suite in group["suites"]
        if len(group["suites"]) > 1
    ]
    rows = []
    for name, entry, strong in entries:
        if entry is not None:
            first = entry["by_mention"][0]
            shares = [entry[key] for key in _ACCURACIES]
            shares += [first["correct"] / first["n"], first["per_task_majority"]]
            texts = [f"{100 * share:.1f}" for share in shares]
            rows.append(make_row(name, f"{entry['n']:,}", *texts, strong=strong))
    note = (
        "*Majority class*: always the most frequent true answer of the first, second, … mention. *Per-task majority*: "
        "the most frequent true answer of each mention of each task. Both are chosen on the evaluated episodes."
    )
    return [*make_table(heads, rows).markdown(), "", note]


def seeds_table(rows: Sequence[tuple[str, OverSeeds, bool]]) -> list[str]:
    """Differences with intervals over tasks and training seeds, from (name, `compare_over_seeds(…)`, strong)."""
    heads = ("", "difference, points", "tasks and training seeds resampled", "training seeds alone")
    cells = []
    for name, row, strong in rows:
        alone = row["seeds"]
        student = "–" if alone is None else f"{point_interval(alone)}, {p_value(alone['p_value'])}"
        counts = [str(row[key]) for key in ("better", "worse", "tasks")]
        cells.append(
            make_row(name, points(row["difference"]), point_interval(row), student, *counts, strong=strong)
        )
    note = (
        "*Resampled*: percentile bootstrap, 20,000 resamples of tasks (within their suite) and training seeds at once. "
        "*Alone*: Student's t interval over training seeds."
    )
    return [*make_table((*heads, "tasks better", "worse", "in all"), cells).markdown(), "", note]


def cost_lines(comparison: Comparison) -> list[str]:
    """What a decision took in these evaluations."""
    note = "Measured during these evaluations, on cores that also ran other work; see docs/performance.md for timings."
    return [*cost_table(comparison).markdown(), "", note]


_ACCURACY_HEADS = ("answer accuracy, %", "majority class, %", "per-task majority, %")


def names_of(comparison: Comparison) -> list[str]:
    """Return the names of the policies."""
    return [policy["name"] for policy in comparison["policies"]]


def _pair_table(first: str, names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    heads = (first, "pairs", *(f"{name}, %" for name in names), "difference, points", "McNemar")
    return make_table(heads, rows).markdown()


def _paired(name: str, entry: RatesEntry, *, strong: bool = False) -> Row:
    (first, second), pair = entry["rates"], known(entry["paired"][1])
    cells = (rate_cell(first), rate_cell(second), difference_cell(pair), p_value(pair["p_value"]))
    return make_row(name, str(pair["n"]), *cells, strong=strong)


def _against(pair: Paired | None) -> tuple[Cell | str, str]:
    if pair is None:
        return "–", "–"
    return f"{difference_cell(pair).text}, n = {pair['n']}", p_value(pair["p_value"])


def _accuracies(comparison: Comparison, policy: int) -> list[str]:
    """For each of the accuracies: all groups in one cell, in %."""
    answers = [comparison["answers"][policy].get(group["group"]) for group in comparison["groups"]]
    return [
        " / ".join("–" if row is None else f"{100 * row[key]:.0f}" for row in answers) for key in _ACCURACIES
    ]
