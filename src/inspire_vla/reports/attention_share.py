"""How much of the attention lies on the objects asked about, and how much would by chance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError

RESAMPLES = 2000


@dataclass(frozen=True)
class Share:
    """Of one image: `share` of the attention lies on the mask, which is `area` of the image, both 0 to 1."""

    share: float
    area: float

    @property
    def ratio(self) -> float:
        """How many times more than by chance; NaN where the object cannot be seen."""
        return self.share / self.area if self.area > 0 else float("nan")


@dataclass(frozen=True)
class Measurement:
    """One look of one policy at one initial state.

    `doing`: "answering" the question about `mention`, held against that object's mask, or "acting", with the objects
    mentioned together. `group`: seen, unseen, …
    """

    policy: str
    group: str
    suite: str
    task: str
    seed: int
    doing: str
    mention: str | None
    share: float
    area: float

    @property
    def of(self) -> Share:
        return Share(self.share, self.area)


def attention_share(weights: np.ndarray, mask: np.ndarray) -> Share:
    """Return the share of attention `weights` (h, w) ≥ 0 that lies on `mask` (H, W) bool.

    A patch that the mask covers in part counts in part. Raises InspireError where the patches don't tile the image.
    """
    weights, mask = np.asarray(weights, dtype=np.float64), np.asarray(mask, dtype=bool)
    if (
        weights.ndim != 2
        or mask.ndim != 2
        or mask.shape[0] % weights.shape[0]
        or mask.shape[1] % weights.shape[1]
    ):
        raise InspireError(f"weights {weights.shape} do not tile a mask of {mask.shape}.")
    total = weights.sum()
    if not np.isfinite(total) or total <= 0 or (weights < 0).any():
        raise InspireError("weights must be finite, ≥ 0 and not all zero.")
    (h, w), (height, width) = weights.shape, mask.shape
    covered = mask.reshape(h, height // h, w, width // w).mean(axis=(1, 3))
    return Share(float((weights * covered).sum() / total), float(covered.mean()))


def summarise(measured: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Return a row for every (group, policy, doing), of the objects that can be seen.

    share_25, share_50, share_75: quartiles. mean, low, high: the mean share with its 95 % interval, by resampling
    tasks, since initial states of one task are alike. chance: the mean area. ratio_50: the median of share by area.
    """
    rows = []
    for (group, policy, doing), members in _by(measured, lambda m: (m.group, m.policy, m.doing)).items():
        shares = np.array([m.share for m in members])
        low, middle, high = np.percentile(shares, [25, 50, 75])
        rows.append(
            {
                "group": group, "policy": policy, "doing": doing, "n": len(members), "tasks": len(_tasks(members)),
                "share_25": float(low), "share_50": float(middle), "share_75": float(high),
                **_mean(shares, members),
                "chance": float(np.mean([m.area for m in members])),
                "ratio_50": float(np.median([m.of.ratio for m in members])),
            }
        )  # fmt: skip
    return rows


def compared(measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return, per group and further policy, the mean difference of shares while acting to the first policy.

    The same initial states are held against each other; low, high as in `summarise`.
    """
    first = measured[0].policy if measured else ""
    acting = [m for m in measured if m.doing == "acting"]
    base = {(m.suite, m.task, m.seed): m for m in acting if m.policy == first and m.area > 0}
    rows = []
    for (group, policy), members in _by(acting, lambda m: (m.group, m.policy)).items():
        pairs = [m for m in members if (m.suite, m.task, m.seed) in base]
        if policy != first and pairs:
            gains = np.array([m.share - base[m.suite, m.task, m.seed].share for m in pairs])
            rows.append(
                {"group": group, "policy": policy, "to": first, "n": len(pairs), **_mean(gains, pairs)}
            )
    return rows


def as_rows(measured: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Plain dictionaries, to be written as JSON; `Measurement(**row)` is the inverse."""
    return [asdict(m) for m in measured]


def _by[K](measured: Iterable[Measurement], key: Callable[[Measurement], K]) -> dict[K, list[Measurement]]:
    groups: dict[K, list[Measurement]] = {}
    for measurement in measured:
        if measurement.area > 0:
            groups.setdefault(key(measurement), []).append(measurement)
    return groups


def _tasks(members: Sequence[Measurement]) -> list[tuple[str, str]]:
    return sorted({(m.suite, m.task) for m in members})


def _mean(values: np.ndarray, members: Sequence[Measurement]) -> Mapping[str, float]:
    """The mean of `values`, which run parallel to `members`, and its 95 % interval by resampling tasks."""
    number = {task: i for i, task in enumerate(_tasks(members))}
    belongs = np.array([number[m.suite, m.task] for m in members])
    sums, counts = np.bincount(belongs, values), np.bincount(belongs)
    drawn = np.random.default_rng(0).integers(len(number), size=(RESAMPLES, len(number)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
