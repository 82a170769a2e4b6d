"""How far decoded actions lie from the recorded ones, for each value of the action, in the dataset's units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from rich.cells import cell_len, set_cell_size

from inspire_vla.lerobot_plugin.frame_cache import chunk_indices

LARGE_ERROR = 0.3
"""Of the spread of a value: a 99th percentile of the error above this is warned about."""
_MOST_TESTED = 5_000


@dataclass(frozen=True)
class RoundingError:
    """Error of encode∘decode, for each of the D values of an action, in the dataset's units.

    Attributes:
        rmse, p99: root mean square, and 99th percentile of the absolute error.
        low, high: 1st and 99th percentile of the recorded values; minimum and maximum where those are equal.
        chunks: how many were measured.
    """

    rmse: Float[np.ndarray, " dim"]
    p99: Float[np.ndarray, " dim"]
    low: Float[np.ndarray, " dim"]
    high: Float[np.ndarray, " dim"]
    chunks: int

    @classmethod
    def measure(
        cls,
        actions: Float[np.ndarray, "frames dim"],
        episodes: Int[np.ndarray, " frames"],
        horizon: int,
        round_trip: Callable[[Float[np.ndarray, "n horizon dim"]], Float[np.ndarray, "n horizon dim"]],
    ) -> "RoundingError":
        """Measure at most 5,000 chunks, always the same ones.

        round_trip: actions as they are recorded → as decoded.
        """
        starts: np.ndarray = np.arange(len(actions))
        if len(actions) > _MOST_TESTED:
            starts = np.random.default_rng(0).choice(len(actions), _MOST_TESTED, replace=False)
        chunks = actions[chunk_indices(episodes, horizon, starts)]
        error = np.abs(round_trip(chunks) - chunks).reshape(-1, actions.shape[1]).astype(np.float64)
        low, high = np.quantile(actions, (0.01, 0.99), axis=0)
        same = low == high
        low, high = np.where(same, actions.min(0), low), np.where(same, actions.max(0), high)
        return cls(np.sqrt((error**2).mean(0)), np.quantile(error, 0.99, axis=0), low, high, len(chunks))

    def large(self) -> list[int]:
        """The values whose error is a large share of their spread."""
        spread = self.high - self.low
        return np.flatnonzero((spread > 0) & (self.p99 > LARGE_ERROR * spread)).tolist()

    def table(self, names: Sequence[str]) -> str:
        """A line for each value: its error, and its spread."""
        head = ("", "rmse", "99 % below", "spread, 1 % to 99 %")
        rows = [
            (
                names[i],
                f"{self.rmse[i]:.3g}",
                f"{self.p99[i]:.3g}",
                f"{self.low[i]:.3g} to {self.high[i]:.3g}",
            )
            for i in range(len(self.rmse))
        ]
        widths = [max(cell_len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        return "\n".join(
            "  "
            + "  ".join(set_cell_size(word, width) for word, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        )
