"""Seeded k-means for tens of thousands of points on one core: Lloyd's steps as matrix products."""

import numpy as np

BLOCK = 8192  # points per product: the distances of a block stay in cache


def nearest(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Index of the nearest mean for each point: (N, d), (K, d) → (N,) int64. Ties go to the lower index."""
    half_norms = (means * means).sum(1) / 2
    found = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        found[start : start + BLOCK] = (half_norms - block @ means.T).argmin(1)
    return found


def spread_out(points: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Greedy k-means++: each next mean is the best of a few points drawn in proportion to their squared distance."""
    tries = 2 + int(np.log(count))
    squares = np.einsum("nd,nd->n", points, points)
    chosen = np.empty(count, dtype=np.int64)
    chosen[0] = generator.integers(len(points))
    distance = _squared_distance(points, points[chosen[0]])
    for i in range(1, count):
        cumulative = distance.cumsum(dtype=np.float64)
        if cumulative[-1] <= 0:  # fewer distinct points than means: the rest repeat
            chosen[i:] = generator.integers(len(points), size=count - i)
            break
        drawn = np.searchsorted(cumulative, generator.random(tries) * cumulative[-1], side="right")
        drawn = np.minimum(drawn, len(points) - 1)
        to_drawn = squares[drawn][:, None] + squares - 2 * (points[drawn] @ points.T)
        np.minimum(to_drawn, distance, out=to_drawn)
        best = int(to_drawn.sum(1).argmin())
        chosen[i] = drawn[best]
        distance = np.maximum(to_drawn[best], 0)
        distance[chosen[i]] = 0
    return points[chosen].copy()


def kmeans(
    points: np.ndarray,
    count: int,
    generator: np.random.Generator,
    *,
    max_iterations: int = 60,
    tolerance: float = 1e-4,
) -> np.ndarray:
    """`count` means (K, d) float32 of points (N, d), N ≥ K. A mean without points moves to the farthest one.

    Stops when the mean squared distance falls by less than `tolerance` of itself in a step.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    means = spread_out(points, count, generator)
    previous = np.inf
    for _ in range(max_iterations):
        owner = nearest(points, means)
        sizes = np.bincount(owner, minlength=count)
        sums = np.stack([np.bincount(owner, column, minlength=count) for column in points.T], axis=1)
        distance = _squared_distance(points, means[owner])
        empty = np.flatnonzero(sizes == 0)
        means = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
        if empty.size:
            means[empty] = points[np.argsort(-distance, kind="stable")[: empty.size]]
        spread = float(distance.mean(dtype=np.float64))
        if not empty.size and previous - spread <= tolerance * spread:
            break
        previous = spread
    return means


def _squared_distance(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    difference = points - centre
    return np.einsum("nd,nd->n", difference, difference)
