"""Fonts of the machine for Chinese, Japanese and Korean letters, which matplotlib's and Pillow's own fonts lack."""

import re
import unicodedata
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager
from matplotlib.text import Text

FONTS = (
    "notosanscjk", "notosanssc", "notosanstc", "notosansjp", "notosanskr", "sourcehansans", "wqy", "pingfang",
    "hiragino", "stheiti", "msyh", "simhei", "yugoth", "malgun", "unifont",
)  # fmt: skip
"""How the names of files of such fonts begin, in lower case; the first one that is installed is taken."""
_warned_of: set[str] = set()
"""Letters of which `warn_of` has warned."""
_MISSING = re.compile(r"Glyph (\d+) .*missing from font")


@cache
def font_file() -> Path | None:
    """The file of an installed font with these letters; None without one."""
    files = sorted(map(Path, findSystemFonts()), key=lambda file: ("regular" not in file.name.lower(), file))
    return next((file for begin in FONTS for file in files if file.name.lower().startswith(begin)), None)


def is_wide(letter: str) -> bool:
    """Whether Unicode calls a letter wide, as it does with these."""
    return unicodedata.east_asian_width(letter) in "WF"


def needs_font(text: str) -> bool:
    """Whether a text has such letters."""
    return any(map(is_wide, text))


def with_fonts[T](figure: Figure, render: Callable[[], T], *, as_text: bool = False) -> T:
    """Return what `render` returns, which draws the figure; a second time, with `font_file`, if letters are missing.

    Letters that are missing then too get one warning, in place of matplotlib's warning for each letter.

    Args:
        as_text: the file holds the texts themselves, as SVG does; whoever shows it has fonts of their own.
    """
    drawn, missing = _rendered(render)
    if not missing or as_text:
        return drawn
    if (file := font_file()) is not None:
        for text in figure.findobj(Text):
            text.set_fontfamily([*text.get_fontfamily(), _family(file)])
        drawn, missing = _rendered(render)
    if missing:
        warn_of(missing)
    return drawn


def warn_of(letters: str) -> None:
    """Warn that these letters are drawn as boxes; once in a process of each letter."""
    if not (new := "".join(letter for letter in dict.fromkeys(letters) if letter not in _warned_of)):
        return
    _warned_of.update(new)
    warnings.warn(
        f"No font on this machine has the letters {new}; a box is drawn in place of each. Install one, such as "
        "Noto Sans CJK (Debian: fonts-noto-cjk).",
        stacklevel=3,
    )


def _rendered[T](render: Callable[[], T]) -> tuple[T, str]:
    """What `render` returns, and the letters that matplotlib warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = render()
    letters: dict[str, None] = {}
    for warning in caught:
        if match := _MISSING.search(str(warning.message)):
            letters[chr(int(match.group(1)))] = None
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return drawn, "".join(letters)


@cache
def _family(file: Path) -> str:
    """The name by which matplotlib knows the font of a file."""
    fontManager.addfont(file)
    return FontProperties(fname=file).get_name()
