"""LIBERO as a benchmark: its suites and published limits."""

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EvaluationPlan, tasks_in_training
from inspire_vla.libero import collection, hdf5_import, rendering
from inspire_vla.libero.benchmark import MAX_STEPS, LiberoBenchmark
from inspire_vla.libero.collection import supported_tasks
from inspire_vla.libero.installation import LiberoMissing, require_libero
from inspire_vla.libero.tasks import PLUS_SUITES, PRO_SUITES, SPLIT_SUITES


@pytest.fixture(scope="module")
def benchmark():
    try:
        require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    return LiberoBenchmark(image_size=32)


def test_five_suites_and_130_tasks(benchmark):
    assert set(benchmark.suites()) == set(MAX_STEPS) | set(SPLIT_SUITES) | set(PLUS_SUITES) | set(PRO_SUITES)
    assert sum(len(benchmark.tasks(suite)) for suite in MAX_STEPS) == 130
    assert tuple(benchmark.instructions("libero_goal")) == benchmark.tasks("libero_goal")
    assert "put the bowl on the plate" in benchmark.instructions("libero_goal").values()
    with pytest.raises(LiberoMissing, match="needs LIBERO-Plus"):
        benchmark.tasks("libero_plus_goal")
    with pytest.raises(InspireError, match="Did you mean 'libero_goal'"):
        benchmark.tasks("libero_gaol")
    with pytest.raises(InspireError, match="unknown task"):
        benchmark.make("libero_goal", "fly")


def test_the_parts_of_libero_90_share_its_tasks_and_no_other_suite_does(benchmark):
    suites = ("libero_90", *SPLIT_SUITES, "libero_goal")

    def known(suite, tasks=None):
        found = tasks_in_training(benchmark, suites, None, {suite: tasks})
        assert {suite: played for suite, (_, played) in found.items()} == sizes
        return {suite: count for suite, (count, _) in found.items() if count}

    sizes = {suite: len(benchmark.tasks(suite)) for suite in suites}
    parts = {suite: sizes[suite] for suite in SPLIT_SUITES}
    assert known("libero_90") == {"libero_90": 90, **parts}
    small = {suite: size for suite, size in parts.items() if "small" in suite}
    assert known("libero_90_train") == {"libero_90": 64, "libero_90_train": 64, **small}
    assert known("libero_90_heldout") == {"libero_90": 12, "libero_90_heldout": 12}
    assert known("libero_goal") == {"libero_goal": 10}
    done, _ = supported_tasks("libero_90", None)
    assert known("libero_90", tuple(done)) == {"libero_90": 76, **parts}
    one = benchmark.tasks("libero_90_heldout")[:1]
    assert (
        known("libero_90", one) == known("libero_90_heldout", one) == {"libero_90": 1, "libero_90_heldout": 1}
    )


def test_a_mapping_is_a_condition():
    assert LiberoBenchmark().conditions == {"render": "full", "mapping": None, "step_limits": MAX_STEPS}
    mapped, other = (LiberoBenchmark(mapping={"lift it": {"it": name}}).conditions for name in ("mug", "cup"))
    assert mapped["mapping"] != other["mapping"] is not None


def test_fast_rendering_is_a_condition_and_needs_its_package_before_anything_runs(monkeypatch):
    monkeypatch.setattr(rendering, "find_spec", lambda name: name)
    assert (
        LiberoBenchmark(render="fast").conditions["render"] == "fast"
    )  # runs of different rendering never pair
    monkeypatch.setattr(rendering, "find_spec", lambda _: None)
    for module in (collection, hdf5_import):
        monkeypatch.setattr(module, "require_libero", lambda: None)
    for begin in (
        lambda: LiberoBenchmark(render="fast"),
        lambda: collection.collect("libero_object", 1, "out", render="fast"),
        lambda: hdf5_import.import_demonstrations(["demos"], "out", render="fast"),
    ):
        with pytest.raises(InspireError, match=r"fast-simplification, which is not installed.*make libero"):
            begin()
    LiberoBenchmark(render="full")


def test_more_episodes_than_initial_states_are_refused(benchmark):
    with pytest.raises(InspireError, match="libero_goal has 50 fixed initial states"):
        EvaluationPlan(("libero_goal",), 51, {"name": "any"}).jobs(benchmark)
    jobs = EvaluationPlan(("libero_goal",), 50, {"name": "any"}).jobs(benchmark)
    assert len({(job.task, job.seed % 50) for job in jobs}) == len(jobs) == 500
