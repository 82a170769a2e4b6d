"""inspire attention: where policies look while they answer and while they act, and how much of it is on the objects."""

import argparse
from typing import Any

from inspire_vla.errors import InspireError


def attention_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--policy",
        nargs="+",
        default=["nano_base", "nano_inspire"],
        help="checkpoints, the base model's first; default: the shipped pair",
    )
    sub.add_argument(
        "--suite", nargs="+", default=["seen", "unseen"], help="suites, or seen, unseen (default: both)"
    )
    sub.add_argument("--episodes", type=int, default=3, help="initial states a task, default: %(default)s")
    sub.add_argument(
        "--method",
        default="rollout",
        help="rollout (default): where it looks; gradient: where it looks to say what it says",
    )
    sub.add_argument(
        "--out",
        metavar="FOLDER",
        help="write figure.png, shares.svg and attention.json, for `inspire report` too",
    )
    sub.add_argument("--figure", action="store_true", help="only draw the figure into --out; measure nothing")
    sub.add_argument(
        "--examples", type=int, default=1, help="tasks of each suite in the figure, default: %(default)s"
    )
    sub.add_argument("--device", help="cpu, cuda, …; default: the checkpoints'")


def attention(options: argparse.Namespace) -> None:
    """Look over the suites' initial states, print the shares, and write what was asked for."""
    from rich.console import Console
    from rich.progress import Progress

    from inspire_vla.cli import benchmarks, policies
    from inspire_vla.cli.looking import look_around, states_of
    from inspire_vla.evaluation import provenance
    from inspire_vla.reports.attention_figure import write_attention
    from inspire_vla.reports.attention_share import compared, summarise

    if options.figure and options.out is None:
        raise InspireError("--figure needs --out FOLDER to draw into.")
    if options.episodes < 1 or options.examples < 0:
        raise InspireError(
            f"--episodes must be at least 1 and --examples at least 0, found {options.episodes}, {options.examples}."
        )
    about = [policies.describe(checkpoint) for checkpoint in options.policy]
    agents = [
        (name, policies.agent_for(checkpoint, options.device)())
        for name, checkpoint in zip(_names(about), options.policy, strict=True)
    ]
    benchmark = benchmarks.tabletop_for(about[0])()
    suites = benchmarks.expand(options.suite, benchmark.groups)
    amount = {"episodes": 0 if options.figure else options.episodes, "examples": options.examples}
    console = Console()
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("looking", total=states_of(benchmark, suites, **amount))
        found = look_around(
            agents, benchmark, suites, **amount, method=options.method, on_state=lambda: progress.advance(bar)
        )
    if found.measured:
        console.print(_table(summarise(found.measured)))
        for row in compared(found.measured):
            console.print(
                f"{row['policy']} − {row['to']} while acting, {row['group']}: {100 * row['mean']:+.2f} points of "
                f"attention [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}], n = {row['n']} pairs",
                highlight=False,
            )
    if options.out:
        found.about.update(provenance(), policies=about)
        print(f"Written: {write_attention(options.out, found)}")


def _names(about: list[dict[str, Any]]) -> list[str]:
    """The policies' names; with their checkpoints' where two share one."""
    names = [policy["name"] for policy in about]
    return [f"{p['name']} {p['checkpoint']}" if names.count(p["name"]) > 1 else p["name"] for p in about]


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="Attention on the objects mentioned, % of the image's", title_justify="left")
    for head in (
        "tasks",
        "policy",
        "while",
        "n",
        "mean \\[95 %]",
        "median \\[quartiles]",
        "chance",
        "× chance",
    ):
        table.add_column(head, justify="left" if head in ("tasks", "policy", "while") else "right")
    for s in rows:
        table.add_row(
            s["group"], s["policy"], s["doing"], str(s["n"]),
            f"{100 * s['mean']:.1f} \\[{100 * s['low']:.1f}–{100 * s['high']:.1f}]",
            f"{100 * s['share_50']:.1f} \\[{100 * s['share_25']:.1f}–{100 * s['share_75']:.1f}]",
            f"{100 * s['chance']:.1f}", f"{s['ratio_50']:.1f}",
        )  # fmt: skip
    return table
