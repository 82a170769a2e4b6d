"""`inspire demo`: collect, train, evaluate and report in a few minutes on two cores.

A few demonstrations are collected and a few training steps run, to show that both work. Then the included base and
InSpire checkpoints act on seen and unseen tasks; a table and a page compare them.
"""

import contextlib
import io
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from inspire_vla.cli.options import Names, Positive, holds_out
from inspire_vla.errors import InspireError
from inspire_vla.worker_processes import usable_cores

if TYPE_CHECKING:
    from inspire_vla.evaluation import PolicyDescription, Run
    from inspire_vla.reports.attention import Attention

NAMES = ("base", "InSpire")
SUITES = ("seen", "unseen")
MARKER = "made_by_inspire_demo"
"""A file that marks the demo's folder. Only in a folder with it does the demo replace anything."""
LAYOUT_RANDOMNESS = 0.25
"""As in training and evaluation of the included pair: docs/appendix/protocol.md."""
ATTENTION_SUITES = ("tabletop_seen", "tabletop_spatial", "tabletop_goal")
"""Suites whose attention is measured and drawn."""
NOTES = (
    """This is the demonstration: few episodes, to see base and InSpire act, not to measure them. The intervals show \
how little so few episodes can tell; docs/results.md has the measurement.""",
    """The nano models are small and know only this benchmark. Success is that of the included checkpoints, whatever \
it is.""",
)


@dataclass(kw_only=True)
class Arguments:
    """Collect, train, evaluate and compare with the nano model in a few minutes, and write a page."""

    out: Path = Path("runs/demo")
    """Folder of the demo."""
    base: str = "nano_base"
    """Checkpoint of the base model."""
    inspire: str = "nano_inspire"
    """Checkpoint of InSpire."""
    episodes: Positive = 1
    """Episodes per task and policy."""
    suite: Names = SUITES
    """Suites or groups of the tabletop."""
    workers: Positive = field(default_factory=usable_cores)
    """Processes; by default one per core."""
    demonstrations: Positive = 4
    """Demonstrations to collect."""
    steps: Positive = 10
    """Training steps."""


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """LeRobot warns about video decoders that nothing here needs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@holds_out("running the demo in")
@_without_warnings()
def run(options: Arguments) -> None:
    from rich.console import Console

    from inspire_vla import benchmarks, policies
    from inspire_vla.evaluation import compare, select_tasks
    from inspire_vla.files import write_json
    from inspire_vla.reports.page import write_page
    from inspire_vla.reports.tables import print_comparison
    from inspire_vla.tabletop.collection import collect

    out, checkpoints = options.out, (options.base, options.inspire)
    console = Console()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    about = [policies.describe(c, name) for name, c in zip(NAMES, checkpoints, strict=True)]
    for policy in about:
        benchmarks.check_inputs(policy)
        policies.check_attention(policy)
    selected = benchmarks.select(options.suite, about[0])
    select_tasks(selected.factory(), selected.suites)  # before a minute of demonstrations and training
    _claim(out)
    started = time.monotonic()

    console.rule("1  Demonstrations with labels", align="left")
    dataset = out / f"demonstrations_{options.demonstrations}"
    count = options.demonstrations
    report = collect("tabletop_seen", count, dataset, processes=min(options.workers, count))
    console.print(str(report), highlight=False)

    console.rule("2  A few training steps", align="left")
    console.print(_train(dataset, out / "training", options.steps), highlight=False)

    console.rule("3  Base and InSpire act on the same tasks from the same initial states", align="left")
    runs = [
        _evaluate(out, checkpoint, policy, options.suite, options.episodes, options.workers)
        for checkpoint, policy in zip(checkpoints, about, strict=True)
    ]

    console.rule("4  Results", align="left")
    comparison = compare(runs)
    write_json(out / "comparison.json", comparison)
    print_comparison(comparison, console=console)
    page = write_page(
        out / "index.html",
        comparison,
        title="InSpire and its base model: a demonstration",
        attention=_attention(out, checkpoints, about[0]),
        notes=NOTES,
        max_videos=20,
    )
    minutes = (time.monotonic() - started) / 60
    console.print(f"\n{minutes:.1f} minutes. The page, with videos: [bold]{page}[/bold]", highlight=False)


def _claim(out: Path) -> None:
    """Create the demo's folder, or reuse one that the demo made. Raises InspireError for any other content."""
    if out.exists() and not (out / MARKER).exists():
        others = sorted(path.name for path in out.iterdir())[:5] if out.is_dir() else ["a file"]
        if others:
            raise InspireError(
                f"{out} holds other things, which the demo might overwrite: {others}. Give it a folder of its own, "
                "such as --out runs/demo."
            )
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def _train(dataset: Path, out: Path, steps: int) -> str:
    """Train InSpire for a few steps. What LeRobot prints goes to training.log."""
    from inspire_vla.lerobot_plugin.checkpoints import find
    from inspire_vla.lerobot_plugin.training import train

    shutil.rmtree(out, ignore_errors=True)
    arguments = [
        f"--dataset.root={dataset}", f"--output_dir={out}", f"--steps={steps}", f"--save_freq={steps}",
        "--batch_size=8", "--policy.vq.codes_per_level=32", "--log_freq=1", "--wandb.enable=false",
    ]  # fmt: skip
    log = out.with_name("training.log")
    started = time.monotonic()
    with _output_to(log):
        train(arguments, recipe="nano_tabletop")
    return f"{steps} steps in {time.monotonic() - started:.0f} s: {find(out)} (log: {log})"


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Send what is printed and logged to a file."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logging.disable(logging.NOTSET)
    root.handlers.clear()  # one of them may write to the terminal
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(logging.WARNING)
        log.write_text(text.getvalue(), encoding="utf-8")


def _evaluate(
    out: Path,
    checkpoint: str,
    policy: "PolicyDescription",
    suites: Sequence[str],
    episodes: int,
    workers: int,
) -> "Run":
    from inspire_vla import benchmarks, policies
    from inspire_vla.evaluation import EvaluationPlan, evaluate
    from inspire_vla.reports.video import write_episode_video

    selected = benchmarks.select(suites, policy, benchmarks.Options(layout_randomness=LAYOUT_RANDOMNESS))
    default = benchmarks.select(SUITES, policy).suites
    others = [] if selected.suites == default else list(selected.suites)
    plan = EvaluationPlan(
        suites=selected.suites,
        episodes_per_task=episodes,
        policy={**policy, "layout_randomness": LAYOUT_RANDOMNESS},
        videos_per_task=1,
        filmed_tasks=2,
    )
    return evaluate(
        out / "_".join(["run", policy["name"], str(policy["sha256"])[:8], str(episodes), *others]),
        plan,
        benchmark=selected.factory,
        agent=policies.agent_factory(checkpoint),
        workers=workers,
        video_writer=write_episode_video,
        rule=policies.answer_rule(policy, checkpoint=checkpoint),
    )


def _attention(out: Path, checkpoints: Sequence[str], policy: "PolicyDescription") -> "Attention":
    """Measure attention in one initial state of every task; draw the first task of each suite."""
    from inspire_vla import benchmarks, policies
    from inspire_vla.experiment.attention import measure_attention
    from inspire_vla.reports.attention_files import write_attention

    agents = [(name, policies.agent_factory(c)()) for name, c in zip(NAMES, checkpoints, strict=True)]
    selected = benchmarks.select(ATTENTION_SUITES, policy)
    attention = measure_attention(agents, selected.factory(), selected.suites, episodes=1)
    write_attention(out / "attention", attention)
    return attention
