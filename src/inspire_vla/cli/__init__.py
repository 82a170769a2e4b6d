"""The command `inspire`. Each module named in COMMANDS is one subcommand: its `Arguments`, and `run`."""

import contextlib
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from inspire_vla.errors import InspireError, did_you_mean, is_machine_fault, reason_of

COMMANDS = (
    "demo", "collect", "mentions", "label", "labels", "pretrain", "train", "convert", "suites", "evaluate", "compare",
    "report", "reproduce", "serve", "steer", "attention", "view", "card", "doctor",
)  # fmt: skip
AT_ONCE = ("mentions", "doctor")
"""Commands that answer at once. The others load libraries for seconds, LeRobot for up to half a minute."""

QUICK = ("mentions", "labels", "suites", "compare", "report", "view", "card", "doctor")
"""Commands that leave nothing to resume."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns its exit code: 0 done, 2 invalid input, 130 interrupted by Ctrl-C, 143 terminated by SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _signals_raise(), _plain_warnings():
            code = _run(words)
            if sys.stdout:  # a program without a console has none
                sys.stdout.flush()
            return code
    except KeyboardInterrupt as interruption:
        return _stopped(interruption)
    except BrokenPipeError:  # `inspire … | head`
        # What is left in the buffer is flushed when Python ends, which would be a second error (exit code 120).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        from inspire_vla import __version__

        print(f"inspire_vla {__version__}")
        return 0
    if words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS)
        print(f"inspire: unknown command {words[0]!r}.{hint}", file=sys.stderr)
        return 2
    options = parse(words)
    command = _module(words[0])
    try:
        if words[0] not in AT_ONCE and sys.stderr.isatty():  # a log needs no such line
            print(f"inspire {words[0]}: loading …", file=sys.stderr, flush=True)
        return command.run(options) or 0
    except InspireError as error:
        print(f"inspire {words[0]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        hint = ""
        if words[0] not in QUICK:
            hint = getattr(command, "how_to_resume", _how_to_resume)(options)
        return _stopped(interruption, hint)
    except OSError as error:  # a file or folder that this user may not read, or that is gone
        if error.filename is None and not is_machine_fault(error):
            raise
        file = "" if error.filename is None else f"{error.filename}: "
        print(f"inspire {words[0]}: {file}{reason_of(error)}.", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"inspire {words[0]}: not enough memory ({reason_of(error)}).", file=sys.stderr)
        return 2


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings of this package as one line, without the place in its code."""
    original, package = warnings.formatwarning, str(Path(__file__).parents[1])

    def format_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if filename.startswith(package):
            return f"warning: {message}\n"
        return original(message, category, filename, lineno, line)

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = original


def _stopped(interruption: KeyboardInterrupt, hint: str = "") -> int:
    print(f"\nStopped. {hint}".rstrip(), file=sys.stderr)
    return 143 if isinstance(interruption, Terminated) else 130


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: the command ends as by Ctrl-C."""


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and Terminated on SIGTERM, so that workers are ended and locks released.

    Where a module is being imported, the process ends at once instead. An exception does not get out of there with
    certainty: torch's C++ drops it, or aborts; NumPy, interrupted, fails at its next import. Servers set handlers of
    their own.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            os.write(2, b"\nStopped.\n")  # sys.stderr may be what was interrupted
            os._exit(128 + number)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in list(before.items()):
        if handler in (signal.SIG_IGN, None):  # a shell ignores SIGINT for what it starts in the background
            del before[number]
        else:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether an import is in progress between this frame and the command."""
    while frame is not None and frame.f_code is not _run.__code__:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            return True
        frame = frame.f_back
    return False


def parse(words: Sequence[str]) -> Any:
    """Parse ["evaluate", "--out", …] into the `Arguments` of the subcommand.

    Only this subcommand's module is imported. Words after `--` become its `lerobot_arguments`.

    Raises:
        SystemExit: with code 2 for words that the command does not accept, with code 0 for --help.
    """
    import tyro

    name, *rest = words
    end = rest.index("--") if "--" in rest else len(rest)
    arguments = _module(name).Arguments
    options = tyro.cli(
        arguments,
        prog=f"inspire {name}",
        args=rest[:end],
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )
    if end < len(rest):
        if not hasattr(options, "lerobot_arguments"):
            print(f"inspire {name}: takes no arguments after --, found {rest[end + 1 :]}.", file=sys.stderr)
            raise SystemExit(2)
        options.lerobot_arguments = tuple(rest[end + 1 :])
    return options


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"inspire_vla.cli.{name}")


def _help() -> str:
    lines = [f"  {name:<11}{_module(name).Arguments.__doc__.splitlines()[0]}" for name in COMMANDS]
    return "\n".join(
        [
            "usage: inspire COMMAND [OPTIONS]        inspire COMMAND --help        inspire --version",
            "",
            "Vision-language-action models that answer questions about where objects are before they act.",
            "",
            *lines,
        ]
    )


def _how_to_resume(options: Any) -> str:
    return "What was finished is kept; the same command resumes."
