"""Does an action tokenizer keep the gripper? Openings and closings of the demonstrations must survive encode∘decode.

A gripper that hardly ever moves costs a tokenizer almost no error when it is decoded as constant, and quantiles of its
values may be equal. A robot with such a tokenizer never grasps.

levels of a gripper value: −1 low, 0 usual, +1 high. Low and high lie beyond the middle between the median and the end.
A signal that only pulses (−1 close, 0 keep, +1 open) has all three, a position has two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from inspire_vla.errors import counted
from inspire_vla.labels.value_names import is_opening
from inspire_vla.lerobot_plugin.frame_cache import chunk_indices

MOST_LOST = 0.5
"""A tokenizer that loses more of the changes to one level is refused; one that loses fewer is warned about."""
_MOST_CHANGES = 0.1
"""Of the frames. A value that changes its level more often is no gripper."""
_FEW_VALUES = 5
"""The last value of an action without names is taken for a gripper if it has no more different values."""
_GLITCHES = 0.02
"""Share of the episodes whose extreme values do not count: a glitch is no end of the range."""
_NEAR = 1
"""Frames by which a decoded change may come too early or too late."""
_MOST_TESTED = 20_000


def gripper_dimensions(names: Sequence[str], actions: Float[np.ndarray, "frames dim"]) -> tuple[int, ...]:
    """Which values of an action are grippers: by name, or the last one if it takes few values only."""
    named = tuple(i for i, name in enumerate(names) if is_opening(name, "action", several=True))
    if named or names or not len(actions):
        return named
    last = actions.shape[1] - 1
    return (last,) if len(np.unique(np.round(actions[:, last], 3))) <= _FEW_VALUES else ()


@dataclass(frozen=True)
class Levels:
    """Beyond `low` and `high` a value is at level −1 and +1; infinite where there is no such level."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Float[np.ndarray, " frames"], episodes: Int[np.ndarray, " frames"]) -> "Levels":
        """The levels of a dataset's gripper values, of any unit. A small share of the episodes is ignored as glitches.

        episodes: the episode of each frame; frames of an episode follow each other.
        """
        starts = np.flatnonzero(np.diff(episodes, prepend=episodes[0] - 1))
        ignored = int(_GLITCHES * len(starts))
        highest = float(np.sort(np.maximum.reduceat(values, starts))[len(starts) - 1 - ignored])
        lowest = float(np.sort(np.minimum.reduceat(values, starts))[ignored])
        middle, enough = float(np.median(values)), 0.1 * (highest - lowest)
        return cls(
            (middle + lowest) / 2 if middle - lowest > enough else -np.inf,
            (middle + highest) / 2 if highest - middle > enough else np.inf,
        )

    def __call__(self, values: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        return (values > self.high).astype(int) - (values < self.low).astype(int)


@dataclass(frozen=True)
class Lost:
    """Changes of one gripper to one level that a tokenizer loses. `value` is the usual one at that level."""

    dimension: int
    level: int
    value: float
    count: int
    total: int


def lost_changes(
    actions: Float[np.ndarray, "frames dim"],
    episodes: Int[np.ndarray, " frames"],
    dimensions: Sequence[int],
    horizon: int,
    round_trip: Callable[[Float[np.ndarray, "n horizon dim"]], Float[np.ndarray, "n horizon dim"]],
) -> list[Lost]:
    """The changes of each gripper that `round_trip` (actions as they are recorded → as decoded) loses.

    A change is tested in the chunk that begins with it, and in one that has it in its middle. Levels that lose nothing
    are left out.
    """
    lost = []
    for dimension in dimensions:
        values = actions[:, dimension].astype(np.float64)
        levels = Levels.of(values, episodes)
        at = changes(levels(values), episodes)
        if not len(at) or len(at) > _MOST_CHANGES * len(values):
            continue
        at = at[:: -(-len(at) // _MOST_TESTED)]
        recorded, survived = levels(values[at]), np.ones(len(at), dtype=bool)
        first = np.searchsorted(episodes, episodes[at])  # of the episode
        for before in {0, horizon // 2}:
            starts = np.maximum(at - before, first)
            decoded = round_trip(actions[chunk_indices(episodes, horizon, starts)])[..., dimension]
            steps = (at - starts)[:, None] + np.arange(-_NEAR, _NEAR + 1)
            near = np.take_along_axis(levels(decoded), steps.clip(0, horizon - 1), axis=1)
            survived &= (near == recorded[:, None]).any(axis=1)
        for level in np.unique(recorded).tolist():
            of_level = recorded == level
            if count := int((of_level & ~survived).sum()):
                usual = float(np.median(values[levels(values) == level]))
                lost.append(Lost(dimension, level, usual, count, int(of_level.sum())))
    return lost


def changes(
    levels: Int[np.ndarray, " frames"], episodes: Int[np.ndarray, " frames"]
) -> Int[np.ndarray, " n"]:
    """Frames whose level differs from that of the frame before, in the same episode."""
    return 1 + np.flatnonzero((np.diff(levels) != 0) & (np.diff(episodes) == 0))


def chunks_with_changes(
    actions: Float[np.ndarray, "frames dim"],
    episodes: Int[np.ndarray, " frames"],
    dimensions: Sequence[int],
    horizon: int,
) -> Int[np.ndarray, " n"]:
    """Frames at which a chunk begins that holds a change of a gripper."""
    starts = [np.zeros(0, dtype=np.int64)]
    for dimension in dimensions:
        values = actions[:, dimension].astype(np.float64)
        at = changes(Levels.of(values, episodes)(values), episodes)
        first = np.searchsorted(episodes, episodes[at])
        starts += [np.maximum(at - before, first) for before in range(horizon)]
    return np.unique(np.concatenate(starts))


def describe(lost: Sequence[Lost], names: Sequence[str]) -> str:
    """Say what is lost: "12 of 12 changes of gripper.pos to 22"."""
    return ", ".join(
        f"{one.count} of {counted(one.total, 'change')} of "
        f"{names[one.dimension] if names else f'value {one.dimension}'} "
        f"to {one.value:.3g}"
        for one in lost
    )
