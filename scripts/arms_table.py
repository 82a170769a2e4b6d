"""The table of an arm of an experiment beside the policies that it is compared with (docs/results.md).

python scripts/arms_table.py evidence/laptop base=base inspire=InSpire "reasoning_dropout=reasoning dropout" --seeds 0

Each policy is NAME=TITLE, with the name of its folders in OUT/runs without seed and group. NAME/CONTROL=TITLE is its
evaluation with a control. The last policy has an interval, and is compared with each of the others on the pairs of
episodes that both have. With several seeds, the intervals below the table also resample tasks and training seeds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import Run, compare, compare_over_seeds, pool, read_run
from inspire_vla.experiment import read_preset
from inspire_vla.reports.table import (
    difference_cell,
    make_row,
    make_table,
    point_interval,
    points,
    rate_cell,
    short,
)

SUITES = ("tabletop_goal", "tabletop_object", "tabletop_spatial", "tabletop_long")
"""The unseen suites, in the order of the page."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", type=Path)
    parser.add_argument("policies", nargs="+", metavar="NAME[/CONTROL]=TITLE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--preset", default="laptop")
    options = parser.parse_args()
    tag = read_preset(options.preset).conditions[0].tag
    try:
        runs = [_run(options.experiment, policy, tag, options.seeds) for policy in options.policies]
        lines = arms_table(runs)
        if len(options.seeds) > 1:
            lines += ["", over_seeds(runs)]
        print("\n".join(lines))
    except InspireError as error:
        raise SystemExit(str(error)) from None


def arms_table(runs: Sequence[Run]) -> list[str]:
    """Return the lines of the table of these runs; the last is the arm."""
    groups = {"seen": ["tabletop_seen"], "unseen": list(SUITES)}
    against_each = [compare([other, runs[-1]], groups) for other in runs[:-1]]
    heads = ["suite", "pairs", *(f"{run.name}, %" for run in runs)]
    heads += [f"against {run.name}, points" for run in reversed(runs[:-1])]
    rows = [make_row("seen", *_cells(against_each, "groups", "group", "seen"), strong=True)]
    for suite in SUITES:
        rows.append(make_row(f"*{short(suite)}*", *_cells(against_each, "suites", "suite", suite)))
    unseen = _cells(against_each, "groups", "group", "unseen")
    rows.append(make_row("unseen, mean of four suites", *unseen, strong=True))
    return make_table(heads, rows).markdown()


def over_seeds(runs: Sequence[Run]) -> str:
    """Return the differences on unseen tasks, with intervals over tasks and training seeds; the last run is the arm."""
    differences = [(other.name, compare_over_seeds(other, runs[-1], SUITES)) for other in reversed(runs[:-1])]
    each = ", ".join(
        f"against {name} {points(d['difference'])} {point_interval(d)}" for name, d in differences
    )
    return f"If tasks and training seeds are resampled too, the differences on unseen tasks are: {each}."


def _cells(against_each: Sequence[dict[str, Any]], kind: str, key: str, name: str) -> list[Any]:
    entries = [e for comparison in against_each for e in comparison[kind] if e[key] == name]
    pairs = [entry["paired"][1] for entry in entries]
    if len(pairs) < len(against_each) or None in pairs:
        suites = ", ".join(("tabletop_seen", *SUITES))
        raise InspireError(f"The policies have no episodes of {name} in common. The table is of {suites}.")
    rates = [f"{100 * entry['rates'][0]['rate']:.1f}" for entry in entries]
    return [
        f"{pairs[0]['n']:,}",
        *rates,
        rate_cell(entries[0]["rates"][1]),
        *map(difference_cell, reversed(pairs)),
    ]


def _run(experiment: Path, policy: str, tag: str, seeds: Sequence[int]) -> Run:
    name, _, title = policy.partition("=")
    name, _, control = name.partition("/")
    behind = f"_{control}" if control else ""
    folders = [
        [experiment / "runs" / f"{name}{tag}_s{seed}{behind}_{g}" for g in ("seen", "unseen")]
        for seed in seeds
    ]
    return pool([[read_run(folder) for folder in of_seed] for of_seed in folders], title or name)


if __name__ == "__main__":
    main()
