"""How sure a difference is when not only episodes but tasks and trainings might have been others.

Intervals over episodes say what these very policies would do in more episodes of these very tasks. A method is meant to
hold for other tasks and other training seeds: those are what is resampled here, both at once, since each training plays
every task (a crossed design; Owen & Eckles 2012, "Bootstrapping data arrays of arbitrary order"). With few trainings
such an interval is rather too narrow than too wide; `over_trainings` is the plain alternative.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.pooling import replica_of
from inspire_vla.evaluation.records import Run
from inspire_vla.evaluation.statistics import Estimate

DRAWS = 20_000


class PairedClusters:
    """Paired differences second − first, by suite, training and task.

    Args:
        first, second: pooled runs (see `pool`); episodes that both have played are compared.
        suites: each counts alike.

    Raises InspireError for a suite that they have no pair of, or a task that not every training played.
    """

    def __init__(self, first: Run, second: Run, suites: Sequence[str]) -> None:
        known = {record.key: record for record in first.records}
        found: dict[str, dict[tuple[int, str], list[int]]] = {suite: defaultdict(list) for suite in suites}
        for record in second.records:
            if record.suite in found and record.key in known:
                cluster = (replica_of(record), record.task)
                found[record.suite][cluster].append(record.success - known[record.key].success)
        self.of_suite = [_array(suite, pairs) for suite, pairs in found.items()]

    def by_training(self) -> list[float]:
        """The difference of each training, mean of the suites."""
        return [
            float(mean(of_training)) for of_training in zip(*(s.mean(1) for s in self.of_suite), strict=True)
        ]

    def over_trainings(self, confidence: float = 0.95) -> tuple[Estimate, float] | None:
        """Student's interval and p value with trainings as the only thing that varies; None for a single one."""
        each = self.by_training()
        if len(each) < 2:
            return None
        error = stdev(each) / sqrt(len(each))
        half = float(student.ppf((1 + confidence) / 2, len(each) - 1)) * error
        p_value = (
            float(2 * student.sf(abs(mean(each)) / error, len(each) - 1)) if error else float(not any(each))
        )
        return Estimate(mean(each), mean(each) - half, mean(each) + half), p_value

    def over_tasks_and_trainings(self, *, confidence: float = 0.95, seed: int = 0) -> Estimate:
        """The percentile interval of tasks, within their suite, and trainings drawn anew, with replacement."""
        rng = np.random.default_rng(seed)
        trainings = len(self.of_suite[0])
        drawn = rng.integers(trainings, size=(DRAWS, trainings))
        total = np.zeros(DRAWS)
        for differences in self.of_suite:
            tasks = rng.integers(differences.shape[1], size=(DRAWS, differences.shape[1]))
            total += differences[drawn[:, :, None], tasks[:, None, :]].mean(axis=(1, 2))
        low, high = np.quantile(total / len(self.of_suite), [(1 - confidence) / 2, (1 + confidence) / 2])
        return Estimate(mean(self.by_training()), float(low), float(high))

    def summary(self) -> dict[str, Any]:
        """As JSON: difference, low, high over tasks and trainings; trainings alone; tasks better, worse, in all."""
        both, alone = self.over_tasks_and_trainings(), self.over_trainings()
        of_task = np.concatenate([differences.mean(0) for differences in self.of_suite])
        return {
            "difference": both.value,
            "low": both.low,
            "high": both.high,
            "trainings": None if alone is None else {**_span(alone[0]), "p_value": alone[1]},
            "better": int((of_task > 0).sum()),
            "worse": int((of_task < 0).sum()),
            "tasks": len(of_task),
        }


def _span(estimate: Estimate) -> dict[str, float]:
    return {"low": estimate.low, "high": estimate.high}


def _array(suite: str, pairs: dict[tuple[int, str], list[int]]) -> Float[np.ndarray, "trainings tasks"]:
    if not pairs:
        raise InspireError(f"There are no pairs of {suite!r}.")
    trainings = sorted({training for training, _ in pairs})
    tasks = sorted({task for _, task in pairs})
    missing = [(number, task) for number in trainings for task in tasks if (number, task) not in pairs]
    if missing:
        raise InspireError(f"Not every training played every task of {suite!r}: {missing[0]} is missing.")
    return np.array([[mean(pairs[number, task]) for task in tasks] for number in trainings], dtype=float)
