import math
import tracemalloc

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import Estimate, PairCounts, average, mcnemar, paired_difference, wilson
from inspire_vla.evaluation.statistics import crossed_bootstrap


@pytest.mark.parametrize(("k", "n", "low", "high"), [(6, 10, 0.31, 0.83), (16, 100, 0.10, 0.24)])
def test_wilson_matches_published_intervals(k, n, low, high):
    estimate = wilson(k, n)
    assert estimate.value == k / n
    assert (round(estimate.low, 2), round(estimate.high, 2)) == (low, high)


def test_wilson_mirrors_and_narrows():
    assert wilson(3, 20).low == pytest.approx(1 - wilson(17, 20).high)
    widths = [e.high - e.low for e in (wilson(n // 4, n) for n in (8, 80, 800))]
    assert widths == sorted(widths, reverse=True)
    assert wilson(0, 10).high > 0


def test_wilson_of_nothing_knows_nothing():
    estimate = wilson(0, 0)
    assert math.isnan(estimate.value)
    assert (estimate.low, estimate.high) == (0, 1)
    with pytest.raises(InspireError, match=r"0\.\.n"):
        wilson(4, 3)


def test_pairs_are_counted():
    counts = PairCounts.count([(True, True), (True, False), (False, True), (False, True), (False, False)])
    assert counts == PairCounts(both=1, only_first=1, only_second=2, neither=1)
    assert (counts.n, counts.first, counts.second) == (5, 2, 3)


def test_mcnemar_looks_only_at_disagreement():
    assert mcnemar(PairCounts(50, 0, 0, 50)) == 1.0
    assert mcnemar(PairCounts(0, 0, 5, 0)) == pytest.approx(2 * 0.5**5)
    assert mcnemar(PairCounts(9, 2, 8, 7)) == mcnemar(PairCounts(90, 8, 2, 0))


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((20, 12, 2, 16), 0.0562, 0.3290), ((1, 7, 1, 12), 0.0256, 0.5072)],
)
def test_newcombe_matches_the_published_examples(counts, low, high):
    """Newcombe 1998, method 10. Where the pairs agree more than by chance (the second, the third), φ is corrected."""
    both, only_second, only_first, neither = counts
    estimate = paired_difference(PairCounts(both, only_first, only_second, neither))
    assert estimate.value == pytest.approx((only_second - only_first) / sum(counts))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-4)


def test_paired_difference_changes_sign_with_the_order():
    forth = paired_difference(PairCounts(10, 3, 9, 8))
    back = paired_difference(PairCounts(10, 9, 3, 8))
    assert forth.value == pytest.approx(-back.value)
    assert forth.low == pytest.approx(-back.high)


def test_paired_difference_covers():
    rng = np.random.default_rng(0)
    p = np.array([0.2, 0.05, 0.2, 0.55])  # both, first, second, neither: true difference 0.15
    hits = 0
    for counts in rng.multinomial(60, p, size=400):
        estimate = paired_difference(PairCounts(*(int(c) for c in counts)))
        hits += estimate.low <= 0.15 <= estimate.high
    assert hits / 400 > 0.92


def test_average_is_the_macro_average():
    parts = [wilson(1, 10), wilson(9, 10)]
    mean = average(parts)
    assert mean.value == pytest.approx(0.5)
    assert min(p.low for p in parts) <= mean.low < 0.5 < mean.high <= max(p.high for p in parts)
    assert mean.high - mean.low < parts[0].high - parts[0].low
    assert average(parts[:1]) == parts[0]
    assert str(Estimate(0.5, 0.25, 0.75)) == "50.0 % [25.0, 75.0]"
    with pytest.raises(InspireError):
        average([])


def test_the_crossed_bootstrap_of_many_tasks_needs_little_memory():
    """LIBERO-Plus has 2,500 tasks in a suite; all resamples at once would take a gigabyte."""
    differences = np.random.default_rng(0).normal(0.1, 1.0, (3, 500))
    tracemalloc.start()
    estimate = crossed_bootstrap([differences])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert estimate.low < differences.mean() < estimate.high
    assert peak < 40e6


def test_the_crossed_bootstrap_agrees_with_theory():
    """If only tasks vary, the standard error is √(variance / tasks); the same for training seeds."""
    values = np.random.default_rng(1).integers(0, 6, 40) / 5
    expected = 2 * 1.96 * values.std() / np.sqrt(40)
    over_tasks, over_seeds = (
        crossed_bootstrap([table]) for table in (np.tile(values, (4, 1)), np.tile(values[:, None], (1, 4)))
    )
    for estimate in (over_tasks, over_seeds):
        assert estimate.high - estimate.low == pytest.approx(expected, rel=0.05)
    assert over_tasks == crossed_bootstrap([np.tile(values, (4, 1))])
