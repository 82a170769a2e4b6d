"""Rates, their intervals, and what a paired comparison says.

Intervals are 95 % unless told otherwise. Independent estimates are combined by the square-and-add rule
(MOVER: Zou & Donner 2008), of which Newcombe's intervals are the case of two. Sources: Wilson 1927;
McNemar 1947; Newcombe 1998, "Improved confidence intervals for the difference between binomial
proportions based on paired data", method 10.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from scipy.stats import binomtest

from inspire_vla.errors import InspireError


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, all as fractions (0.25, not 25)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Estimate:
    """Return successes / n with Wilson's score interval. `n` = 0 gives nan with the interval [0, 1]."""
    if not 0 <= successes <= n:
        raise InspireError(f"successes must lie in 0..n, found successes={successes}, n={n}.")
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0)
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class PairCounts:
    """How n pairs came out: both succeeded, only the first, only the second, neither."""

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
        """Count (success of the first, success of the second)."""
        return cls(
            both=sum(a and b for a, b in pairs),
            only_first=sum(a and not b for a, b in pairs),
            only_second=sum(b and not a for a, b in pairs),
            neither=sum(not a and not b for a, b in pairs),
        )


def mcnemar(counts: PairCounts) -> float:
    """Return the two-sided exact p value of "both succeed equally often". Pairs that agree say nothing."""
    disagreeing = counts.only_first + counts.only_second
    if disagreeing == 0:
        return 1.0
    return float(binomtest(counts.only_second, disagreeing, 0.5).pvalue)


def paired_difference(counts: PairCounts, *, confidence: float = 0.95) -> Estimate:
    """Return rate(second) − rate(first) over the same n pairs, with Newcombe's interval (method 10)."""
    n = counts.n
    if n == 0:
        return Estimate(float("nan"), -1.0, 1.0)
    first = wilson(counts.first, n, confidence=confidence)
    second = wilson(counts.second, n, confidence=confidence)
    phi = _correlation(counts)

    def radius(up: float, down: float) -> float:
        return sqrt(max(0.0, up * up - 2 * phi * up * down + down * down))

    difference = second.value - first.value
    below = radius(second.value - second.low, first.high - first.value)
    above = radius(second.high - second.value, first.value - first.low)
    return Estimate(difference, difference - below, difference + above)


def _correlation(counts: PairCounts) -> float:
    """Newcombe's φ: the 2×2 table's correlation, with his continuity correction where it is positive."""
    n = counts.n
    product = counts.first * (n - counts.first) * counts.second * (n - counts.second)
    if product == 0:
        return 0.0
    determinant: float = counts.both * counts.neither - counts.only_first * counts.only_second
    if determinant > 0:
        determinant = max(determinant - n / 2, 0.0)
    return determinant / sqrt(product)


def average(estimates: Sequence[Estimate], weights: Sequence[float] | None = None) -> Estimate:
    """Return the weighted mean of independent estimates (equal weights: the macro average), with interval."""
    if not estimates:
        raise InspireError("average() needs at least one estimate, found none.")
    given = [1.0] * len(estimates) if weights is None else list(weights)
    if len(given) != len(estimates) or sum(given) <= 0 or min(given) < 0:
        raise InspireError(f"{len(estimates)} estimates need as many weights ≥ 0, found {given}.")
    share = [weight / sum(given) for weight in given]
    value = sum(w * e.value for w, e in zip(share, estimates, strict=True))
    below = sqrt(sum((w * (e.value - e.low)) ** 2 for w, e in zip(share, estimates, strict=True)))
    above = sqrt(sum((w * (e.high - e.value)) ** 2 for w, e in zip(share, estimates, strict=True)))
    return Estimate(value, value - below, value + above)
