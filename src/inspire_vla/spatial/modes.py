"""Reasoning modes: the answer set of each, and the integer codes of answers in datasets."""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspire_vla.errors import InspireError, did_you_mean

MODES: tuple[str, ...] = ("direction", "direction_3d", "position", "distance", "distance_fine")
"""direction      one word: the axis on which the object is farthest
direction_3d   a word per axis: "front left down"
position       tenths of a metre per axis: "3 -1 0"
distance       one of close, near, middle, far
distance_fine  tenths of a metre: "4"
"""

GRASPED = "grasped"
CLOSE = "close"
NO_LABEL = -1
"""The code of a missing label."""

DIRECTION_WORDS: tuple[str, ...] = ("right", "left", "up", "down", "front", "back")
LARGEST_TENTH = 9
"""Positions and fine distances are clipped to this many tenths of a metre."""

_TENTHS = tuple(str(i) for i in range(-LARGEST_TENTH, LARGEST_TENTH + 1))
_CANONICAL: dict[str, tuple[str, ...]] = {
    "direction": (*DIRECTION_WORDS, GRASPED, CLOSE),
    "direction_3d": (
        *(
            " ".join(w)
            for w in product(("back", "front", CLOSE), ("right", "left", CLOSE), ("down", "up", CLOSE))
        ),
        GRASPED,
    ),
    "position": (*(" ".join(numbers) for numbers in product(_TENTHS, repeat=3)), GRASPED),
    "distance": (CLOSE, "near", "middle", "far", GRASPED),
    "distance_fine": (*(str(i) for i in range(LARGEST_TENTH + 1)), GRASPED),
}


def check_mode(mode: str) -> str:
    """Return `mode`. Raises InspireError for an unknown mode."""
    if mode not in _CANONICAL:
        raise InspireError(f"Unknown reasoning mode {mode!r}.{did_you_mean(str(mode), MODES)}")
    return mode


def canonical_answers(mode: str = "direction") -> tuple[str, ...]:
    """Return all answers of a mode, with `grasped` and `close`. The code of an answer is its index.

    Datasets store codes, so the order never changes.
    """
    return _CANONICAL[check_mode(mode)]


@cache
def answer_words(
    mode: str = "direction", *, grasped_word: bool = True, close_word: bool = True
) -> tuple[str, ...]:
    """Return the answers a model may give: the canonical ones, optionally without `grasped` or `close`.

    Raises InspireError for an unknown mode.
    """
    return tuple(
        answer
        for answer in canonical_answers(mode)
        if (grasped_word or answer != GRASPED) and (close_word or CLOSE not in answer.split())
    )


def says_close(mode: str, close_threshold_m: float | None) -> bool:
    """Return whether `close` is an answer: if a threshold is given, and always in mode distance."""
    return close_threshold_m is not None or mode == "distance"


def words_by_rule(mode: str, close_threshold_m: float | None, grasped_word: bool) -> tuple[str, ...]:
    """Return the answers that labels of this rule can have."""
    return answer_words(mode, grasped_word=grasped_word, close_word=says_close(mode, close_threshold_m))


@cache
def canonical_array(mode: str = "direction") -> NDArray[np.str_]:
    """Return `canonical_answers` as a read-only array (n,): `canonical_array(mode)[codes]` are the words."""
    words = np.array(canonical_answers(mode))
    words.setflags(write=False)
    return words


@cache
def _with_no_label(mode: str) -> NDArray[np.str_]:
    return np.append(canonical_array(mode), "")  # code -1 indexes the last row, the empty word


@cache
def _sorted_answers(mode: str) -> tuple[NDArray[np.str_], NDArray[np.int16]]:
    order = np.argsort(canonical_array(mode))
    return canonical_array(mode)[order], order.astype(np.int16)


def encode_answers(words: ArrayLike, mode: str = "direction") -> NDArray[np.int16]:
    """Return the canonical codes of answers of any shape; `None` and "" are NO_LABEL (-1).

    Raises InspireError with the first word that is no answer of the mode.
    """
    check_mode(mode)
    raw = np.asarray(words)
    if raw.size == 0:
        return np.empty(raw.shape, dtype=np.int16)
    if raw.dtype == object:
        raw = np.array(["" if word is None else word for word in raw.ravel()], dtype=object).reshape(
            raw.shape
        )
    if raw.dtype.kind not in "UO":
        raise InspireError(f"Answers must be strings; found an array of {raw.dtype}.")
    text = raw.astype(np.str_)
    answers, codes = _sorted_answers(mode)
    index = np.minimum(np.searchsorted(answers, text), len(answers) - 1)
    missing = text == ""
    unknown = (answers[index] != text) & ~missing
    if unknown.any():
        word = str(text[unknown].flat[0])
        raise InspireError(f"{word!r} is no answer in mode {mode!r}.{_possible(word, mode)}")
    return np.where(missing, np.int16(NO_LABEL), codes[index]).astype(np.int16)


def decode_answers(codes: ArrayLike, mode: str = "direction") -> NDArray[np.str_]:
    """Return the words of canonical codes of any shape; NO_LABEL (-1) is "". Inverse of `encode_answers`.

    Raises InspireError if a code is not an integer in [-1, number of canonical answers).
    """
    words = _with_no_label(check_mode(mode))
    codes = np.asarray(codes)
    if codes.size == 0:
        return np.empty(codes.shape, dtype=words.dtype)
    if codes.dtype.kind not in "iu":
        raise InspireError(f"Answer codes must be integers; found an array of {codes.dtype}.")
    low, high = int(codes.min()), int(codes.max())
    if low < NO_LABEL or high >= len(words) - 1:
        raise InspireError(
            f"Mode {mode!r} has codes -1 (no label) to {len(words) - 2}; found {low} to {high}."
        )
    return words[codes]


def _possible(word: str, mode: str) -> str:
    if mode == "position":
        return " Possible: 'x y z' with integers from -9 to 9, or 'grasped'."
    return did_you_mean(word, canonical_answers(mode))
