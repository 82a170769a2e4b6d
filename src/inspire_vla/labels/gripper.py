"""When does a gripper hold something? From its width, its command, or both, whatever their sign and unit.

opening  1 ──────╮            ╭──────      closing at ╮, held once the width has come to rest above the
         0       ╰────────────╯            width of an empty gripper, let go at ╭
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import InspireError

_CLOSED_BELOW, _OPEN_ABOVE = 0.35, 0.65  # of the range: hysteresis
_STALL = 0.03  # of the range and frame: slower is at rest
_MOVES = 0.15  # of the range: a gripper that moves less in an episode was not used
EMPTY = 0.08
"""A gripper shut to less than this part of its range holds nothing."""
_FOLLOWS = 2  # frames: so late fingers do what they are told
_CLEAR = 0.3
_SHORT = 2  # frames: a closing as short as this is a slip of the hand


@dataclass(frozen=True)
class Grip:
    """One closing, in frames: begun at `closing`, at rest at `held`, opened from `opening` on (T if never).

    `full`: whether something is held; None where it cannot be told (no width).
    """

    closing: int
    held: int
    opening: int
    full: bool | None


@dataclass(frozen=True)
class OpeningScale:
    """How a dataset writes the opening of its gripper: `shut` and `wide` are the values at both ends."""

    shut: float
    wide: float

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(T,) or (T, n) values → (T,), 0 shut … 1 wide open."""
        return ((joined(values) - self.shut) / (self.wide - self.shut)).clip(0.0, 1.0)


def joined(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """One number per frame: several fingers count by the sum of their distances from zero."""
    raw = np.asarray(values, dtype=np.float64)
    if raw.ndim == 2:
        raw = np.abs(raw).sum(axis=1) if raw.shape[1] > 1 else raw[:, 0]
    if raw.ndim != 1 or not np.isfinite(raw).all():
        raise InspireError(f"gripper values must be finite, (T,) or (T, n); found shape {np.shape(values)}.")
    return raw


def scale_of(
    values: NDArray[np.floating], starts: NDArray[np.intp], *, open_is_high: bool | None = None
) -> OpeningScale | None:
    """Read the scale off a whole dataset; None if its gripper never moves.

    Args:
        values: (N,) or (N, n) widths, finger positions or commands of any unit and sign.
        starts: indices of the first frames of episodes.
        open_is_high: whether larger means wider. None: most demonstrations begin with an open gripper.
    """
    raw = joined(values)
    low, high = float(raw.min()), float(raw.max())
    if high - low < 1e-6:
        return None
    if 0 < low < 0.6 * high:
        low = 0.0  # a width: shut is zero, even if nothing thinner than a cup was ever gripped
    elif 0.6 * low < high < 0:
        high = 0.0
    if open_is_high is None:
        open_is_high = bool(np.mean(raw[starts] > (low + high) / 2) >= 0.5)
    return OpeningScale(low, high) if open_is_high else OpeningScale(high, low)


def sign_by_width(command: NDArray[np.floating], opening: NDArray[np.float64]) -> bool | None:
    """Whether larger commands are followed by wider fingers; None if neither larger nor smaller ones clearly are.

    Args:
        command: (N,) or (N, n) of a whole dataset.
        opening: (N,) measured, 0 shut … 1 open.
    """
    told, seen = joined(command)[:-_FOLLOWS], opening[_FOLLOWS:]
    if len(told) < 2 or np.ptp(told) < 1e-6 or np.ptp(seen) < 1e-6:
        return None
    correlation = float(np.corrcoef(told, seen)[0, 1])
    return correlation > 0 if abs(correlation) > _CLEAR else None


def find_grasps(
    command: NDArray[np.float64] | None, width: NDArray[np.float64] | None, *, empty: float = EMPTY
) -> list[Grip]:
    """Find every closing of an episode.

    Args:
        command, width: (T,) 0 shut … 1 open (see `OpeningScale`), either may be None. With both, the command says when
            and the width says whether anything is held.
        empty: width of a gripper that shut on nothing, as a part of its range.

    Raises:
        InspireError: neither is given.
    """
    if command is not None:
        signal = command
    elif width is not None:
        signal = _stretched(width)
    else:
        raise InspireError("a gripper needs a command or a width, found neither.")
    shut = _hysteresis(signal)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], shut.view(np.int8), [0]))))
    grips = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - begin <= _SHORT and end < len(signal):
            continue
        if width is None:
            rest = min(begin + 2, end - 1)
            grips.append(Grip(begin, rest, end, None))
            continue
        change = np.abs(np.diff(width[begin:end], prepend=width[begin]))
        moved = np.flatnonzero(change > _STALL)
        rest = begin + (
            int(moved[_first_run(moved)]) if len(moved) else 0
        )  # its last move has brought it there
        rest = min(rest, end - 1)
        middle = float(np.median(width[rest:end]))
        grips.append(Grip(begin, rest, end, middle > empty))
    return grips


def _stretched(width: NDArray[np.float64]) -> NDArray[np.float64]:
    """A hand around a wide thing is never shut: what counts is how far it moves in this episode."""
    low, high = float(width.min()), float(width.max())
    return (width - low) / (high - low) if high - low > _MOVES else np.ones_like(width)


def _first_run(moved: NDArray[np.intp]) -> int:
    """Index of the last of the first frames that follow each other, small pauses forgiven."""
    gaps = np.flatnonzero(np.diff(moved) > 2)
    return int(gaps[0]) if len(gaps) else len(moved) - 1


def _hysteresis(signal: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Shut below the lower threshold, open above the upper one, as before in between; open to begin with."""
    said = np.where(signal < _CLOSED_BELOW, 1, np.where(signal > _OPEN_ABOVE, 0, -1))
    known = np.flatnonzero(said >= 0)
    if not len(known):
        return np.zeros(len(signal), dtype=bool)
    latest = np.maximum.accumulate(np.where(said >= 0, np.arange(len(signal)), 0))
    filled = np.where(np.arange(len(signal)) < known[0], 0, said[latest])
    return filled == 1
