"""Residual vector quantisation: a few codes for a whole chunk, from k-means on the demonstrations.

Level 0 holds K typical chunks, level 1 K typical corrections to them, and so on. The code of level l is l·K + k, so
each level has its own block of the vocabulary. It needs no network and no torch: codebooks are k-means centres.
(VQ-BeT, arXiv 2403.03181, and MiniVLA learn theirs with an autoencoder; see `LearnedVQ`.)
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from inspire_vla.action_tokenizers import storage
from inspire_vla.action_tokenizers.base import (
    ActionTokenizer,
    UndecodableAction,
    checked_actions,
    checked_chunks,
    checked_codes,
    positive_int,
)
from inspire_vla.errors import InspireError, counted

_ARRAYS = ("codebooks", "centre", "scale", "dimension_weights")


class ResidualVQ(ActionTokenizer):
    """`levels` codes per chunk. Actions outside [-1, 1] are clipped, decoded actions too.

    Distances are measured in (a − centre) / scale · weight, per action dimension. A larger weight suits a dimension
    whose sign matters, such as the gripper's.

    `errors` holds the round-trip error on the chunks of the fit, see `measure`.
    """

    name: ClassVar[str] = "residual_vq"

    def __init__(
        self,
        codebooks: np.ndarray,
        *,
        centre: np.ndarray,
        scale: np.ndarray,
        dimension_weights: np.ndarray,
        seed: int = 0,
        errors: dict | None = None,
        fitted: bool = True,
    ) -> None:
        """codebooks (levels, K, H, D) in weighted units; centre, scale, dimension_weights (D,)."""
        self.fitted = fitted
        self.codebooks = np.asarray(codebooks, dtype=np.float32)
        if self.codebooks.ndim != 4 or 0 in self.codebooks.shape or not np.isfinite(self.codebooks).all():
            raise InspireError(
                f"Codebooks must be finite numbers (levels, K, H, D), found shape {self.codebooks.shape}."
            )
        self.levels, self.codes_per_level, self.horizon, self.action_dim = self.codebooks.shape
        self.centre, self.scale, self.dimension_weights = (
            np.asarray(values, dtype=np.float32) for values in (centre, scale, dimension_weights)
        )
        for name in ("centre", "scale", "dimension_weights"):
            values = getattr(self, name)
            if values.shape != (self.action_dim,) or not np.isfinite(values).all():
                raise InspireError(
                    f"{name} must be {counted(self.action_dim, 'finite number')}, found {values.tolist()}."
                )
        if (self.scale <= 0).any() or (self.dimension_weights <= 0).any():
            raise InspireError("scale and dimension_weights must be above zero.")
        self.seed = int(seed)
        self.errors = dict(errors or {})
        self._flat = self.codebooks.reshape(self.levels, self.codes_per_level, -1)

    @classmethod
    def fit(
        cls,
        actions: np.ndarray,
        *,
        codes_per_level: int = 256,
        levels: int = 2,
        seed: int = 0,
        dimension_weights: Sequence[float] | None = None,
        min_scale: float = 0.1,
        iterations: int = 40,
    ) -> Self:
        """Fit the codebooks on demonstrated chunks (N, H, D).

        Args:
            dimension_weights: (D,) weight of an error in each dimension after scaling; all 1 by default.
            min_scale: dimensions are divided by their standard deviation, but by no less than this, so that
                the noise of a dimension that hardly moves takes no codes.
            iterations: of k-means, per level.

        Raises:
            InspireError: no chunks, NaN, or fewer chunks than codes.
        """
        array = np.clip(checked_chunks(actions), -1.0, 1.0)
        count, horizon, action_dim = array.shape
        from scipy.cluster.vq import kmeans2, vq  # here, so that the package loads without scipy

        codes_per_level = positive_int("codes_per_level", codes_per_level)
        levels = positive_int("levels", levels)
        if count < codes_per_level:
            raise InspireError(
                f"{counted(count, 'chunk is', 'chunks are')} too few for {codes_per_level} codes per level "
                f"(--policy.vq.codes_per_level, at most {count} here; or record more)."
            )
        weights = (
            np.ones(action_dim) if dimension_weights is None else np.asarray(dimension_weights, dtype=float)
        )
        if weights.shape != (action_dim,) or not (np.isfinite(weights) & (weights > 0)).all():
            raise InspireError(
                f"dimension_weights must be {counted(action_dim, 'number')} above zero, found {weights}."
            )
        centre = array.mean((0, 1))
        scale = np.maximum(array.std((0, 1)), min_scale)
        residual = ((array - centre) / scale * weights).reshape(count, -1).astype(np.float32)
        rng = np.random.default_rng(seed)
        codebooks = []
        for _ in range(levels):
            initial = _initial_centres(residual, codes_per_level, rng)
            with warnings.catch_warnings(
                category=UserWarning, action="ignore"
            ):  # a centre without points stays
                centres, _ = kmeans2(residual, initial, iter=iterations, minit="matrix")
            residual = residual - centres[vq(residual, centres)[0]]
            codebooks.append(centres.reshape(codes_per_level, horizon, action_dim))
        tokenizer = cls(np.stack(codebooks), centre=centre, scale=scale, dimension_weights=weights, seed=seed)
        tokenizer.errors = tokenizer.measure(array)
        return tokenizer

    @classmethod
    def unfitted(cls, *, horizon: int, action_dim: int, levels: int, codes_per_level: int) -> Self:
        """One with sizes only, for a checkpoint that has seen no demonstrations. It neither encodes nor decodes."""
        ones = np.ones(action_dim)
        books = np.zeros((levels, codes_per_level, horizon, action_dim))
        return cls(books, centre=0 * ones, scale=ones, dimension_weights=ones, fitted=False)

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise InspireError(
                "The action tokenizer residual_vq is fitted on demonstrations, and this checkpoint has seen none: "
                "train it first."
            )

    @property
    def vocabulary_size(self) -> int:
        return self.levels * self.codes_per_level

    @property
    def max_codes(self) -> int:
        return self.levels

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """(…, H, D) → (…, levels) int64: the nearest centre, then the nearest correction, and so on."""
        from scipy.cluster.vq import vq

        self._check_fitted()
        actions = np.clip(checked_actions(actions, self.horizon, self.action_dim), -1.0, 1.0)
        residual = (actions - self.centre) / self.scale * self.dimension_weights
        residual = residual.reshape(-1, self.horizon * self.action_dim).astype(np.float32)
        codes = np.empty((len(residual), self.levels), dtype=np.int64)
        for level, centres in enumerate(self._flat):
            nearest, _ = vq(residual, centres)
            residual = residual - centres[nearest]
            codes[:, level] = level * self.codes_per_level + nearest
        return codes.reshape(*actions.shape[:-2], self.levels)

    def decode(self, codes) -> np.ndarray:
        """(…, levels) codes → (…, H, D) float32: the sum of the levels' centres, clipped to [-1, 1]."""
        self._check_fitted()
        codes = checked_codes(codes, self.levels, self.vocabulary_size)
        index = codes - np.arange(self.levels) * self.codes_per_level
        if index.size and not ((index >= 0) & (index < self.codes_per_level)).all():
            raise UndecodableAction(
                f"The code of level l lies in [l·{self.codes_per_level}, (l+1)·{self.codes_per_level}), "
                f"found {codes.reshape(-1, self.levels)[:3].tolist()}."
            )
        total = sum(self.codebooks[level][index[..., level]] for level in range(self.levels))
        actions = total / self.dimension_weights * self.scale + self.centre
        return np.clip(actions, -1.0, 1.0).astype(np.float32)

    def measure(self, actions: np.ndarray) -> dict:
        """Return the round-trip error on chunks (N, H, D), per action dimension.

        rmse and p99 (99th percentile of the absolute error) are in units of the normalised action; same_sign is the
        share of numbers that keep their sign.
        """
        actions = np.clip(checked_actions(actions, self.horizon, self.action_dim), -1.0, 1.0)
        decoded = self.decode(self.encode(actions))
        error = np.abs(decoded - actions).reshape(-1, self.action_dim)
        same_sign = (np.signbit(decoded) == np.signbit(actions)).reshape(-1, self.action_dim)
        return {
            "chunks": int(np.prod(actions.shape[:-2])),
            "rmse": np.sqrt((error**2).mean(0)).round(6).tolist(),
            "p99": np.percentile(error, 99, axis=0).round(6).tolist(),
            "same_sign": same_sign.mean(0).round(6).tolist(),
        }

    def allowed_codes(self, prefix: Sequence[int] = ()) -> np.ndarray | None:
        level = len(prefix)
        return level * self.codes_per_level + np.arange(self.codes_per_level) if level < self.levels else None

    def save(self, folder: str | Path) -> None:
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        settings = {"seed": self.seed, "errors": self.errors} | ({} if self.fitted else {"fitted": False})
        storage.write(folder, self.name, settings, arrays)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        settings, arrays = storage.read(folder, cls.name, _ARRAYS)
        errors = storage.setting(settings, "errors", dict)
        fitted = bool(settings.get("fitted", True))
        return cls(**arrays, seed=storage.setting(settings, "seed", int), errors=errors, fitted=fitted)


