"""`inspire demo`: the whole road in one go, in a few minutes on two cores, and a page at its end.

collect a handful of labelled demonstrations ─▶ a few training steps        (that the road is whole)
shipped base and InSpire checkpoints ─▶ act on seen and unseen tasks ─▶ table, page      (what it is for)
"""

import contextlib
import io
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from inspire_vla import reports
from inspire_vla.cli import benchmarks, policies
from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EvaluationPlan, Run, compare, evaluate, write_comparison

NAMES = ("base", "InSpire")
SUITES = ("seen", "unseen")
"""Played where no others are asked for."""
MARKER = "made_by_inspire_demo"
"""A file in the demo's folder, in which it replaces what a former call made."""
LAYOUT_RANDOMNESS = 0.25
"""As the shipped pair was trained and measured: docs/appendix/protocol.md."""
LOOKED_AT = ("tabletop_seen", "tabletop_spatial", "tabletop_goal")
"""Suites whose attention is shown and measured."""
NOTES = (
    """This is the demonstration: few episodes, to see base and InSpire act, not to measure them. The intervals say \
how little so few episodes can show; docs/results.md has the measurement.""",
    """The nano models are small and know nothing but this benchmark. Success is that of the shipped checkpoints, \
whatever it is.""",
)


def run_demo(
    out: Path,
    *,
    base: str,
    inspire: str,
    episodes: int,
    suites: Sequence[str],
    workers: int,
    demonstrations: int,
    steps: int,
) -> Path:
    """Run all stages and return the page's path. Stages that a former call finished in `out` are kept.

    Raises InspireError where `out` holds anything that is not the demo's.
    """
    console = Console()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)  # LeRobot warns of decoders that nothing here needs
    descriptions = [policies.describe(c, name) for name, c in zip(NAMES, (base, inspire), strict=True)]
    _take(out)
    started = time.monotonic()

    console.rule("1  Demonstrations with labels", align="left")
    dataset = out / f"demonstrations_{demonstrations}"
    console.print(_collect(dataset, demonstrations, workers), highlight=False)

    console.rule("2  A few training steps", align="left")
    console.print(_train(dataset, out / "training", steps), highlight=False)

    console.rule("3  Base and InSpire act, on the same tasks from the same states", align="left")
    runs = [
        _evaluate(out, checkpoint, description, suites, episodes, workers)
        for checkpoint, description in zip((base, inspire), descriptions, strict=True)
    ]

    console.rule("4  What came out", align="left")
    comparison = compare(runs)
    write_comparison(out / "comparison.json", comparison)
    reports.print_comparison(comparison, console=console)
    page = reports.write_page(
        out / "index.html",
        comparison,
        title="InSpire and its base model: a demonstration",
        attention=_attention(out, (base, inspire), descriptions[0]),
        notes=NOTES,
        max_videos=20,
    )
    minutes = (time.monotonic() - started) / 60
    console.print(f"\n{minutes:.1f} minutes. The page, with videos: [bold]{page}[/bold]", highlight=False)
    return page


def _take(out: Path) -> None:
    """Make the demo's folder, or take it again."""
    if out.exists() and not (out / MARKER).exists():
        found = sorted(path.name for path in out.iterdir())[:5] if out.is_dir() else ["a file"]
        if found:
            raise InspireError(
                f"{out} holds other things, which the demo might overwrite: {found}. Give it a folder of its own, "
                "such as --out runs/demo."
            )
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def _collect(dataset: Path, demonstrations: int, workers: int) -> str:
    from inspire_vla.tabletop.collection import collect

    return str(collect("tabletop_seen", demonstrations, dataset, processes=min(workers, demonstrations)))


def _train(dataset: Path, out: Path, steps: int) -> str:
    """Train InSpire for a few steps; LeRobot's log goes into a file."""
    from inspire_vla.lerobot_plugin.training import train

    shutil.rmtree(out, ignore_errors=True)
    arguments = [
        f"--dataset.root={dataset}", f"--output_dir={out}", f"--steps={steps}", f"--save_freq={steps}",
        "--batch_size=8", "--policy.vq.codes_per_level=32", "--log_freq=1", "--wandb.enable=false",
    ]  # fmt: skip
    log = io.StringIO()
    started = time.monotonic()
    try:
        with _logged(log):
            train(arguments, recipe="nano_tabletop")
    finally:
        (out.parent / "training.log").write_text(log.getvalue(), encoding="utf-8")
    seconds = time.monotonic() - started
    return f"{steps} steps in {seconds:.0f} s: {policies.find(out)} (log: {out.parent / 'training.log'})"


@contextlib.contextmanager
def _logged(log: io.StringIO) -> Any:
    """Send what is printed and logged into `log`."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    logging.disable(logging.NOTSET)
    root.handlers.clear()  # one may already write to the terminal
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        logging.disable(logging.WARNING)


def _evaluate(
    out: Path, checkpoint: str, policy: dict[str, Any], suites: Sequence[str], episodes: int, workers: int
) -> Run:
    benchmark = benchmarks.tabletop_for(policy, LAYOUT_RANDOMNESS)
    groups = benchmark().groups
    played = benchmarks.expand(suites, groups)
    others = [] if played == benchmarks.expand(SUITES, groups) else list(played)
    plan = EvaluationPlan(
        suites=played,
        episodes_per_task=episodes,
        policy={**policy, "layout_randomness": LAYOUT_RANDOMNESS},
        videos_per_task=1,
        filmed_tasks=2,
    )
    return evaluate(
        out / "_".join(["run", policy["name"], policy["sha256"][:8], str(episodes), *others]),
        plan,
        benchmark=benchmark,
        agent=policies.agent_for(checkpoint),
        workers=workers,
        video_writer=reports.write_episode_video,
    )


def _attention(out: Path, checkpoints: Sequence[str], policy: dict[str, Any]) -> reports.Attention:
    """Where base and InSpire look: one initial state of every task measured, the first of some suites shown."""
    from inspire_vla.cli.looking import look_around

    agents = [(name, policies.agent_for(c)()) for name, c in zip(NAMES, checkpoints, strict=True)]
    found = look_around(agents, benchmarks.tabletop_for(policy)(), LOOKED_AT, episodes=1)
    reports.write_attention(out / "attention", found)
    return found
