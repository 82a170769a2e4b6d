"""Laws of worker processes: every number is mapped once, and workers leave with their parent."""

import math
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.worker_processes import map_in_processes
from tests.processes import still_running


def exit_at_two(number: int) -> None:
    if number == 2:
        os._exit(1)


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(InspireError, match="worker process died"):
        list(map_in_processes(exit_at_two, [1, 2, 3], 2))


COMMAND = """
import sys, time
from inspire_vla import cli
from inspire_vla.worker_processes import map_in_processes

class Command:
    @staticmethod
    def run(options):
        list(map_in_processes(time.sleep, [1000, 1000], 2))

if __name__ == "__main__":
    cli.parse, cli._module = lambda words: None, lambda name: Command
    sys.exit(cli.main(["collect"]))
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_workers_leave_within_a_second_when_their_parent_ends(tmp_path, sent, code):
    """In the middle of a call that never returns."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND, encoding="utf-8")
    parent = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(workers := _workers_in_a_call(parent.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    parent.send_signal(sent)
    stderr = parent.communicate()[1]
    assert parent.returncode == code
    assert "Traceback" not in stderr
    assert not still_running(workers, seconds=1)


def _workers_in_a_call(pid):
    """Workers with a second thread, which watches the parent: they have begun to work."""
    children = psutil.Process(pid).children(recursive=True)
    return [p for p in children if "spawn_main" in " ".join(p.cmdline()) and p.num_threads() >= 2]


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_every_number_is_mapped_once(processes):
    assert sorted(map_in_processes(math.factorial, [3, 1, 4], processes)) == [1, 6, 24]


class CountsItsPickles:
    """May hold a long list, as the jobs of an import."""

    pickles = 0

    def __reduce__(self):
        self.pickles += 1
        return CountsItsPickles, ()

    def __call__(self, number: int) -> int:
        return number


def test_what_the_workers_call_is_sent_once():
    function = CountsItsPickles()
    assert sorted(map_in_processes(function, range(6), 2)) == list(range(6))
    assert function.pickles == 1
