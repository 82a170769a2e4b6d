"""Run stages, some side by side, until they are done or the time is over. A finished stage is never run again."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from inspire_vla.errors import InspireError
from inspire_vla.experiment.folder import JOURNAL
from inspire_vla.experiment.stages import Stage
from inspire_vla.files import append_json_line, read_json_lines

_STOPPING = ((signal.SIGINT, 45), (signal.SIGTERM, 10), (signal.SIGKILL, 10))
"""How commands are ended: signals, one after the other, each with seconds to wait."""
_OF_FILES = ("--out", "--dataset", "--policy", "--images-dir", "--policy.pretrained_init")


@dataclass(frozen=True)
class Progress:
    """Number of stages done, and of all stages."""

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
    """Run what is missing. After `minutes` the running commands are interrupted; the next call resumes them.

    `out`/journal.jsonl gets one line per command: its stage, commit at its start, seconds and outcome. What it prints
    goes to a file in `out`/logs.

    Args:
        commit: called when a command starts, because the working tree may change between commands.
        jobs: commands side by side, each on its share of the cores; one that no other can run beside has them all. A
            stage waits for the files that it needs.

    Raises:
        InspireError: a command failed. Its last lines are shown, and the other commands are interrupted.
    """
    shares = _shares(jobs)
    (out / "logs").mkdir(parents=True, exist_ok=True)
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    waiting = [stage for stage in plan if not stage.done.exists()]
    running: dict[int, tuple[Stage, RunningCommand, str | None]] = {}
    try:
        while waiting or running:
            ready = [stage for stage in waiting if stage.missing is None]
            alone = len(ready) == 1 and not running
            for slot in sorted({*range(len(shares))} - {*running}):
                if ready:
                    stage, cores = ready.pop(0), None if alone else shares[slot]
                    waiting.remove(stage)
                    at = commit()
                    running[slot] = stage, _start(stage, plan, out, cores), at
            if not running:
                raise InspireError(f"{waiting[0].name} needs what no stage makes: {waiting[0].missing}.")
            time.sleep(0.2)
            for slot, (stage, command, at) in list(running.items()):
                if command.outcome is not None:
                    del running[slot]
                    _finish(stage, command, out, at)
            if time.monotonic() > deadline:
                break
    finally:
        _stop([command for _, command, _ in running.values()])
        for stage, command, at in running.values():
            _record(out, stage, command, "interrupted", at)
    return Progress(sum(stage.done.exists() for stage in plan), len(plan))


def run_otherwise(plan: Sequence[Stage], out: Path) -> list[str]:
    """Names of finished stages that were run with other options than the plan has, by `out`/journal.jsonl.

    Options that name files are not compared, because an experiment may have moved.
    """
    if not (out / JOURNAL).exists():
        return []
    before: dict[str, list[str]] = {}
    for line in read_json_lines(out / JOURNAL):
        if (command := line.get("command")) and "--resume" not in command:
            before[str(line.get("stage"))] = _options(command[1:])
    return [
        stage.name
        for stage in plan
        if stage.done.exists() and before.get(stage.name, _options(stage.command)) != _options(stage.command)
    ]


def _options(command: Sequence[str]) -> list[str]:
    return [word for word in command if "/" not in word and word.partition("=")[0] not in _OF_FILES]


class RunningCommand:
    """A subcommand of `inspire` in a process of its own. What it prints is appended to `log`.

    Args:
        cores: numbers of the cores that it may use; None for all.
    """

    def __init__(self, arguments: Sequence[str], log: Path, cores: Sequence[int] | None = None) -> None:
        self.arguments, self.log = tuple(arguments), log
        self._started = time.monotonic()

        def prepare() -> None:
            # A program in the background ignores interrupts, and its children inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if cores is not None:
                os.sched_setaffinity(0, cores)

        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "inspire_vla", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                preexec_fn=prepare,
            )

    @property
    def outcome(self) -> str | None:
        """ "finished", or the exit status of a failure; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        return "finished" if status == 0 else f"exit status {status}"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def send(self, sign: signal.Signals) -> None:
        """Send a signal to the command and everything that it started, while it runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, sign)

    def tail(self) -> str:
        """The last lines that the command printed: at most twelve, and 1,500 characters."""
        text = self.log.read_text(errors="replace", encoding="utf-8").replace("\r", "\n")
        printed = [line for line in text.splitlines()[-200:] if line.strip()]
        return "\n".join(printed[-12:])[-1500:]


def _stop(commands: Sequence[RunningCommand]) -> None:
    """Interrupt commands; end those that do not stop, and kill the rest. Ctrl-C meanwhile only shortens the waiting."""
    with _interruptions_noted() as noted:
        for sign, patience in _STOPPING:
            for command in commands:
                command.send(sign)
            before, until = len(noted), time.monotonic() + patience
            while any(command.outcome is None for command in commands):
                if len(noted) > before or time.monotonic() > until:
                    break
                time.sleep(0.1)


@contextmanager
def _interruptions_noted() -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM be noted in the list, in place of the exception that they raise."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield noted
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: noted.append(number)) for number in signals}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shares(jobs: int) -> list[list[int] | None]:
    """The cores of each command; None for all, or where the system cannot restrict a process to cores."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise InspireError(f"{jobs} commands side by side need as many cores; found {len(cores)}.")
    return [cores[slot::jobs] for slot in range(jobs)]


def _start(stage: Stage, plan: Sequence[Stage], out: Path, cores: Sequence[int] | None) -> RunningCommand:
    number = plan.index(stage)
    Console().print(f"[bold]{number + 1}/{len(plan)}[/bold]  {stage.name}", highlight=False)
    command = stage.next_command()
    if stage.scrap is not None and command == stage.command:
        shutil.rmtree(stage.scrap, ignore_errors=True)
    return RunningCommand(command, out / "logs" / f"{number:03d}_{stage.log_name}.txt", cores)


def _finish(stage: Stage, command: RunningCommand, out: Path, commit: str | None) -> None:
    outcome = str(command.outcome)
    _record(out, stage, command, outcome, commit)
    if outcome != "finished":
        raise InspireError(
            f"{stage.name} failed ({outcome}). The last lines of {command.log}:\n{command.tail()}"
        )
    if not stage.done.exists():  # the command writes no such file itself
        stage.done.parent.mkdir(parents=True, exist_ok=True)
        stage.done.touch()


def _record(out: Path, stage: Stage, command: RunningCommand, outcome: str, commit: str | None) -> None:
    line = {"stage": stage.name, "command": ["inspire", *command.arguments], "outcome": outcome}
    append_json_line(out / JOURNAL, line | {"seconds": round(command.seconds, 1), "commit": commit})