def _initial_centres(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Choose `count` of the points (N, d) by greedy k-means++, as scikit-learn does.

    Each next centre is the best of a few points drawn in proportion to their squared distance from the centres so far.
    kmeans2's own "++" takes a minute where this takes a second.
    """
    tries = 2 + int(np.log(count))
    squares = np.einsum("nd,nd->n", points, points)
    chosen = np.empty(count, dtype=np.int64)
    chosen[0] = rng.integers(len(points))
    distance = ((points - points[chosen[0]]) ** 2).sum(1)
    for i in range(1, count):
        cumulative = distance.cumsum(dtype=np.float64)
        if cumulative[-1] <= 0:  # fewer distinct points than centres: the rest repeat
            chosen[i:] = rng.integers(len(points), size=count - i)
            break
        drawn = np.searchsorted(cumulative, rng.random(tries) * cumulative[-1], side="right")
        drawn = np.minimum(drawn, len(points) - 1)
        to_drawn = squares[drawn][:, None] + squares - 2 * (points[drawn] @ points.T)
        np.minimum(to_drawn, distance, out=to_drawn)
        best = int(to_drawn.sum(1).argmin())
        chosen[i] = drawn[best]
        distance = np.maximum(to_drawn[best], 0)
        distance[chosen[i]] = 0
    return points[chosen]
