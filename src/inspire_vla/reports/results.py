"""The results of the experiment as tables in Markdown: what docs/results.md shows between its markers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.reports.numbers import interval, p_value, points
from inspire_vla.reports.table import short

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


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
    rows: dict[tuple[str, ...], Mapping[str, Any]] = {(row["suite"],): row for row in comparison["suites"]}
    rows |= {tuple(group["suites"]): group for group in comparison["groups"]}
    return _against_base("suite") + [
        _headline(name, rows[tuple(suites)]) for name, suites in by_suite_and_group(comparison)
    ]


def tasks_table(comparison: Mapping[str, Any]) -> list[str]:
    """Successes of base and InSpire by task, folded away, for whoever wants to know what a mean is made of."""
    lines = ["<details><summary>By task, all training seeds together</summary>", ""]
    lines += ["| suite | task | n | base | InSpire |", "|---" * 5 + "|"]
    for row in comparison["tasks"]:
        first, second = (rate["successes"] for rate in row["rates"])
        lines.append(
            f"| {short(row['suite'])} | {row['task']} | {row['rates'][0]['n']} | {first} | {second} |"
        )
    return [*lines, "", "</details>"]


def by_suite_and_group(comparison: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The rows of a comparison, (name, its suites): each group, before it its suites if they are several."""
    rows: list[tuple[str, list[str]]] = []
    for group in comparison["groups"]:
        several = len(group["suites"]) > 1
        rows += [(short(suite), [suite]) for suite in group["suites"] if several]
        mean = f", mean of {len(group['suites'])} suites" if several else ""
        rows.append((f"**{group['group']}{mean}**", list(group["suites"])))
    return rows


def steps_table(by_step: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """{training steps: comparison of base and InSpire on one group of suites} → a row each."""
    rows = [_headline(f"{step:,}", comparison["groups"][0]) for step, comparison in sorted(by_step.items())]
    return _against_base("training steps") + rows


def _against_base(first: str) -> list[str]:
    head = f"| {first} | pairs | base, % | InSpire, % | difference, points | McNemar |"
    return [head, "|---" * 6 + "|"]


def _headline(name: str, row: Mapping[str, Any]) -> str:
    first, second = row["rates"]
    pair = row["paired"][1]
    difference = f"{points(pair['difference'])} {_span(pair)}"
    return f"| {name} | {pair['n']} | {_rate(first)} | {_rate(second)} | {difference} | {p_value(pair['p_value'])} |"


def variants_table(comparison: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    """One row for each policy or control: success, and the paired difference to the first, by group; answers."""
    groups = [group for group in comparison["groups"] if group["group"] in ("seen", "unseen")]
    heads = [f"{g['group']}, % | against the first, points | McNemar" for g in groups]
    lines = [
        f"| | {' | '.join(heads)} | answer accuracy, % | majority class, % | per-task majority, % |",
        "|---" * (4 + 3 * len(groups)) + "|",
    ]
    for i, policy in enumerate(comparison["policies"]):
        cells = [
            cell for group in groups for cell in (_rate(group["rates"][i]), *_against(group["paired"][i]))
        ]
        answers = [comparison["answers"][i].get(group["group"]) for group in groups]
        cells += [_both(answers, key) for key in ("rate", "majority_class", "per_task_majority")]
        lines.append(f"| {titles.get(policy['name'], policy['name'])} | {' | '.join(cells)} |")
    return lines


def _against(pair: Mapping[str, Any] | None) -> tuple[str, str]:
    if pair is None:
        return "–", "–"
    return f"{points(pair['difference'])} {_span(pair)}, n = {pair['n']}", p_value(pair["p_value"])


def _both(answers: Sequence[Mapping[str, Any] | None], key: str) -> str:
    """Seen and unseen in one cell, in %."""
    return " / ".join("–" if row is None else f"{100 * row[key]:.0f}" for row in answers)


def curve_table(curve: Mapping[float, Mapping[str, Any]]) -> list[str]:
    """{layout_randomness: comparison of base and InSpire} → a row each."""
    rates = "seen: base, % | InSpire, % | unseen: base, % | InSpire, %"
    answered = "answer accuracy, % | majority class, % | per-task majority, %"
    lines = [
        f"| layout_randomness | {rates} | difference, points | McNemar | {answered} |",
        "|---" * 10 + "|",
    ]
    for randomness, comparison in sorted(curve.items()):
        groups = {group["group"]: group for group in comparison["groups"]}
        cells = [_rate(rate) for name in ("seen", "unseen") for rate in groups[name]["rates"]]
        cells += _against(groups["unseen"]["paired"][1])
        answers = [comparison["answers"][1].get(name) for name in ("seen", "unseen")]
        cells += [_both(answers, key) for key in ("rate", "majority_class", "per_task_majority")]
        lines.append(f"| {randomness:g} | {' | '.join(cells)} |")
    return lines


def answer_lines(comparison: Mapping[str, Any], policy: int) -> list[str]:
    """Accuracy of the answers in the loop, by group and suite, beside what can be said without looking.

    The first thing that an instruction names is by itself as well: mostly the one to be taken hold of.
    """
    answers = comparison["answers"][policy]
    heads = ["answers in the loop", "n", "accuracy, %", "majority class, %", "per-task majority, %"]
    heads += ["first mention: accuracy, %", "per-task majority, %"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows = [(f"**{g}**", answers.get(g)) for g in ("seen", "unseen")]
    rows += [(short(name), row) for name, row in answers["suites"].items() if not name.endswith("_seen")]
    for name, row in rows:
        if row is not None:
            first = row["by_mention"][0]
            shares = (
                row["rate"],
                row["majority_class"],
                row["per_task_majority"],
                first["correct"] / first["n"],
                first["per_task_majority"],
            )
            lines.append(
                f"| {name} | {row['n']:,} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |"
            )
    what = (
        "*Majority class*: always the most frequent true answer of the first, second, … mention. *Per-task majority*: "
        "the most frequent true answer of each mention of each task. Both are chosen on the evaluated episodes."
    )
    return [*lines, "", what]


def seeds_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Differences with intervals over tasks and training seeds: (name, `compare_over_seeds(…)`) → a row each."""
    heads = (
        "",
        "difference, points",
        "tasks and training seeds resampled",
        "training seeds alone",
        "tasks better",
        "worse",
        "in all",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in rows:
        alone = row["seeds"]
        student = "–" if alone is None else f"{_span(alone)}, {p_value(alone['p_value'])}"
        counts = " | ".join(str(row[key]) for key in ("better", "worse", "tasks"))
        lines.append(f"| {name} | {points(row['difference'])} | {_span(row)} | {student} | {counts} |")
    how = (
        "*Resampled*: percentile bootstrap, 20,000 resamples of tasks (within their suite) and training seeds at once. "
        "*Alone*: Student's t interval over training seeds."
    )
    return [*lines, "", how]


def _span(row: Mapping[str, Any]) -> str:
    return f"[{points(max(-1.0, row['low']), 0)}, {points(min(1.0, row['high']), 0)}]"


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
    told = "Measured during these evaluations, on cores that also ran other work; see docs/performance.md for timings."
    return [*lines, "", told]


def _rate(rate: Mapping[str, Any] | None) -> str:
    if rate is None or rate["rate"] is None:
        return "–"
    return f"{100 * rate['rate']:.1f} [{interval(rate)}]"
