"""A local Ray gives what processes give, and loses as little."""

import os
from pathlib import Path

import pytest
from tests.evaluation import toys

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EvaluationPlan, Factory, RayCluster, evaluate

BENCHMARK = Factory("tests.evaluation.toys:ToyBenchmark")


def run(out, plan, agent="tests.evaluation.toys:GoodAgent", cluster=None, **more):
    return evaluate(
        out, plan, benchmark=BENCHMARK, agent=Factory(agent), workers=2 if cluster else 0, ray=cluster,
        progress=False, **more,
    )  # fmt: skip


def plan(episodes=2, **changes):
    return EvaluationPlan(("toy_seen",), episodes, {"name": "good"}, **changes)


@pytest.fixture(scope="module")
def ray_here():
    """One local Ray for all tests; its workers find the toys."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    patch = pytest.MonkeyPatch()
    paths = [str(Path(toys.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    patch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    ray.init(
        address="local",
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield RayCluster("local")
    ray.shutdown()
    patch.undo()


def test_ray_gives_what_one_process_gives(ray_here, tmp_path):
    one = run(tmp_path / "one", plan(3, videos_per_task=1), video_writer=toys.touch_video)
    two = run(tmp_path / "two", plan(3, videos_per_task=1), cluster=ray_here, video_writer=toys.touch_video)
    assert sorted((r.key, r.success, r.steps) for r in one.records) == sorted(
        (r.key, r.success, r.steps) for r in two.records
    )
    filmed = [record for record in two.records if record.video]
    assert len(filmed) == 2
    assert all((tmp_path / "two" / r.video).read_bytes() == bytes([r.steps + 1]) for r in filmed)


def test_a_dying_worker_costs_only_the_episodes_it_was_playing(ray_here, tmp_path):
    done = run(tmp_path, plan(2), agent="tests.evaluation.toys:DiesOn", cluster=ray_here, slots=1)
    assert len(done.records) == 4
    died = [record for record in done.records if record.error]
    assert {record.task for record in died} == {"go right"}
    assert all("Ray worker died" in record.error and not record.success for record in died)


def test_an_agent_that_cannot_be_made_stops_the_run(ray_here, tmp_path):
    with pytest.raises(InspireError, match="no 'Nobody'"):
        run(tmp_path, plan(), agent="tests.evaluation.toys:Nobody", cluster=ray_here)


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InspireError, match=r"pip install .*\[ray\]"):
        run(tmp_path, plan(), cluster=RayCluster())
