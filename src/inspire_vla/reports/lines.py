"""Texts broken into lines and cut to a width, also those without spaces: Chinese and Japanese break between letters."""

import re
from collections.abc import Callable, Iterator

from inspire_vla.reports.fonts import is_wide

_CJK = r"\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""Letters between which a line may break. Korean words stand between spaces, and are kept whole like English ones."""
_OPENING = "「『【〈《〔｛（［“‘"
_CLOSING = "」』】〉》〕｝）］”’、。，．：；！？…‥・ー々ゝゞァィゥェォッャュョヮぁぃぅぇぉっゃゅょゎ"
_UNIT = re.compile(rf"\s+|[{_OPENING}]*(?:[{_CJK}]|[^\s{_CJK}{_OPENING}]+)[{_CLOSING}]*|[{_OPENING}]+")
"""What is parted only if it is longer than a line. No line ends in an opening mark or begins with a closing one."""


def columns(text: str) -> int:
    """The length of a text in columns, of which a wide letter takes two."""
    return sum(1 + is_wide(letter) for letter in text)


def wrap(
    text: str, width: float, length: Callable[[str], float] = columns, *, most: int | None = None
) -> list[str]:
    """Break a text into lines of at most `width`, as `length` measures them; at least one line.

    most: number of lines. The last one then ends in an ellipsis if there is more.
    """
    lines = [""]
    for unit in _UNIT.findall(text.strip()):
        if unit.isspace():
            lines[-1] += " "
            continue
        if lines[-1] and length(lines[-1] + unit) > width:
            lines.append("")
        for part in _parts(unit, width, length):
            if lines[-1] and length(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
        if most is not None and len(lines) > most:
            return [*map(str.rstrip, lines[: most - 1]), _shortened(lines[most - 1].rstrip(), width, length)]
    return [line.rstrip() for line in lines]


def cut(text: str, width: float, length: Callable[[str], float] = columns) -> str:
    """Cut a text to `width`, as `length` measures it, with an ellipsis."""
    return text if length(text) <= width else _shortened(text, width, length)


def _shortened(text: str, width: float, length: Callable[[str], float]) -> str:
    while text and length(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _parts(unit: str, width: float, length: Callable[[str], float]) -> Iterator[str]:
    """A unit in parts that fit a line; one letter at least."""
    if length(unit) <= width:
        yield unit
        return
    part = ""
    for letter in unit:
        if part and length(part + letter) > width:
            yield part
            part = ""
        part += letter
    yield part
