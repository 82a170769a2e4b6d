"""Chinese letters: a font of the machine draws them, else one warning says what is missing."""

import shutil
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from inspire_vla.reports import fonts
from inspire_vla.reports.figures import inline_svg, new_figure, save, styled
from inspire_vla.reports.video import _instruction_lines, font

TEXT = "拿起红色的杯子"


@pytest.fixture(params=[True, False], ids=["installed", "no font"])
def installed(request, tmp_path, monkeypatch) -> bool:
    """Whether the machine has a font with every letter: matplotlib's own of last resort, by another name."""
    paths = []
    if request.param:
        last_resort = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "LastResortHE-Regular.ttf"
        paths = [shutil.copy(last_resort, tmp_path / "NotoSansCJK-Regular.ttf")]
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [*paths, "/x/NotoSans-Regular.ttf"])
    monkeypatch.setattr(fonts.fontManager, "ttflist", list(fonts.fontManager.ttflist))
    monkeypatch.setattr(fonts, "_warned_of", set())
    for cached in (fonts.font_file, fonts._family):
        cached.cache_clear()
    yield request.param
    for cached in (fonts.font_file, fonts._family):
        cached.cache_clear()


@styled
def figure(text: str = TEXT):
    drawn = new_figure(200, 60)
    axis = drawn.add_axes((0.5, 0.2, 0.4, 0.7))
    axis.set_yticks([0], [text])  # known to the figure only when it is drawn
    drawn.text(0.1, 0.9, f"{text} and more")
    return drawn


def warnings_of(call) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_a_figure_takes_an_installed_font_or_says_once_what_is_missing(installed, tmp_path, ending):
    path = tmp_path / f"figure.{ending}"
    messages = warnings_of(lambda: save(figure(), path))
    assert path.stat().st_size > 500
    if installed:
        assert not messages
    else:
        assert len(messages) == 1
        assert all(letter in messages[0] for letter in TEXT)
        assert "fonts-noto-cjk" in messages[0]
        assert not warnings_of(lambda: save(figure(), path))


def test_the_installed_font_is_what_is_drawn(installed, tmp_path):
    """Of the figure's text, and of a tick's, which is made when the figure is drawn."""
    drawn = figure()
    warnings_of(lambda: save(drawn, tmp_path / "figure.png"))
    families = [
        text.get_fontfamily()[-1] for text in drawn.findobj(matplotlib.text.Text) if TEXT in text.get_text()
    ]
    assert len(families) > 1
    assert all(("Last Resort" in family) == installed for family in families)


def test_an_svg_holds_the_text_and_needs_no_font(installed, tmp_path):
    for write in (
        lambda: save(figure(), tmp_path / "figure.svg"),
        lambda: save(figure(), tmp_path / "figure.svg", dark=True),
    ):
        assert not warnings_of(write)
        assert TEXT in (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert not warnings_of(lambda: inline_svg(figure()))


def test_other_warnings_of_a_drawing_are_kept():
    def render() -> int:
        warnings.warn("something else", stacklevel=1)
        return 3

    with pytest.warns(UserWarning, match="something else"):
        assert fonts.with_fonts(new_figure(10, 10), render) == 3


def test_a_videos_texts_take_the_same_font(installed):
    messages = warnings_of(lambda: font(14, TEXT))
    assert len(messages) == (0 if installed else 1)
    widths = np.array([font(14, text).getlength(text) for text in ("left", TEXT)])
    assert (widths > 0).all()
    assert (font(14, TEXT).getname() == font(14).getname()) != installed
    shown: list[str] = []
    assert not warnings_of(lambda: shown.extend(_instruction_lines(9 * TEXT)))  # its letters were told of
    assert shown[-1].endswith("…")
    assert fonts.needs_font("杯")
    assert not fonts.needs_font("cup – größer …")


@pytest.mark.parametrize(
    "text", ["räum die Tasse weg → dann", "mets la tasse à côté", "поставь чашку", "–", "on …"]
)
def test_a_video_draws_every_letter_of_a_european_language(text: str) -> None:
    """Pillow's own font draws a box for those that it lacks."""
    drawn = font(15, text)
    box = bytes(drawn.getmask("\uffff"))
    assert all(bytes(drawn.getmask(letter)) != box for letter in text if letter != " ")
