"""The rules that turn the offset of an object into its answer, one per reasoning mode.

The offset `gripper_to_object_m` is object position minus gripper position, in metres, along the axes of the robot's
base frame. A `Frame` gives its words. Source: InSpire (arXiv 2505.13888), section 3 and the ablation of answer forms.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.spatial.frame import WORD_PAIRS, Frame, get_frame
from inspire_vla.spatial.modes import (
    CLOSE,
    GRASPED,
    LARGEST_TENTH,
    canonical_answers,
    canonical_array,
    check_mode,
)

CLOSE_DISTANCE_M = 0.06
"""Default threshold of `close` in mode distance."""
NEAR_DISTANCE_M = 0.2
MIDDLE_DISTANCE_M = 0.3


def relate(
    gripper_to_object_m: ArrayLike,
    grasped: ArrayLike,
    *,
    mode: str = "direction",
    frame: str | Frame = "robot",
    close_threshold_m: float | None = None,
    grasped_word: bool = True,
) -> NDArray[np.str_]:
    """Return where objects are, in words (…). See `relate_codes` for rules, arguments and errors.

    >>> relate([[0.1, 0.3, -0.2], [0.0, 0.0, -0.4]], grasped=False).tolist()
    ['left', 'down']
    """
    codes = relate_codes(
        gripper_to_object_m,
        grasped,
        mode=mode,
        frame=frame,
        close_threshold_m=close_threshold_m,
        grasped_word=grasped_word,
    )
    return canonical_array(mode)[codes]


def true_answers(info: Mapping[str, Any], **rule: Any) -> dict[str, str]:
    """Return {mention: true answer} from the `info` of an environment; empty if it knows none.

    Args:
        info: holds `mentions` (k words), `gripper_to_object_m` (k, 3) and `grasped` (k,); or, of recorded frames, the
            labels themselves as `true_answers`.
        rule: keyword arguments of `relate`, such as mode and frame.
    """
    if "true_answers" in info:
        return dict(info["true_answers"])
    if "gripper_to_object_m" not in info or not len(info.get("mentions", ())):
        return {}
    words = relate(np.asarray(info["gripper_to_object_m"]), np.asarray(info["grasped"], dtype=bool), **rule)
    return dict(zip(info["mentions"], map(str, words), strict=True))


def relate_codes(
    gripper_to_object_m: ArrayLike,
    grasped: ArrayLike,
    *,
    mode: str = "direction",
    frame: str | Frame = "robot",
    close_threshold_m: float | None = None,
    grasped_word: bool = True,
) -> NDArray[np.int16]:
    """Return where objects are, as codes: indices into `canonical_answers(mode)`.

    - direction: the axis with the largest magnitude, the earlier axis at a tie; `close` if a threshold is given
      and no magnitude exceeds it.
    - direction_3d: one word for each of front/back, left/right, up/down, in this order; `close` for an axis whose
      magnitude does not exceed a given threshold.
    - position: tenths of a metre along x, y, z of the offset, whatever the frame, rounded toward zero, clipped to ±9.
    - distance: `close` below the threshold (default 0.06 m; a threshold of 0 excludes `close`), `near` below 0.2 m,
      `middle` below 0.3 m, else `far`.
    - distance_fine: tenths of a metre, rounded down, at most 9.

    Zero counts as positive. A grasped object is `grasped` in every mode, unless `grasped_word` is False.

    Args:
        gripper_to_object_m: (…, 3) object minus gripper, metres, robot base axes.
        grasped: bool, broadcasts to (…).
        mode: one of `MODES`.
        frame: a name in `FRAMES` or a `Frame`.
        close_threshold_m: metres, at least 0; None for no threshold (mode distance: 0.06).
        grasped_word: whether `grasped` is an answer.

    Returns:
        (…) int16 codes.

    Raises:
        InspireError: offsets that are not (…, 3) or not finite, `grasped` that is not boolean or does not broadcast, a
            negative threshold, an unknown mode or frame.
    """
    check_mode(mode)
    frame = get_frame(frame)
    threshold = _check_threshold(close_threshold_m)
    offsets = _check_offsets(gripper_to_object_m)
    shape = offsets.shape[:-1]
    grasped_mask = _check_grasped(grasped, shape) if grasped_word else None

    codes = _RULES[mode](offsets.reshape(-1, 3), frame, threshold).reshape(shape)
    if grasped_mask is not None:
        codes[grasped_mask] = canonical_answers(mode).index(GRASPED)
    return codes


@cache
def _direction_table(frame: Frame) -> NDArray[np.int16]:
    """Code of axis a at sign s (0 negative, 1 positive) at index 2a + s."""
    answers = canonical_answers("direction")
    return np.array([answers.index(word) for pair in frame.axes for word in pair], dtype=np.int16)


def _direction(offsets: NDArray[np.floating], frame: Frame, threshold: float | None) -> NDArray[np.int16]:
    magnitudes = np.abs(offsets)
    axis = magnitudes.argmax(axis=1)
    positive = np.take_along_axis(offsets, axis[:, None], axis=1)[:, 0] >= 0
    codes = _direction_table(frame)[2 * axis + positive]
    if threshold is not None:
        codes[magnitudes.max(axis=1) <= threshold] = canonical_answers("direction").index(CLOSE)
    return codes


def _direction_3d(offsets: NDArray[np.floating], frame: Frame, threshold: float | None) -> NDArray[np.int16]:
    codes = np.zeros(len(offsets), dtype=np.int16)
    for pair in WORD_PAIRS:  # in this order for every frame, so all frames share one answer set
        axis = next(i for i, axis_words in enumerate(frame.axes) if set(axis_words) == set(pair))
        positive = offsets[:, axis] >= 0
        digit = np.where(positive, pair.index(frame.axes[axis][1]), pair.index(frame.axes[axis][0]))
        if threshold is not None:
            digit = np.where(np.abs(offsets[:, axis]) <= threshold, 2, digit)
        codes = (codes * 3 + digit).astype(np.int16)
    return codes


def _position(offsets: NDArray[np.floating], frame: Frame, threshold: float | None) -> NDArray[np.int16]:
    tenths = np.clip(np.trunc(offsets.astype(np.float64) * 10), -LARGEST_TENTH, LARGEST_TENTH)
    digits = tenths.astype(np.int16) + np.int16(LARGEST_TENTH)
    base = np.int16(2 * LARGEST_TENTH + 1)
    return (digits[:, 0] * base + digits[:, 1]) * base + digits[:, 2]


def _distance(offsets: NDArray[np.floating], frame: Frame, threshold: float | None) -> NDArray[np.int16]:
    close = CLOSE_DISTANCE_M if threshold is None else threshold
    distance = _norm(offsets)
    codes = np.where(distance < NEAR_DISTANCE_M, 1, np.where(distance < MIDDLE_DISTANCE_M, 2, 3))
    return np.where(distance < close, 0, codes).astype(np.int16)


def _distance_fine(offsets: NDArray[np.floating], frame: Frame, threshold: float | None) -> NDArray[np.int16]:
    return np.minimum(_norm(offsets) * 10, LARGEST_TENTH).astype(np.int16)


def _norm(offsets: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.linalg.norm(offsets.astype(np.float64), axis=-1)


_RULES = {
    "direction": _direction,
    "direction_3d": _direction_3d,
    "position": _position,
    "distance": _distance,
    "distance_fine": _distance_fine,
}


def _check_offsets(gripper_to_object_m: ArrayLike) -> NDArray[np.floating]:
    try:
        offsets = np.asarray(gripper_to_object_m)
        if offsets.dtype not in (np.float32, np.float64):
            offsets = offsets.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InspireError(
            f"gripper_to_object_m must be numbers of shape (…, 3), in metres: {reason_of(error)}."
        ) from error
    if offsets.ndim == 0 or offsets.shape[-1] != 3:
        raise InspireError(f"gripper_to_object_m must have shape (…, 3); found {offsets.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(offsets.sum())  # one fast pass; each offset is checked only if it fails
    if suspicious and not (finite := np.isfinite(offsets).all(axis=-1)).all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InspireError(
            f"gripper_to_object_m must be finite; {int((~finite).sum())} of {finite.size} offsets are not, "
            f"the first at index {first}: {offsets[first].tolist()}."
        )
    return offsets


def _check_grasped(grasped: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.asarray(grasped)
    if mask.dtype != np.bool_:
        if mask.dtype.kind not in "iuf" or not np.isin(mask, (0, 1)).all():
            raise InspireError(
                f"grasped must be booleans; found {mask.dtype} values such as {mask.flat[:3].tolist()}."
            )
        mask = mask.astype(np.bool_)
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise InspireError(
            f"grasped of shape {mask.shape} does not fit offsets of shape {(*shape, 3)}."
        ) from None


def _check_threshold(close_threshold_m: float | None) -> float | None:
    if close_threshold_m is not None and not 0 <= close_threshold_m < np.inf:
        raise InspireError(f"close_threshold_m must be None or metres >= 0; found {close_threshold_m}.")
    return close_threshold_m
