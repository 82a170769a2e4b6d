"""`inspire attention`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from inspire_vla.backbones.devices import check_device
from inspire_vla.cli.options import Names, holds_out, refuse_unused
from inspire_vla.errors import InspireError

if TYPE_CHECKING:
    from inspire_vla.reports import Attention

WHITE = (255, 255, 255)
TARGETS = ((255, 205, 70), (90, 220, 255), (255, 120, 200), (140, 235, 120))
"""Colours of the outlines of the first, second, … object mentioned."""
PATCH = 16
"""Pixels per image token. Attention shares are computed on masks of this resolution."""


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
    from rich.console import Console
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
    from inspire_vla.reports.attention import compared, summarise, write_attention

    about = [policies.describe(checkpoint) for checkpoint in options.policy]
    for policy in about:
        policies.check_attention(policy)
    names = _names(about)
    _check_names(names)
    selected = benchmarks.select(options.suite, about[0])
    benchmark = selected.factory()
    agents = [
        (name, policies.agent_factory(checkpoint, options.device)())
        for name, checkpoint in zip(names, options.policy, strict=True)
    ]
    amount = {"episodes": 0 if options.figure else options.episodes, "examples": options.examples}
    console = Console()
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("attention", total=count_states(benchmark, selected.suites, **amount))
        found = measure_attention(
            agents, benchmark, selected.suites, **amount, method=options.method,
            on_state=lambda: progress.advance(bar),
        )  # fmt: skip
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


def measure_attention(
    agents: Sequence[tuple[str, Any]],
    benchmark: Any,
    suites: Sequence[str],
    *,
    episodes: int,
    examples: int = 1,
    method: str = "rollout",
    on_state: Callable[[], None] = lambda: None,
) -> "Attention":
    """Let every agent decide at the first image of each task, and measure its attention.

    Args:
        agents: (name, agent), the base model first.
        episodes: initial states per task that are measured; 0 for only the examples.
        examples: tasks of each suite that are drawn, the first ones, in their first state.
        on_state: called after each initial state.

    Raises:
        InspireError: two agents of one name, or as `lerobot_plugin.attention.looks`.
    """
    from inspire_vla.evaluation import FIRST_SEED
    from inspire_vla.lerobot_plugin.attention import looks
    from inspire_vla.reports.attention import Attention, Example, Measurement

    _check_names([name for name, _ in agents])
    examples_found: list[Example] = []
    measured: list[Measurement] = []
    for suite in suites:
        group = benchmark.groups[suite]
        for number, task in enumerate(benchmark.tasks(suite)):
            shown = number < examples
            if not shown and not episodes:
                break
            env = benchmark.make(suite, task)
            for episode in range(max(episodes, int(shown))):
                seed = FIRST_SEED + episode
                observation, info = env.reset(seed=seed)
                found = [(name, looks(a, observation, info["task"], method=method)) for name, a in agents]
                shares = {name: [_share(env, info, look) for look in its] for name, its in found}
                if shown and not episode:
                    examples_found.append(_example(env, info, suite, seed, found, shares))
                if episode < episodes:
                    for name, its in found:
                        for look, share in zip(its, shares[name], strict=True):
                            of = name, group, suite, task, seed, look.doing, look.mention
                            measured.append(Measurement(*of, share.share, share.area))
                on_state()
            env.close()
    return Attention(
        tuple(examples_found),
        tuple(measured),
        {"method": method, "suites": list(suites), "episodes": episodes},
    )


def count_states(benchmark: Any, suites: Sequence[str], *, episodes: int, examples: int) -> int:
    """Return the number of initial states that `measure_attention` visits."""
    tasks = [len(benchmark.tasks(suite)) for suite in suites]
    return sum(n * episodes if episodes else min(n, examples) for n in tasks)


def _mask(masks: Any, info: Any, mention: str | None) -> Any:
    """The mask (height, width) of the object mentioned; without a mention, of all objects."""
    mentions = list(info["mentions"])
    return masks[mentions.index(mention)] if mention in mentions else masks.any(axis=0)


def _share(env: Any, info: Any, look: Any) -> Any:
    from inspire_vla.reports.attention import attention_share

    height, width = look.weights.shape
    masks = env.target_masks("image", PATCH * height, PATCH * width)
    return attention_share(look.weights, _mask(masks, info, look.mention))


def _example(env: Any, info: Any, suite: str, seed: int, found: Any, shares: Any) -> Any:
    from inspire_vla.reports.attention import TILE, Example, Tile, outlined, overlay

    image = env.image("image", TILE, TILE)
    masks = env.target_masks("image", TILE, TILE)
    camera = overlay(image, None, size=TILE)
    for mask, colour in zip(masks, TARGETS, strict=False):
        camera = outlined(camera, mask, colour)
    tiles = [Tile(camera, "", "camera image", "outlined: " + ", ".join(info["mentions"]))]
    acting: list[Tile] = []
    answering: list[Tile] = []
    for name, its in found:
        for look, share in zip(its, shares[name], strict=True):
            attended = overlay(image, look.weights, size=TILE)
            shown = outlined(attended, _mask(masks, info, look.mention), WHITE, width=1)
            about = f"{look.mention}? {look.said}." if look.mention else ""
            (answering if look.mention else acting).append(Tile(shown, name, look.doing, about, share))
    return Example(info["task"], suite, seed, (*tiles, *acting, *answering))


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise InspireError(f"every policy needs a name of its own, found {names}.")


def _names(about: list[dict[str, Any]]) -> list[str]:
    """The names of the policies; with their checkpoints where two share a name."""
    names = [policy["name"] for policy in about]
    return [f"{p['name']} {p['checkpoint']}" if names.count(p["name"]) > 1 else p["name"] for p in about]


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="Attention on the objects mentioned, % of the image's", title_justify="left")
    for head in ("tasks", "policy", "while"):
        table.add_column(head)
    for head in ("n", "mean \\[95 %]", "median \\[quartiles]", "chance", "× chance"):
        table.add_column(head, justify="right")
    for s in rows:
        table.add_row(
            s["group"], s["policy"], s["doing"], str(s["n"]),
            f"{100 * s['mean']:.1f} \\[{100 * s['low']:.1f}–{100 * s['high']:.1f}]",
            f"{100 * s['share_50']:.1f} \\[{100 * s['share_25']:.1f}–{100 * s['share_75']:.1f}]",
            f"{100 * s['chance']:.1f}", f"{s['ratio_50']:.1f}",
        )  # fmt: skip
    return table
