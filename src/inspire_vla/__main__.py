"""The command `inspire`, also as `python -m inspire_vla`. Loads nothing before Ctrl-C ends it without a traceback."""

import signal
import sys


def main() -> int:
    """Run the command and return its exit code: see `cli.main`, whose handlers hold while it runs.

    Before and after that, while the first modules load and while the interpreter ends, Ctrl-C ends the process at once,
    as it ends a program in C. A shell calls that status 130.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else a shell has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from inspire_vla.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
