"""When does a gripper hold an object? Read from its measured width, its command, or both, of any sign and unit.

opening  1 ──────╮            ╭──────      starts to close at ╮; holds once the width is at rest above that of an
         0       ╰────────────╯            empty gripper; starts to open at ╭

A closing is a valley of the opening: it counts by its depth, not by a fixed level, so that a wide object is found (the
fingers rest at 60 % of their range) and an opening that is not complete too.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError

_LEVELS = (0.01, 0.99)
"""Quantiles of a dataset's values that stand for closed and open."""
_LEAST_CHANGE = 0.15
"""A smaller change of the opening, as a fraction of the range, neither closes nor opens."""
_LEAST_OPENING = 0.25
"""A gripper opens when it has moved back by this fraction of how far it had closed."""
_CLOSED_BELOW = 0.7
"""A valley that stays above this fraction of the range is no closing."""
_REST = 0.03
"""A width that changes less per frame, as a fraction of the range, is at rest."""
_NEAR = 0.12
"""A width is at rest in a valley if it is this near to its bottom, as a fraction of the valley's depth."""
EMPTY = 0.08
"""A gripper closed below this fraction of its range holds nothing."""
_SHORTEST = 2
"""Frames. A shorter closing is an accident."""
_BINARY = 0.97
"""A command is binary if this share of its values is at the two ends."""
_NOISE = 8
"""A range smaller than this multiple of the usual change per frame is noise."""


@dataclass(frozen=True)
class Grasp:
    """One closing of the gripper, in frames.

    close: starts to close. hold: at rest. release: starts to open; T if it never does. end: the first frame in which
    nothing is held: the width says so at once; after a command the fingers still hold for a frame.
    holds_object: None where it cannot be known, without a width. arm: index of the arm.
    """

    close: int
    hold: int
    release: int
    end: int
    holds_object: bool | None
    arm: int = 0


@dataclass(frozen=True)
class OpeningScale:
    """The values at both ends of a dataset's gripper range."""

    closed: float
    open: float

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(T,) or (T, n) values → (T,) openings, 0 closed … 1 open. Single corrupt frames are smoothed out."""
        return ((_despiked(total_opening(values)) - self.closed) / (self.open - self.closed)).clip(0.0, 1.0)

    @property
    def open_is_high(self) -> bool:
        """Whether larger values mean a wider opening."""
        return self.open > self.closed

    def with_sign(self, open_is_high: bool) -> "OpeningScale":
        """The same range, read with this sign."""
        return self if self.open_is_high == open_is_high else OpeningScale(self.open, self.closed)


def total_opening(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(T,) or (T, n) → (T,). Several fingers are added up, each by its absolute value.

    Raises:
        InspireError: another shape, or values that are not finite.
    """
    raw = np.asarray(values, dtype=np.float64)
    if raw.ndim == 2:
        raw = np.abs(raw).sum(axis=1) if raw.shape[1] > 1 else raw[:, 0]
    if raw.ndim != 1 or not np.isfinite(raw).all():
        raise InspireError(f"gripper values must be finite, (T,) or (T, n); found shape {np.shape(values)}.")
    return raw


