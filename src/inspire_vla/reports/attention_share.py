"""How much of the attention lies on the objects asked about, and how much would by chance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from inspire_vla.errors import InspireError


@dataclass(frozen=True)
class Share:
    """Of one picture: `share` of the attention lies on the mask, which is `area` of the picture, both 0 to 1."""

    share: float
    area: float

    @property
    def ratio(self) -> float:
        """How many times more than by chance; NaN where the object cannot be seen."""
        return self.share / self.area if self.area > 0 else float("nan")


def attention_share(weights: np.ndarray, mask: np.ndarray) -> Share:
    """Return the share of attention `weights` (h, w) ≥ 0 that lies on `mask` (H, W) bool.

    A patch that the mask covers in part counts in part. Raises InspireError where the patches don't tile the picture.
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


def summary(shares: Iterable[Share]) -> dict[str, float]:
    """Return n, the quartiles of the share, and the median share by chance and ratio; of what can be seen."""
    seen: Sequence[Share] = [share for share in shares if share.area > 0]
    if not seen:
        return {"n": 0}
    low, middle, high = np.percentile([share.share for share in seen], [25, 50, 75])
    return {
        "n": len(seen),
        "share_25": float(low),
        "share_50": float(middle),
        "share_75": float(high),
        "chance_50": float(np.median([share.area for share in seen])),
        "ratio_50": float(np.median([share.ratio for share in seen])),
    }
