"""In which settings two calls of a resumable command differ."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_UNRECORDED = object()
_LONGEST_VALUE = 80
_CHANGES_SHOWN = 5


def changed_settings(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in which settings two calls differ, as in "image_size: there 128, now 64". Nothing where they are equal.

    Of settings within settings, these alone are named, as in "policy.seed". Of a digest no value is shown.
    """
    changes = list(_changes("", earlier, now))
    more = len(changes) - _CHANGES_SHOWN
    return "; ".join([*changes[:_CHANGES_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _changes(path: str, earlier: Mapping[Any, Any], now: Mapping[Any, Any]) -> Iterator[str]:
    for key in {**earlier, **now}:
        name = f"{path}{key}"
        before, after = earlier.get(key, _UNRECORDED), now.get(key, _UNRECORDED)
        if before == after or repr(before) == repr(after):  # NaN is not equal to itself
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(f"{name}.", before, after)
        elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
            yield from _changes(f"{name}.", dict(enumerate(before)), dict(enumerate(after)))
        else:
            shown = [_shown(value) for value in (before, after)]
            yield f"{name}: another" if shown[0] == shown[1] else f"{name}: there {shown[0]}, now {shown[1]}"


def _shown(value: Any) -> str:
    if value is _UNRECORDED:
        return "not recorded"
    text = repr(value)
    if re.fullmatch("'[0-9a-f]{64}'", text):
        return "a digest"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
