"""Attention as data: examples to look at, and the share of attention on the objects asked about, beside chance."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import PlainSerializer, PlainValidator

from inspire_vla.errors import InspireError
from inspire_vla.reports.images import jpeg
from inspire_vla.reports.table import Table, make_table

TILE = 288
"""Side of a tile, in pixels."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Share:
    """Share of an image's attention on a mask, and the mask's share of the image's area, both 0 to 1."""

    share: float
    area: float

    @property
    def ratio(self) -> float:
        """How many times the share by chance; nan if the object is not visible."""
        return self.share / self.area if self.area > 0 else float("nan")


@dataclass(frozen=True)
class Measurement:
    """The attention of one policy at one initial state.

    Attributes:
        group: seen, unseen, …
        doing: "answering" the question about `mention`, measured on that object's mask, or "acting", measured on the
            masks of all mentioned objects together.
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


def _encode(image: Image.Image) -> str:
    return base64.b64encode(jpeg(image)).decode("ascii")


def _decode(image: Image.Image | str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB") if isinstance(image, str) else image


@dataclass(frozen=True)
class Tile:
    """One image of an example. `policy` is "" for the camera image; `about` is the question and its answer."""

    image: Annotated[Image.Image, PlainValidator(_decode), PlainSerializer(_encode)]
    policy: str
    doing: str
    about: str = ""
    share: Share | None = None

    @property
    def numbers(self) -> str:
        """The share of attention on the object, beside chance."""
        if self.share is None or not self.share.area > 0:
            return ""
        return f"{100 * self.share.share:.1f} % on it, {self.share.ratio:.1f} times chance"


@dataclass(frozen=True)
class Example:
    """One observation and the attention of each policy to it."""

    instruction: str
    suite: str
    seed: int
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Attention:
    """What `inspire attention` writes. `about`: method, suites, checkpoints and provenance."""

    examples: tuple[Example, ...]
    measured: tuple[Measurement, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return str(self.about.get("method", "rollout"))

    @property
    def policies(self) -> list[str]:
        """In the order in which they were given, which is that of their colours."""
        return list(dict.fromkeys(t.policy for e in self.examples for t in e.tiles if t.policy))


def attention_share(weights: np.ndarray, mask: np.ndarray) -> Share:
    """Return the share of attention `weights` (h, w) ≥ 0 on `mask` (H, W) bool. Partly covered patches count in part.

    Raises InspireError if the patches do not tile the mask, or for weights that are negative, not finite or all zero.
    """
    weights, mask = np.asarray(weights, dtype=np.float64), np.asarray(mask, dtype=bool)
    if weights.ndim != 2 or mask.ndim != 2 or any(np.mod(mask.shape, weights.shape)):
        raise InspireError(f"Weights {weights.shape} do not tile a mask of {mask.shape}.")
    total = weights.sum()
    if not np.isfinite(total) or total <= 0 or (weights < 0).any():
        raise InspireError("weights must be finite, ≥ 0 and not all zero.")
    (h, w), (height, width) = weights.shape, mask.shape
    covered = mask.reshape(h, height // h, w, width // w).mean(axis=(1, 3))
    return Share(float((weights * covered).sum() / total), float(covered.mean()))


def summarise(measured: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Return a row for every (group, policy, doing), over the visible objects.

    share_25, share_50, share_75: quartiles. mean, low, high: mean share with its 95 % interval over tasks. chance: mean
    area. ratio_50: median of share / area.
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
                "ratio_50": float(np.median([m.share / m.area for m in members])),
            }
        )  # fmt: skip
    return rows


def compared(measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return, per group and policy, the mean paired difference of shares while acting to the first policy."""
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


def attention_table(measured: Iterable[Measurement]) -> Table:
    """Shares of the attention on the objects mentioned, by group and policy, beside the share by chance."""
    rows = [
        (
            s["group"], s["policy"], s["doing"], str(s["n"]),
            f"{100 * s['mean']:.1f} [{100 * s['low']:.1f}–{100 * s['high']:.1f}]",
            f"{100 * s['share_50']:.1f} [{100 * s['share_25']:.1f}–{100 * s['share_75']:.1f}]",
            f"{100 * s['chance']:.1f}", f"{s['ratio_50']:.1f}",
        )
        for s in summarise(measured)
    ]  # fmt: skip
    heads = ("tasks", "policy", "while", "n", "mean [95 %]", "median [quartiles]", "chance", "× chance")
    return make_table(heads, rows, "Attention on the objects mentioned, % of the image's", words=3)


def _by[K](measured: Iterable[Measurement], key: Callable[[Measurement], K]) -> dict[K, list[Measurement]]:
    groups: dict[K, list[Measurement]] = {}
    for measurement in measured:
        if measurement.area > 0:
            groups.setdefault(key(measurement), []).append(measurement)
    return groups


def _tasks(members: Sequence[Measurement]) -> list[tuple[str, str]]:
    return sorted({(m.suite, m.task) for m in members})


def _mean(values: np.ndarray, members: Sequence[Measurement]) -> Mapping[str, float]:
    """The mean of `values`, one for each member, with its 95 % percentile bootstrap interval.

    Tasks are resampled, not initial states, since the states of one task are alike (a cluster bootstrap).
    """
    from scipy.stats import bootstrap

    number = {task: i for i, task in enumerate(_tasks(members))}
    cluster = np.array([number[m.suite, m.task] for m in members])
    sums, counts = np.bincount(cluster, values), np.bincount(cluster)
    mean = float(values.mean())
    if len(sums) < 2:
        return {"mean": mean, "low": mean, "high": mean}
    interval = bootstrap(
        (sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True, vectorized=True,
        method="percentile", n_resamples=RESAMPLES, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return {"mean": mean, "low": float(interval.low), "high": float(interval.high)}