def _despiked(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace values by the median of three frames: one corrupt frame disappears, a step stays."""
    from scipy.ndimage import (
        median_filter,  # here, so that labels can be read without it: it takes a second to load
    )

    return median_filter(raw, size=3, mode="nearest") if len(raw) > 2 else raw


def opening_scale(values: NDArray[np.floating], *, open_is_high: bool = True) -> OpeningScale | None:
    """Estimate the scale from a whole dataset; None if its gripper never moves.

    Args:
        values: (N,) or (N, n) widths, finger positions or commands, of any unit and sign.
        open_is_high: whether larger values mean a wider opening.
    """
    raw = _despiked(total_opening(values))
    if not len(raw):
        return None
    low, high = (float(level) for level in np.quantile(raw, _LEVELS))
    if high - low < 1e-6:  # closed, or open, in very few frames
        low, high = float(raw.min()), float(raw.max())
    if high - low < max(1e-6, _NOISE * float(np.median(np.abs(np.diff(raw, prepend=raw[:1]))))):
        return None
    if 0 < low < 0.6 * high:
        low = 0.0  # a width: closed is zero, even if only wide objects were ever grasped
    elif 0.6 * low < high < 0:
        high = 0.0
    return OpeningScale(low, high) if open_is_high else OpeningScale(high, low)


# --- commands


def is_binary(values: NDArray[np.floating]) -> bool:
    """Whether almost all values are at the two ends of their range, and both occur.

    values: of any shape and unit. Those that are not finite do not count.
    """
    raw = np.asarray(values, dtype=np.float64).ravel()
    raw = raw[np.isfinite(raw)]
    if not len(raw) or np.ptp(raw) < 1e-6:
        return False
    share = (raw - raw.min()) / np.ptp(raw)
    return bool(np.mean((share < 0.02) | (share > 0.98)) >= _BINARY)


_MOST_PULSE = 0.4
_LONGEST_PULSE = 6


def neutral_value(values: NDArray[np.floating]) -> float | None:
    """The neutral value of a trigger-style command, which says "close" or "open" for a few frames only.

    It is between both ends, and returned to after short pulses. It is in the unit of the command (N,), which may be
    any. None if the command is no trigger.
    """
    raw = np.asarray(values, dtype=np.float64).ravel()
    raw = raw[np.isfinite(raw)]
    if len(raw) < 3 or np.ptp(raw) < 1e-6:
        return None
    levels, counts = np.unique(np.round(raw, 6), return_counts=True)
    neutral = float(levels[np.argmax(counts)])
    share = (neutral - raw.min()) / np.ptp(raw)
    active = np.abs(raw - neutral) > 0.1 * np.ptp(raw)
    if not 0.2 < share < 0.8 or active.mean() > _MOST_PULSE:
        return None
    pulses = [end - first for first, end in true_runs(active)]
    return neutral if pulses and np.median(pulses) <= _LONGEST_PULSE else None


def is_toggle(values: NDArray[np.floating]) -> bool:
    """Whether a command (N,), of any unit, has pulses of one kind only, so that the same pulse may close and open."""
    raw = np.asarray(values, dtype=np.float64).ravel()
    if not is_binary(raw):
        return False
    high = raw > (raw.min() + raw.max()) / 2
    pulses = [end - first for first, end in true_runs(high if high.mean() < 0.5 else ~high)]
    return len(pulses) > 1 and bool(np.median(pulses) <= _SHORTEST)


def held_command(values: NDArray[np.floating], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the command (N,), where a trigger's pulses last until the next pulse; other commands as they are.

    Args:
        values: (N,) or (N, n) commands of a whole dataset, of any unit and sign; see `total_opening`.
        starts: (episodes,) first frame of each episode.

    Raises:
        InspireError: another shape, or values that are not finite.
    """
    raw = total_opening(values)
    neutral = neutral_value(raw)
    return raw if neutral is None else hold_pulses(raw, neutral, starts)


def hold_pulses(raw: NDArray[np.float64], neutral: float, starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Let a trigger's pulses last until the next pulse of the episode.

    Before an episode's first pulse the gripper is in the other state.

    Args:
        raw: (N,) commands of a whole dataset, of any unit.
        neutral: the command between pulses, in the same unit.
        starts: (episodes,) first frame of each episode.

    Returns:
        (N,): −1 after a pulse below `neutral`, 1 after one above it, 0 in an episode without a pulse.
    """
    held = np.zeros(len(raw))
    side = np.sign(raw - neutral) * (np.abs(raw - neutral) > 1e-6)
    for first, end in itertools.pairwise([*starts, len(raw)]):
        pulses = first + np.flatnonzero(side[first:end])
        if len(pulses):
            latest = np.searchsorted(pulses, np.arange(first, end), side="right") - 1
            held[first:end] = np.where(latest < 0, -side[pulses[0]], side[pulses[latest.clip(0)]])
    return held


def true_runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Flags (N,) → (first, end) of each run of True, in frames; `end` is the frame behind the run."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Pearson's correlation of two signals (N,); 0 where one of both is constant, or with less than two frames."""
    if len(first) < 2 or np.ptp(first) < 1e-9 or np.ptp(second) < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def correlation_with_width(
    command: NDArray[np.float64], width: NDArray[np.float64], starts: NDArray[np.intp]
) -> float:
    """The largest correlation, of either sign, of a command with the width up to five frames later.

    Args:
        command, width: (N,) values of a whole dataset, of any unit and sign.
        starts: (episodes,) first frame of each episode.
    """
    held = held_command(command, starts)
    return max((correlation(held[: len(held) - lag], width[lag:]) for lag in range(6)), key=abs)


# --- grasps


def find_grasps(
    command: NDArray[np.float64] | None, width: NDArray[np.float64] | None, *, empty: float = EMPTY
) -> list[Grasp]:
    """Find every closing of the gripper in an episode, in order of time.

    Args:
        command, width: (T,) 0 closed … 1 open (see `OpeningScale`); either may be None. If both are given, a binary
            command says when the gripper closes, and the width says whether it holds an object. A command with values
            between (a leader arm's angle) is used only without a width.
        empty: opening of a gripper that closed on nothing.

    Returns:
        [] if neither is given.
    """
    if command is not None and (width is None or is_binary(command)):
        found = [valley for valley in valleys(command) if not _is_accident(valley, len(command))]
        return [_commanded_grasp(valley, len(command), width, empty) for valley in found]
    return [] if width is None else [_measured_grasp(valley, width, empty) for valley in valleys(width)]


def _is_accident(valley: "Valley", frames: int) -> bool:
    return valley.release - valley.close <= _SHORTEST and valley.release < frames


def _commanded_grasp(valley: "Valley", frames: int, width: NDArray[np.float64] | None, empty: float) -> Grasp:
    """The grasp of a valley of the command: it holds once the width has come to rest."""
    close, release = valley.close, valley.release
    end = min(release + 1, frames)
    if width is None:
        return Grasp(close, min(close + 2, release - 1), release, end, None)
    change = np.abs(np.diff(width[close:release], prepend=width[max(close - 1, 0)]))
    moving = np.flatnonzero(change > _REST)
    pauses = np.flatnonzero(np.diff(moving) > 2)  # longer than a frame
    moved = int(moving[pauses[0] if len(pauses) else -1]) if len(moving) else 0
    hold = min(close + moved, release - 1)
    return Grasp(close, hold, release, end, float(np.median(width[hold:release])) > empty)


def _measured_grasp(valley: "Valley", width: NDArray[np.float64], empty: float) -> Grasp:
    """The grasp of a valley of the width: from when it comes to rest until it begins to rise again."""
    inside = width[valley.close : valley.release]
    bottom = float(np.median(np.sort(inside)[: max(1, len(inside) * 3 // 4)]))

    def at_rest(rim: float) -> NDArray[np.intp]:
        return valley.close + np.flatnonzero(inside <= bottom + _NEAR * max(rim - bottom, _LEAST_CHANGE))

    hold = int(at_rest(valley.left)[0])
    release = valley.release if valley.right is None else int(at_rest(valley.right)[-1]) + 1
    release = max(release, hold + 1)
    return Grasp(valley.close, hold, release, release, bottom > empty)


@dataclass(frozen=True)
class Valley:
    """Frames close … release in which an opening is nearer to the valley's bottom than to its rims.

    close: first frame. release: the frame behind the last one. left, right: the heights of the rims; right is None if
    the opening stays low until the end. Heights are openings, 0 closed … 1 open.
    """

    close: int
    release: int
    left: float
    bottom: float
    right: float | None


def valleys(opening: NDArray[np.float64]) -> list[Valley]:
    """Find where an opening (T,) 0 … 1 is low between two rims that are higher by at least `_LEAST_CHANGE`.

    A valley at the beginning has the height 1 as its left rim: the gripper begins closed.
    """
    turns = _turning_points(opening)
    low = []
    for before, (frame, is_low), after in zip([None, *turns], turns, [*turns[1:], None], strict=False):
        bottom = float(opening[frame])
        if not is_low or bottom >= _CLOSED_BELOW:
            continue
        close, left, release, right = 0, 1.0, len(opening), None
        if before is not None:
            left = float(opening[before[0]])
            close = before[0] + int(np.argmax(opening[before[0] : frame + 1] < (left + bottom) / 2))
        if after is not None:
            right = float(opening[after[0]])
            release = frame + int(np.argmax(opening[frame : after[0] + 1] > (right + bottom) / 2))
        low.append(Valley(close, release, left, bottom, right))
    return low


def _turning_points(opening: NDArray[np.float64]) -> list[tuple[int, bool]]:
    """Frames at which the opening turns, and whether it is lowest there: alternately low and high."""
    values, turns = opening.tolist(), []
    low = high = 0  # the last extremes
    rim = 0.0  # height from which it fell
    falling: bool | None = None
    for frame in np.flatnonzero(np.diff(opening, prepend=np.nan) != 0).tolist():  # of equal values, the first
        value = values[frame]
        if falling is not False and value < values[low]:
            low = frame
        if falling is not True and value > values[high]:
            high = frame
        if falling is not True and value <= values[high] - _LEAST_CHANGE:
            turns.append((high, False))
            falling, low, rim = True, frame, values[high]
        elif falling is not False and value >= values[low] + max(
            _LEAST_CHANGE, _LEAST_OPENING * (rim - values[low])
        ):
            turns.append((low, True))
            falling, high = False, frame
    if falling is None:  # it never moves: low all the time, or not
        return [(low, True)] if len(values) and values[low] < 0.5 else []
    return [*turns, (low, True) if falling else (high, False)]
