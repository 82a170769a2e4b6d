"""One command of `inspire` while it runs: on its own cores, interrupted so that it can be gone on with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_GRACE_S = 45


class Running:
    """Starts the command; what it prints goes to the end of `log`.

    Args:
        cores: numbers of the cores it may use; None leaves it all of them.
    """

    def __init__(self, arguments: Sequence[str], log: Path, cores: Sequence[int] | None = None) -> None:
        self.arguments, self.log = tuple(arguments), log
        self._started = time.monotonic()
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}

        def prepare() -> None:
            # Heed interrupts, also where this program was started in the background, which ignores them.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if cores is not None:
                os.sched_setaffinity(0, cores)

        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "inspire_vla.cli", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=prepare,
            )

    @property
    def outcome(self) -> str | None:
        """ "finished", or with which exit status it failed; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        return "finished" if status == 0 else f"exit status {status}"

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._started

    def stop(self) -> None:
        """Interrupt the command and everything it started; kill it if it does not listen."""
        for sign, patience in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, 10)):
            if self._process.poll() is not None:
                return
            os.killpg(self._process.pid, sign)
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                continue

    def tail(self, lines: int = 12) -> str:
        """The last it printed."""
        text = self.log.read_text(errors="replace", encoding="utf-8").replace("\r", "\n")
        printed = [line for line in text.splitlines()[-200:] if line.strip()]
        return "\n".join(printed[-lines:])[-1500:]
