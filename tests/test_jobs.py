"""Laws of resumable jobs: shards survive, settings do not mix, two calls exclude each other, no partial folder."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.jobs import ResumableJob, changed_settings, map_in_processes


def make(job: ResumableJob, number: int) -> int:
    job.shard(number).write_text(str(number * number), encoding="utf-8")
    return number


def assemble(job: ResumableJob, count: int, folder) -> int:
    folder.mkdir()
    whole = [job.shard(number).read_text(encoding="utf-8") for number in range(count)]
    (folder / "whole.json").write_text(json.dumps(whole), encoding="utf-8")
    return len(whole)


@pytest.fixture
def job(tmp_path):
    return ResumableJob(tmp_path / "out", {"seed": 1, "names": ("a", "b")}, "importing")


def exit_at_two(number: int) -> None:
    if number == 2:
        os._exit(1)


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(InspireError, match="worker process died"):
        list(map_in_processes(exit_at_two, [1, 2, 3], 2))


COMMAND = """
import sys, time
from inspire_vla import cli
from inspire_vla.jobs import map_in_processes

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
    said = parent.communicate()[1]
    assert parent.returncode == code
    assert "Traceback" not in said
    deadline = time.monotonic() + 1
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


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


def test_shards_become_one_folder_and_are_removed(job, tmp_path):
    with job.started():
        assert list(map_in_processes(partial(make, job), job.missing(3), 1)) == [0, 1, 2]
        assert job.finish(partial(assemble, job, 3)) == 3
    assert json.loads((tmp_path / "out/whole.json").read_text(encoding="utf-8")) == ["0", "1", "4"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_shards_of_an_interrupted_call_are_kept(job):
    with job.started():
        make(job, 1)
    (job.folder / f".{job.shard(0).name}.partial").write_text("torn", encoding="utf-8")
    with job.started():
        assert job.missing(3) == [0, 2]
    with job.started(resume=False):
        assert job.missing(3) == [0, 1, 2]


def test_changed_settings_are_refused_or_restart_the_job(job):
    with job.started():
        make(job, 0)
    other = ResumableJob(job.out, {"seed": 2, "names": ("a", "b")}, "importing")
    with pytest.raises(InspireError, match=r"had other settings \(seed: there 1, now 2\)"), other.started():
        pass
    assert job.shard(0).exists()
    with other.started(restart_if_changed=True) as changed:
        assert changed == "An interrupted call had other settings (seed: there 1, now 2)"
        assert other.missing(1) == [0]
    with other.started() as changed:
        assert changed == ""


@pytest.mark.parametrize(
    ("earlier", "now", "said"),
    [
        ({"a": 1, "b": "x"}, {"b": "x", "a": 1}, ""),
        ({"a": math.nan}, {"a": math.nan}, ""),
        ({"a": 1}, {"b": None}, "a: there 1, now not recorded; b: there not recorded, now None"),
        ({"a": {"b": {"c": 1}, "d": 2}}, {"a": {"b": {"c": 3}, "d": 2}}, "a.b.c: there 1, now 3"),
        ({"a": [{"b": 1}, 2]}, {"a": [{"b": 1}, 3]}, "a.1: there 2, now 3"),
        ({"a": [1]}, {"a": [1, 2]}, "a: there [1], now [1, 2]"),
        ({"a": "0" * 64}, {"a": "f" * 64}, "a: another"),  # a digest says nothing to a person
        ({"a": "x" * 100}, {"a": "x" * 200}, "a: another"),
        ({"a": "x" * 100}, {"a": ""}, f"a: there '{'x' * 79}…, now ''"),
        (dict.fromkeys("abcdefgh", 1), dict.fromkeys("abcdefgh", 1) | {"c": 2}, "c: there 1, now 2"),
        (
            dict.fromkeys("abcdefgh", 1),
            dict.fromkeys("abcdefgh", 2),
            f"{'; '.join(f'{name}: there 1, now 2' for name in 'abcde')}; and 3 more",
        ),
    ],
)
def test_changed_settings_are_named_with_both_values(earlier, now, said):
    assert changed_settings(earlier, now) == said


def test_two_calls_exclude_each_other(job):
    with job.started(), pytest.raises(InspireError, match="Another process is importing"), job.started():
        pass


def test_a_failed_assembly_leaves_no_folder(job, tmp_path):
    def broken(folder):
        folder.mkdir()
        raise InspireError("no")

    with job.started():
        make(job, 0)
        with pytest.raises(InspireError, match="no"):
            job.finish(broken)
    assert not (tmp_path / "out").exists()
    with job.started():
        assert job.missing(1) == []
        assert job.finish(partial(assemble, job, 1)) == 1
