"""Laws of resumable jobs: shards survive, settings do not mix, two calls exclude each other, no partial folder."""

import json
import math
import os
from functools import partial

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.jobs import ResumableJob, map_in_processes


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


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_every_number_is_mapped_once(processes):
    assert sorted(map_in_processes(math.factorial, [3, 1, 4], processes)) == [1, 6, 24]


def test_shards_become_one_folder_and_are_removed(job, tmp_path):
    with job.started():
        assert list(map_in_processes(partial(make, job), job.missing(3), 1)) == [0, 1, 2]
        assert job.finish(partial(assemble, job, 3)) == 3
    assert json.loads((tmp_path / "out/whole.json").read_text(encoding="utf-8")) == ["0", "1", "4"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_shards_of_an_interrupted_call_are_kept(job):
    with job.started():
        make(job, 1)
    (job.folder / ".half.tmp").write_text("torn", encoding="utf-8")
    with job.started():
        assert job.missing(3) == [0, 2]
        assert not (job.folder / ".half.tmp").exists()
    with job.started(resume=False):
        assert job.missing(3) == [0, 1, 2]


def test_changed_settings_are_refused_or_restart_the_job(job):
    with job.started():
        make(job, 0)
    other = ResumableJob(job.out, {"seed": 2, "names": ("a", "b")}, "importing")
    with pytest.raises(InspireError, match=r"had another seed"), other.started():
        pass
    with other.started(restart_if_changed=True):
        assert other.missing(1) == [0]
    with other.started():
        pass


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
