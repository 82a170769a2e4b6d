"""Carry stages out, some side by side, as long as there is time; what is finished is never done twice."""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from inspire_vla.errors import InspireError
from inspire_vla.experiment.running import Running
from inspire_vla.experiment.stages import Stage

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Progress:
    """How far the experiment is."""

    done: int
    total: int

    @property
    def finished(self) -> bool:
        return self.done == self.total


def run_stages(
    plan: Sequence[Stage],
    out: Path,
    *,
    minutes: float | None = None,
    commit: Callable[[], str | None] = lambda: None,
    jobs: int = 1,
) -> Progress:
    """Run what is missing. After `minutes` the running commands are interrupted, to be gone on with by the next call.

    Every command, its commit when it began, time and outcome is a line of `out`/journal.jsonl, what it printed a file
    of `out`/logs.

    Args:
        commit: asked when a command begins, for the tree may have moved on since the last.
        jobs: commands side by side, each on its share of the cores. A stage waits for the files it needs.

    Raises:
        InspireError: a command failed; its last lines are shown. The others are interrupted.
    """
    shares = _shares(jobs)
    (out / "logs").mkdir(parents=True, exist_ok=True)
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    waiting = [stage for stage in plan if not stage.done.exists()]
    running: dict[int, tuple[Stage, Running, str | None]] = {}
    try:
        while waiting or running:
            for lane in range(len(shares)):
                stage = next((stage for stage in waiting if stage.missing is None), None)
                if lane not in running and stage is not None:
                    waiting.remove(stage)
                    running[lane] = stage, _start(stage, plan, out, shares[lane]), commit()
            if not running:
                raise InspireError(f"{waiting[0].name} needs what no stage makes: {waiting[0].missing}.")
            time.sleep(0.2)
            for lane, (stage, command, at) in list(running.items()):
                if command.outcome is not None:
                    del running[lane]
                    _finish(stage, command, out, at)
            if time.monotonic() > deadline:
                break
    finally:
        for stage, command, at in running.values():
            command.stop()
            _note(out, stage, command, "interrupted", at)
    return Progress(sum(stage.done.exists() for stage in plan), len(plan))


def _shares(jobs: int) -> list[list[int] | None]:
    """The cores of each of the commands that run side by side; None: all, or the system cannot tell them apart."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise InspireError(f"{jobs} commands side by side need as many cores; here are {len(cores)}.")
    return [cores[lane::jobs] for lane in range(jobs)]


def _start(stage: Stage, plan: Sequence[Stage], out: Path, cores: Sequence[int] | None) -> Running:
    number = plan.index(stage)
    Console().print(f"[bold]{number + 1}/{len(plan)}[/bold]  {stage.name}", highlight=False)
    command = stage.next_command()
    if stage.scrap is not None and command == stage.command:
        shutil.rmtree(stage.scrap, ignore_errors=True)
    return Running(command, out / "logs" / f"{number:03d}_{stage.log_name}.txt", cores)


def _finish(stage: Stage, command: Running, out: Path, commit: str | None) -> None:
    outcome = str(command.outcome)
    _note(out, stage, command, outcome, commit)
    if outcome != "finished":
        raise InspireError(
            f"{stage.name} failed ({outcome}). Its last lines, of {command.log}:\n{command.tail()}"
        )
    if not stage.done.exists():  # commands that leave no such file themselves
        stage.done.parent.mkdir(parents=True, exist_ok=True)
        stage.done.write_text("", encoding="utf-8")


def _note(out: Path, stage: Stage, command: Running, outcome: str, commit: str | None) -> None:
    line = {"stage": stage.name, "command": ["inspire", *command.arguments], "outcome": outcome}
    with open(out / JOURNAL, "a", encoding="utf-8") as journal:
        journal.write(json.dumps(line | {"seconds": round(command.seconds, 1), "commit": commit}) + "\n")
