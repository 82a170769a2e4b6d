"""No line is longer than the width, nothing is lost but spaces, and lines break where a reader expects it."""

import pytest

from inspire_vla.reports.lines import columns, cut, wrap

TEXTS = {
    "English": "put the white mug on the left plate and put the yellow and white mug on the right plate",
    "Chinese": "请把桌子左边的红色杯子放到盘子上，然后打开中间的抽屉，最后把“黑色的碗”放进抽屉里并把它关上。",
    "Japanese": "赤いコップを「白いお皿」の上に置いてから、真ん中の引き出しを開けて、黒いボウルをその中に入れる。",
    "Korean": "빨간 컵을 접시 위에 놓고 가운데 서랍을 연 다음 검은 그릇을 서랍 안에 넣으세요",
    "mixed": "拿起 red mug 放到plate上，重复3次",
    "one word": "supercalifragilisticexpialidocious" * 2,
    "empty": "",
}


@pytest.mark.parametrize("width", [4, 11, 24, 200])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_line_fits_and_nothing_is_lost(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(columns(line) <= width and line == line.strip() for line in lines)
    assert wrap(text, 10**6) == [text]


def test_chinese_fills_its_lines() -> None:
    lines = wrap(TEXTS["Chinese"], 24)
    assert all(columns(line) >= 20 for line in lines[:-1])


@pytest.mark.parametrize("width", range(8, 40))
@pytest.mark.parametrize("name", ["Chinese", "Japanese", "mixed"])
def test_no_line_begins_with_a_closing_mark_or_ends_in_an_opening_one(name: str, width: int) -> None:
    for line in wrap(TEXTS[name], width):
        assert line[0] not in "，。、」”ー"
        assert line[-1] not in "「“"


@pytest.mark.parametrize("name", ["English", "Korean"])
def test_words_between_spaces_are_kept(name: str) -> None:
    words = TEXTS[name].split()
    assert all(word in words for line in wrap(TEXTS[name], 16) for word in line.split())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_beyond_the_last_line_is_told_by_an_ellipsis(text: str) -> None:
    lines = wrap(text, 20, most=2)
    assert len(lines) <= 2
    assert all(columns(line) <= 20 for line in lines)
    whole = wrap(text, 20)
    assert lines == whole if len(whole) <= 2 else lines[-1].endswith("…")


def test_a_cut_text_fits() -> None:
    for text in TEXTS.values():
        assert columns(cut(text, 12)) <= 12
        assert cut(text, 10**6) == text
    assert cut("放到盘子上", 6) == "放到…"  # an ellipsis is one column
