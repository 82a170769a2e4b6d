"""Carry stages out, one after the other, as long as there is time; what is finished is never done twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from inspire_vla.errors import InspireError
from inspire_vla.experiment.stages import Stage

_GRACE_S = 45
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
    plan: Sequence[Stage], out: Path, *, minutes: float | None = None, commit: str | None = None
) -> Progress:
    """Run what is missing. After `minutes` the running command is interrupted, to be gone on with by the next call.

    Every command, its commit, time and outcome is a line of `out`/journal.jsonl, what it printed a file of `out`/logs.

    Raises:
        InspireError: a command failed; its last lines are shown.
    """
    console = Console()
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    for number, stage in enumerate(plan):
        if stage.done.exists():
            continue
        console.print(f"[bold]{number + 1}/{len(plan)}[/bold]  {stage.name}", highlight=False)
        log = logs / f"{number:03d}_{stage.name.replace(' ', '_').replace(',', '')}.txt"
        command = stage.next_command()
        if stage.scrap is not None and command == stage.command:
            shutil.rmtree(stage.scrap, ignore_errors=True)
        started = time.monotonic()
        outcome = _run(command, log, deadline)
        _note(out, stage.name, command, outcome, time.monotonic() - started, commit)
        if outcome == "interrupted":
            return Progress(number, len(plan))
        if outcome != "finished":
            raise InspireError(f"{stage.name} failed ({outcome}). Its last lines, of {log}:\n{_tail(log)}")
        if not stage.done.exists():  # commands that leave no such file themselves
            stage.done.parent.mkdir(parents=True, exist_ok=True)
            stage.done.write_text("")
    return Progress(len(plan), len(plan))


def _run(arguments: Sequence[str], log: Path, deadline: float | None) -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "inspire_vla.cli", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_listen,
        )
        try:
            while process.poll() is None:
                if deadline is not None and time.monotonic() > deadline:
                    _stop(process)
                    return "interrupted"
                time.sleep(0.2)
        except BaseException:
            _stop(process)
            raise
    return "finished" if process.returncode == 0 else f"exit status {process.returncode}"


def _listen() -> None:
    """In the command: heed interrupts, also where this program was started in the background, which ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stop(process: subprocess.Popen) -> None:
    """Interrupt the command and everything it started; kill it if it does not listen."""
    for sign, patience in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _note(
    out: Path, stage: str, command: Sequence[str], outcome: str, seconds: float, commit: str | None
) -> None:
    line = {"stage": stage, "command": ["inspire", *command], "outcome": outcome}
    with open(out / JOURNAL, "a") as journal:
        journal.write(json.dumps(line | {"seconds": round(seconds, 1), "commit": commit}) + "\n")


def _tail(log: Path, lines: int = 12) -> str:
    text = log.read_text(errors="replace").replace("\r", "\n")
    return "\n".join(line for line in text.splitlines()[-200:] if line.strip())[-1500:]
