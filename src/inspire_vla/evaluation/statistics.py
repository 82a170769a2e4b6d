"""Success rates and paired comparisons with their 95 % intervals, from scipy where it has them.

Own code: Newcombe's interval of a paired difference and the average of independent estimates, both by the
square-and-add rule (MOVER: Zou & Donner 2008), and two bootstraps: of a crossed design (tasks × training seeds), and of
ratios over episodes. scipy.stats is imported where it is called: it takes a second to load.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float

from inspire_vla.comparison_format import Interval
from inspire_vla.errors import InspireError

RESAMPLES = 20_000
RESAMPLED_AT_ONCE = 1_000


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, as fractions (0.25, not 25)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def to_json(self) -> Interval:
        """Return it for a comparison; nan is not JSON, so it becomes None."""
        rate, low, high = (None if x != x else x for x in (self.value, self.low, self.high))
        return {"rate": rate, "low": low, "high": high}


def wilson(successes: int, n: int) -> Estimate:
    """Return successes / n with Wilson's score interval (1927). `n` = 0 gives nan with the interval [0, 1]."""
    if not 0 <= successes <= n:
        raise InspireError(f"successes must lie in 0..n, found successes={successes}, n={n}.")
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class PairCounts:
    """Outcomes of n pairs: both succeeded, only the first, only the second, neither."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> int:
        """Successes of the first."""
        return self.both + self.only_first

    @property
    def second(self) -> int:
        """Successes of the second."""
        return self.both + self.only_second

    @classmethod
    def count(cls, pairs: Sequence[tuple[bool, bool]]) -> "PairCounts":
        """Count pairs of (success of the first, success of the second)."""
        return cls(
            both=sum(a and b for a, b in pairs),
            only_first=sum(a and not b for a, b in pairs),
            only_second=sum(b and not a for a, b in pairs),
            neither=sum(not a and not b for a, b in pairs),
        )

    def __add__(self, other: "PairCounts") -> "PairCounts":
        return PairCounts(
            self.both + other.both,
            self.only_first + other.only_first,
            self.only_second + other.only_second,
            self.neither + other.neither,
        )


def mcnemar(counts: PairCounts) -> float:
    """Return the two-sided exact p value of McNemar's test (1947): do both succeed equally often?"""
    from scipy.stats import binomtest

    discordant = counts.only_first + counts.only_second
    return float(binomtest(counts.only_second, discordant, 0.5).pvalue) if discordant else 1.0


def paired_difference(counts: PairCounts) -> Estimate:
    """Return rate(second) − rate(first) over the same n pairs, with Newcombe's interval.

    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", method 10. `n` = 0 gives nan with the interval [−1, 1].
    """
    n = counts.n
    if n == 0:
        return Estimate(float("nan"), -1.0, 1.0)
    first, second = wilson(counts.first, n), wilson(counts.second, n)
    phi = _correlation(counts)

    def radius(up: float, down: float) -> float:
        return sqrt(max(0.0, up * up - 2 * phi * up * down + down * down))

    difference = second.value - first.value
    below = radius(second.value - second.low, first.high - first.value)
    above = radius(second.high - second.value, first.value - first.low)
    return Estimate(difference, difference - below, difference + above)


def _correlation(counts: PairCounts) -> float:
    """Newcombe's φ: the correlation of the 2×2 table, with his continuity correction if it is positive."""
    n = counts.n
    product = counts.first * (n - counts.first) * counts.second * (n - counts.second)
    if product == 0:
        return 0.0
    determinant: float = counts.both * counts.neither - counts.only_first * counts.only_second
    if determinant > 0:
        determinant = max(determinant - n / 2, 0.0)
    return determinant / sqrt(product)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, each counting equally (the macro average), with its interval."""
    if not estimates:
        raise InspireError("average() needs at least one estimate, found none.")
    if len(estimates) == 1:
        return estimates[0]
    n = len(estimates)
    value = sum(e.value for e in estimates) / n
    below = sqrt(sum((e.value - e.low) ** 2 for e in estimates)) / n
    above = sqrt(sum((e.high - e.value) ** 2 for e in estimates)) / n
    return Estimate(value, value - below, value + above)


def mean_over_seeds(differences: Sequence[float]) -> tuple[Estimate, float] | None:
    """Return the mean with Student's t interval and its two-sided p value; None for one training seed or equal ones."""
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    from scipy.stats import ttest_1samp

    result = ttest_1samp(differences, 0.0)
    interval = result.confidence_interval(0.95)
    return Estimate(float(np.mean(differences)), float(interval.low), float(interval.high)), float(
        result.pvalue
    )


def crossed_bootstrap(suites: Sequence[Float[np.ndarray, "seeds tasks"]]) -> Estimate:
    """Return the mean over suites with a percentile interval that resamples training seeds and tasks at once.

    Every training seed plays every task (a crossed design), so both are resampled independently, tasks within their
    suite; source: Owen & Eckles 2012, "Bootstrapping data arrays of arbitrary order". With few training seeds the
    interval is rather too narrow than too wide. Where all tasks have the same difference, such as none, resampling says
    nothing, and there is no interval: nan.
    """
    value = float(np.mean([differences.mean() for differences in suites]))
    if all(np.ptp(differences) == 0 for differences in suites):
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    seeds = len(suites[0])
    rows = rng.integers(seeds, size=(RESAMPLES, seeds))
    total = np.zeros(RESAMPLES)
    for differences in suites:
        tasks = differences.shape[1]
        for first in range(0, RESAMPLES, RESAMPLED_AT_ONCE):  # LIBERO-Plus has thousands of tasks in a suite
            drawn = slice(first, first + RESAMPLED_AT_ONCE)
            columns = rng.integers(tasks, size=(RESAMPLED_AT_ONCE, tasks))
            total[drawn] += differences[rows[drawn, :, None], columns[:, None, :]].mean(axis=(1, 2))
    low, high = np.quantile(total / len(suites), [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def ratio_over_episodes(
    numerators: Float[np.ndarray, " E"], denominators: Float[np.ndarray, " E"]
) -> Estimate:
    """Return Σ numerators / Σ denominators with a percentile interval that resamples episodes.

    Answers and actions of one episode are alike, so they are no independent samples; the episodes are. With fewer than
    two episodes there is no interval: nan.
    """
    return ratio_difference(np.zeros_like(numerators), denominators, numerators, denominators)


def ratio_difference(
    first: Float[np.ndarray, " E"],
    of_first: Float[np.ndarray, " E"],
    second: Float[np.ndarray, " E"],
    of_second: Float[np.ndarray, " E"],
) -> Estimate:
    """Return Σ second / Σ of_second − Σ first / Σ of_first with an interval that resamples episodes, paired.

    All arrays have an entry for each episode, in the same order. Without any denominator the value is nan.
    """
    columns = np.stack([first, of_first, second, of_second], axis=1).astype(float)
    episodes = len(columns)

    def difference(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., 2] / sums[..., 3] - sums[..., 0] / sums[..., 1]

    value = float(difference(columns.sum(axis=0)))
    if episodes < 2 or value != value:
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    resampled = [
        difference(rng.multinomial(episodes, np.full(episodes, 1 / episodes), RESAMPLED_AT_ONCE) @ columns)
        for _ in range(RESAMPLES // RESAMPLED_AT_ONCE)
    ]
    low, high = np.nanquantile(np.concatenate(resampled), [0.025, 0.975])
    return Estimate(value, float(low), float(high))
