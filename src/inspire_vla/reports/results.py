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
    lines = _against_base("suite")
    for group in comparison["groups"]:
        members = [suite for suite in comparison["suites"] if suite["suite"] in group["suites"]]
        for suite in members if len(members) > 1 else ():
            lines.append(_headline(short(suite["suite"]), suite))
        mean = f", mean of {len(members)} suites" if len(members) > 1 else ""
        lines.append(_headline(f"**{group['group']}{mean}**", group))
    return lines


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
    difference = f"{points(pair['difference'])} [{points(pair['low'], 0)}, {points(pair['high'], 0)}]"
    return f"| {name} | {pair['n']} | {_rate(first)} | {_rate(second)} | {difference} | {p_value(pair['p_value'])} |"


def variants_table(comparison: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    """One row for each policy or control: success, and the paired difference to the first, by group; answers."""
    groups = [group for group in comparison["groups"] if group["group"] in ("seen", "unseen")]
    heads = [f"{g['group']}, % | against the first, points | McNemar" for g in groups]
    lines = [
        f"| | {' | '.join(heads)} | answers true, % | majority guess, % |",
        "|---" * (3 + 3 * len(groups)) + "|",
    ]
    for i, policy in enumerate(comparison["policies"]):
        cells = [
            cell for group in groups for cell in (_rate(group["rates"][i]), *_against(group["paired"][i]))
        ]
        answers = [comparison["answers"][i].get(group["group"]) for group in groups]
        cells += [_both(answers, "rate"), _both(answers, "majority")]
        lines.append(f"| {titles.get(policy['name'], policy['name'])} | {' | '.join(cells)} |")
    return lines


def _against(pair: Mapping[str, Any] | None) -> tuple[str, str]:
    if pair is None:
        return "–", "–"
    span = f"[{points(pair['low'], 0)}, {points(pair['high'], 0)}]"
    return f"{points(pair['difference'])} {span}, n = {pair['n']}", p_value(pair["p_value"])


def _both(answers: Sequence[Mapping[str, Any] | None], key: str) -> str:
    """Seen and unseen in one cell, in %."""
    return " / ".join("–" if row is None else f"{100 * row[key]:.0f}" for row in answers)


def curve_table(curve: Mapping[float, Mapping[str, Any]]) -> list[str]:
    """{layout_randomness: comparison of base and InSpire} → a row each."""
    rates = "seen: base, % | InSpire, % | unseen: base, % | InSpire, %"
    head = f"| layout_randomness | {rates} | difference, points | McNemar | answers true, % | majority guess, % |"
    lines = [head, "|---" * 9 + "|"]
    for randomness, comparison in sorted(curve.items()):
        groups = {group["group"]: group for group in comparison["groups"]}
        cells = [_rate(rate) for name in ("seen", "unseen") for rate in groups[name]["rates"]]
        cells += _against(groups["unseen"]["paired"][1])
        answers = [comparison["answers"][1].get(name) for name in ("seen", "unseen")]
        cells += [_both(answers, "rate"), _both(answers, "majority")]
        lines.append(f"| {randomness:g} | {' | '.join(cells)} |")
    return lines


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
