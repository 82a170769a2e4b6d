"""`inspire attention`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from inspire_vla.backbones.devices import check_device
from inspire_vla.cli.options import Names, holds_out, refuse_unused
from inspire_vla.errors import InspireError, counted

if TYPE_CHECKING:
    from inspire_vla.evaluation import PolicyDescription


@dataclass(kw_only=True)
class Arguments:
    """Measure and draw the attention of base and InSpire on the objects mentioned."""

    policy: Names = ("nano_base", "nano_inspire")
    """Checkpoints, the base model's first."""
    suite: Names = ("seen", "unseen")
    """Suites or groups of the tabletop."""
    episodes: int = 3
    """Initial states per task."""
    method: Literal["rollout", "gradient"] = "rollout"
    """rollout: attention maps multiplied over the layers; gradient: weighted by the gradient of the output token."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Write figure.png, shares.svg and attention.json, also for `inspire report`."""
    figure: bool = False
    """Only draw the figure into --out; measure nothing."""
    examples: int = 1
    """Tasks of each suite in the figure."""
    device: str | None = None
    """cpu, cuda, …; by default the checkpoints'."""


@holds_out("writing")
def run(options: Arguments) -> None:
    from rich.progress import Progress

    from inspire_vla import benchmarks, policies

    check_device(options.device)
    if options.figure and options.out is None:
        raise InspireError("--figure needs --out FOLDER to draw into.")
    if options.figure:
        refuse_unused(options, ["episodes"], "--figure, which measures nothing,")
    if options.out is None:
        refuse_unused(options, ["examples"], "A call without --out, which draws no figure,")
    if options.episodes < 1 or options.examples < 0:
        raise InspireError(
            f"--episodes must be at least 1 and --examples at least 0, found {options.episodes}, {options.examples}."
        )
    if other := [suite for suite in options.suite if benchmarks.benchmark_of(suite) != benchmarks.DEFAULT]:
        raise InspireError(
            f"Attention is measured on the tabletop, which draws the objects' masks; found {other}."
        )
    for checkpoint in options.policy:
        benchmarks.check_inputs(policies.inputs(checkpoint))
    from inspire_vla.evaluation import provenance
    from inspire_vla.experiment.attention import check_names, count_states, measure_attention
    from inspire_vla.reports.attention import attention_table, compared
    from inspire_vla.reports.attention_files import write_attention
    from inspire_vla.reports.table import terminal

    about = [policies.describe(checkpoint) for checkpoint in options.policy]
    for policy in about:
        policies.check_attention(policy)
    names = _names(about)
    check_names(names)
    selected = benchmarks.select(options.suite, about[0])
    benchmark = selected.factory()
    agents = [
        (name, policies.agent_factory(checkpoint, options.device)())
        for name, checkpoint in zip(names, options.policy, strict=True)
    ]
    amount = {"episodes": 0 if options.figure else options.episodes, "examples": options.examples}
    console = terminal()
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("attention", total=count_states(benchmark, selected.suites, **amount))
        attention = measure_attention(
            agents, benchmark, selected.suites, **amount, method=options.method,
            on_state=lambda: progress.advance(bar),
        )  # fmt: skip
    if attention.measured:
        console.print(attention_table(attention.measured).rich())
        for row in compared(attention.measured):
            console.print(
                f"{row['policy']} − {row['to']} while acting, {row['group']}: {100 * row['mean']:+.2f} points of "
                f"attention [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}], n = {counted(row['n'], 'pair')}",
                highlight=False,
            )
    if options.out:
        attention.about.update(provenance(), policies=about)
        print(f"Written: {write_attention(options.out, attention)}")


def _names(about: "Sequence[PolicyDescription]") -> list[str]:
    """The names of the policies; with their checkpoints where two share a name."""
    names = [policy["name"] for policy in about]
    return [f"{p['name']} {p['checkpoint']}" if names.count(p["name"]) > 1 else p["name"] for p in about]
