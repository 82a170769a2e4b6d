"""Tasks and trainings vary, too: wider than over episodes, zero where nothing varies, and suites count alike."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeRecord, PairedClusters, Run, pool
from inspire_vla.evaluation.compare import compare

EPISODES = 5


def runs(successes: np.ndarray, name: str, suite: str = "toy_goal") -> Run:
    """successes (trainings, tasks): how many of five episodes succeed."""
    trainings = []
    for row in successes:
        records = tuple(
            EpisodeRecord(suite, f"task {task}", "do it", e, e, bool(e < count), 3)
            for task, count in enumerate(row)
            for e in range(EPISODES)
        )
        trainings.append([Run(Path(name), {}, records)])
    return pool(trainings, name)


def clusters(second: np.ndarray, first: np.ndarray | None = None) -> PairedClusters:
    first = np.zeros_like(second) if first is None else first
    return PairedClusters(runs(first, "base"), runs(second, "inspire"), ["toy_goal"])


def test_the_difference_is_that_of_the_comparison() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, (2, 3, 7))
    base, inspire = runs(first, "base"), runs(second, "inspire")
    (group,) = compare([base, inspire])["groups"]
    found = PairedClusters(base, inspire, ["toy_goal"])
    assert found.over_tasks_and_trainings().value == pytest.approx(group["paired"][1]["difference"])
    assert found.by_training() == pytest.approx(list((second - first).mean(1) / EPISODES))


def test_trainings_alone_are_students_t() -> None:
    found = clusters(np.array([[5, 4], [2, 3], [1, 0], [5, 5]]))
    estimate, p_value = found.over_trainings()
    plain = ttest_1samp(found.by_training(), 0)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(plain.confidence_interval()))
    assert p_value == pytest.approx(plain.pvalue)
    assert clusters(np.array([[5, 4]])).over_trainings() is None


@pytest.mark.parametrize("count", [0, 5])
def test_where_nothing_varies_there_is_no_interval(count: int) -> None:
    estimate = clusters(np.full((3, 4), count)).over_tasks_and_trainings()
    assert (estimate.low, estimate.high) == (count / EPISODES, count / EPISODES)
    ((low, high), p_value) = (
        ((e := clusters(np.full((3, 4), count)).over_trainings())[0].low, e[0].high),
        e[1],
    )
    assert low == high == count / EPISODES
    assert p_value == (0.0 if count else 1.0)


def test_what_varies_widens_it_and_agrees_with_theory() -> None:
    """Only tasks vary: the standard error is theirs, √(variance / tasks). Only trainings: theirs."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, 6, 40)
    expected = 2 * 1.96 * (values / EPISODES).std() / np.sqrt(40)
    of_tasks = clusters(np.tile(values, (4, 1))).over_tasks_and_trainings()
    of_trainings = clusters(np.tile(values[:, None], (1, 4))).over_tasks_and_trainings()
    for estimate in (of_tasks, of_trainings):
        assert estimate.high - estimate.low == pytest.approx(expected, rel=0.05)
    assert of_tasks == clusters(np.tile(values, (4, 1))).over_tasks_and_trainings()


def test_suites_count_alike_and_better_and_worse_are_counted() -> None:
    def both(*counts: np.ndarray) -> Run:
        parts = [runs(c, "x", suite) for c, suite in zip(counts, ("toy_goal", "toy_long"), strict=True)]
        return Run(Path("x"), {}, tuple(record for part in parts for record in part.records))

    first = both(np.array([[0, 0, 3, 1]]), np.array([[0]]))
    second = both(np.array([[5, 5, 3, 0]]), np.array([[5]]))
    found = PairedClusters(first, second, ["toy_goal", "toy_long"]).summary()
    assert found["difference"] == pytest.approx(((1 + 1 + 0 - 0.2) / 4 + 1) / 2)
    assert (found["better"], found["worse"], found["tasks"]) == (3, 1, 5)
    assert found["trainings"] is None


def test_uneven_trainings_and_unknown_suites_are_refused() -> None:
    base, inspire = runs(np.ones((2, 2), int), "base"), runs(np.ones((2, 2), int), "inspire")
    with pytest.raises(InspireError, match="no pairs of 'toy_far'"):
        PairedClusters(base, inspire, ["toy_far"])
    uneven = Run(inspire.path, inspire.info, inspire.records[:-EPISODES])
    with pytest.raises(InspireError, match="Not every training played every task"):
        PairedClusters(base, uneven, ["toy_goal"])
