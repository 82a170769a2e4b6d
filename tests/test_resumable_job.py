"""Laws of resumable jobs: shards survive, settings do not mix, two calls exclude each other, no partial folder."""

import json
from functools import partial

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.resumable_job import ResumableJob
from inspire_vla.worker_processes import map_in_processes


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
