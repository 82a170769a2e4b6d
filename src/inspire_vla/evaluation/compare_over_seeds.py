"""A difference with intervals over tasks and training seeds, not only over episodes."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from inspire_vla.comparison_format import OverSeeds
from inspire_vla.errors import InspireError
from inspire_vla.evaluation.runs import SEED_OFFSET, Run
from inspire_vla.evaluation.statistics import crossed_bootstrap, mean_over_seeds


def compare_over_seeds(first: Run, second: Run, suites: Sequence[str]) -> OverSeeds:
    """Return the difference second − first with intervals over tasks and training seeds, not only over episodes.

    Intervals over episodes hold for these policies on these tasks. A method is meant to hold for other tasks and other
    training seeds, so those are resampled here (`crossed_bootstrap`).

    Args:
        first, second: pooled runs (see `pool`); the episodes that both have played are compared.
        suites: each counts equally.

    Returns:
        difference, low, high: over tasks and training seeds; nan without an interval, where all tasks are equal. seeds:
        {low, high, p_value} of Student's t over training seeds, None for one, or for equal ones. better, worse, tasks:
        numbers of tasks.

    Raises InspireError for a suite without pairs, or for a task that not every training seed played.
    """
    differences = [_differences(first, second, suite) for suite in suites]
    estimate = crossed_bootstrap(differences)
    by_seed = np.mean([of_suite.mean(axis=1) for of_suite in differences], axis=0)
    of_seeds = mean_over_seeds([float(value) for value in by_seed])
    by_task = np.concatenate([of_suite.mean(axis=0) for of_suite in differences])
    return {
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "seeds": None
        if of_seeds is None
        else {"low": of_seeds[0].low, "high": of_seeds[0].high, "p_value": of_seeds[1]},
        "better": int((by_task > 0).sum()),
        "worse": int((by_task < 0).sum()),
        "tasks": len(by_task),
    }


def _differences(first: Run, second: Run, suite: str) -> Float[np.ndarray, "seeds tasks"]:
    """Mean paired differences by training seed and task."""
    known = {record.key: bool(record.success) for record in first.records}
    pairs: dict[tuple[int, str], list[int]] = defaultdict(list)
    for record in second.records:
        if record.suite == suite and record.key in known:
            pairs[record.seed // SEED_OFFSET, record.task].append(bool(record.success) - known[record.key])
    if not pairs:
        raise InspireError(f"There are no pairs of {suite!r}.")
    seeds, tasks = (sorted(set(names)) for names in zip(*pairs, strict=True))
    missing = [(seed, task) for seed in seeds for task in tasks if (seed, task) not in pairs]
    if missing:
        raise InspireError(
            f"Not every training seed played every task of {suite!r}: {missing[0]} is missing."
        )
    return np.array([[np.mean(pairs[seed, task]) for task in tasks] for seed in seeds], dtype=float)
