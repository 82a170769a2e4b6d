"""When does a gripper hold an object? Read from its measured width, its command, or both, of any sign and unit.

opening  1 ──────╮            ╭──────      starts to close at ╮; holds once the width is at rest above that of an
         0       ╰────────────╯            empty gripper; starts to open at ╭
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError

_CLOSED_BELOW, _OPEN_ABOVE = 0.35, 0.65
"""Hysteresis, as a fraction of the range."""
_REST = 0.03
"""A width that changes less per frame, as a fraction of the range, is at rest."""
_USED = 0.15
"""A gripper that moves less in an episode, as a fraction of the range, was not used."""
EMPTY = 0.08
"""A gripper closed below this fraction of its range holds nothing."""
_LATENCY = 2
"""Frames by which the measured width follows the command."""
_LEAST_CORRELATION = 0.3
_SHORTEST = 2
"""Frames. A shorter closing is an accident."""


@dataclass(frozen=True)
class Grasp:
    """One closing of the gripper, in frames.

    close: starts to close. hold: at rest. release: starts to open; T if it never does.
    holds_object: None where it cannot be told, without a width.
    """

    close: int
    hold: int
    release: int
    holds_object: bool | None


@dataclass(frozen=True)
class OpeningScale:
    """The values at both ends of a dataset's gripper range."""

    closed: float
    open: float

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(T,) or (T, n) values → (T,) openings, 0 closed … 1 open."""
        return ((total_opening(values) - self.closed) / (self.open - self.closed)).clip(0.0, 1.0)


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


def opening_scale(
    values: NDArray[np.floating], starts: NDArray[np.intp], *, open_is_high: bool | None = None
) -> OpeningScale | None:
    """Estimate the scale from a whole dataset; None if its gripper never moves.

    Args:
        values: (N,) or (N, n) widths, finger positions or commands, of any unit and sign.
        starts: indices of the first frames of the episodes.
        open_is_high: whether larger values mean a wider opening. None: assume that most episodes begin open.
    """
    raw = total_opening(values)
    low, high = float(raw.min()), float(raw.max())
    if high - low < 1e-6:
        return None
    if 0 < low < 0.6 * high:
        low = 0.0  # a width: closed is zero, even if only wide objects were ever grasped
    elif 0.6 * low < high < 0:
        high = 0.0
    if open_is_high is None:
        open_is_high = bool(np.mean(raw[starts] > (low + high) / 2) >= 0.5)
    return OpeningScale(low, high) if open_is_high else OpeningScale(high, low)


def sign_from_width(command: NDArray[np.floating], opening: NDArray[np.float64]) -> bool | None:
    """Whether the gripper opens after larger commands; None if the correlation is not clear.

    Args:
        command: (N,) or (N, n) of a whole dataset.
        opening: (N,) measured, 0 closed … 1 open.
    """
    commanded, measured = total_opening(command)[:-_LATENCY], opening[_LATENCY:]
    if len(commanded) < 2 or np.ptp(commanded) < 1e-6 or np.ptp(measured) < 1e-6:
        return None
    correlation = float(np.corrcoef(commanded, measured)[0, 1])
    return correlation > 0 if abs(correlation) > _LEAST_CORRELATION else None


def find_grasps(
    command: NDArray[np.float64] | None, width: NDArray[np.float64] | None, *, empty: float = EMPTY
) -> list[Grasp]:
    """Find every closing of the gripper in an episode, in order of time.

    Args:
        command, width: (T,) 0 closed … 1 open (see `OpeningScale`); either may be None. If both are given, the command
            says when the gripper closes, and the width says whether it holds an object.
        empty: opening of a gripper that closed on nothing.

    Raises:
        InspireError: neither is given.
    """
    if command is not None:
        opening = command
    elif width is not None:
        opening = _stretch(width)
    else:
        raise InspireError("a gripper needs a command or a width, found neither.")
    closed = _is_closed(opening)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], closed.view(np.int8), [0]))))
    grasps = []
    for close, release in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if release - close <= _SHORTEST and release < len(opening):
            continue
        if width is None:
            grasps.append(Grasp(close, min(close + 2, release - 1), release, None))
            continue
        change = np.abs(np.diff(width[close:release], prepend=width[close]))
        moving = np.flatnonzero(change > _REST)
        hold = min(close + _end_of_first_motion(moving), release - 1)
        grasps.append(Grasp(close, hold, release, float(np.median(width[hold:release])) > empty))
    return grasps


def _stretch(width: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a width to this episode's own range: around a wide object the gripper is never fully closed."""
    low, high = float(width.min()), float(width.max())
    return (width - low) / (high - low) if high - low > _USED else np.ones_like(width)


def _end_of_first_motion(moving: NDArray[np.intp]) -> int:
    """Last of the first consecutive `moving` frames, where pauses of one frame do not count; 0 if there are none."""
    if not len(moving):
        return 0
    gaps = np.flatnonzero(np.diff(moving) > 2)
    return int(moving[gaps[0] if len(gaps) else -1])


def _is_closed(opening: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(T,) bool. Between both thresholds the state before holds; the gripper begins open."""
    state = np.where(opening < _CLOSED_BELOW, 1, np.where(opening > _OPEN_ABOVE, 0, -1))
    latest = np.maximum.accumulate(np.where(state >= 0, np.arange(len(opening)), -1))
    return (latest >= 0) & (state[latest] == 1)
