"""The figure shows every decision in its place, survives any words, and is well-formed."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.reports.timeline import (
    LEFT,
    RIGHT,
    SAID,
    WIDTH,
    episode_timeline,
    timelines,
    write_timelines,
)

SVG = "{http://www.w3.org/2000/svg}"
RECORD = {
    "suite": "tabletop_seen", "task": "t", "instruction": "pick up the red cube", "seed": 3, "success": True,
    "steps": 20, "policy": "InSpire", "mentions": ("the red cube",),
    "timeline": ((0, ("left",), ("left",), (1.0,)), (10, ("down",), (None,), (0.5,))),
}  # fmt: skip


def rects(svg: str, word: str) -> list[ElementTree.Element]:
    return [r for r in ElementTree.fromstring(svg).iter(f"{SVG}rect") if r.get("class") == f"w-{word}"]


def test_an_answer_lasts_until_the_next_and_is_as_high_as_it_is_sure() -> None:
    said, truth = rects(episode_timeline(RECORD), "left")
    (down,) = rects(episode_timeline(RECORD), "down")
    half = (WIDTH - LEFT - RIGHT) / 2
    assert float(said.get("x")) == LEFT
    assert float(said.get("width")) == pytest.approx(half, abs=0.3)
    assert float(down.get("x")) == pytest.approx(LEFT + half, abs=0.1)
    assert float(said.get("height")) == SAID
    assert float(down.get("height")) == SAID / 2  # and no truth is drawn where none is known
    assert float(truth.get("y")) > float(said.get("y")) + SAID


def test_the_gripper_is_a_line_a_bar_and_full() -> None:
    record = {**RECORD, "gripper": ((0, "open"), (5, "closed"), (10, "holding"))}
    drawn = ElementTree.fromstring(episode_timeline(record))
    half = (WIDTH - LEFT - RIGHT) / 2
    (line,) = [e for e in drawn.iter(f"{SVG}line") if e.get("class") == "t-open"]
    assert [float(line.get(x)) for x in ("x1", "x2")] == pytest.approx([LEFT, LEFT + half / 2], abs=0.1)
    (closed,) = [e for e in drawn.iter(f"{SVG}rect") if e.get("class") == "t-closed"]
    (holding,) = [e for e in drawn.iter(f"{SVG}rect") if e.get("class") == "t-holding"]
    assert float(closed.get("height")) < float(holding.get("height"))
    assert float(holding.get("x")) == pytest.approx(LEFT + half, abs=0.1)
    assert float(holding.get("width")) == pytest.approx(half, abs=0.1)
    assert "gripper" in "".join(drawn.itertext())
    assert "gripper" not in episode_timeline(RECORD)


def test_without_a_title_it_is_the_lanes_alone() -> None:
    bare = episode_timeline(RECORD, titled=False)
    assert RECORD["instruction"] not in bare
    assert len(rects(bare, "left")) == 2
    assert 'data-steps="20"' in bare


def test_every_colour_that_is_used_is_there() -> None:
    figure = str(timelines([{**RECORD, "gripper": ((0, "closed"),)}]))
    style = figure[figure.index("<style>") : figure.index("</style>")]
    for name in re.findall(r"var\(--([\w-]+)\)", style):
        assert style.count(f"--{name}:#") >= 2, name  # light and dark
    for name in set(re.findall(r'class="([\w-]+)"', figure)):
        assert f".{name}" in style, name


def test_episodes_share_one_scale() -> None:
    short = {**RECORD, "steps": 10, "timeline": RECORD["timeline"][:1]}
    figure = timelines([RECORD, short])
    widths = [float(r.get("width")) for r in rects(figure, "left") if float(r.get("height")) == SAID]
    assert widths[0] == pytest.approx(widths[1], abs=0.3)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {**RECORD, "mentions": (), "timeline": ()},
        {**RECORD, "error": "ValueError: <script>", "success": False},
        {**RECORD, "instruction": "<script>alert(1)</script> & more" * 9, "mentions": ("<b>",)},
        {**RECORD, "timeline": ((0, ("3 -2 1",), ("far",), (2.0,)), (5, (), (), ()))},
        {**RECORD, "steps": 0},
        {**RECORD, "mentions": (), "timeline": (), "gripper": ((0, "open"), (3, "<odd>"))},
    ],
)
def test_any_record_makes_a_well_formed_figure(record: dict) -> None:
    for svg in (episode_timeline(record), episode_timeline(record, titled=False), timelines([record] * 3)):
        ElementTree.fromstring(svg)
        assert "<script" not in svg


def test_it_is_written_as_svg(tmp_path: Path) -> None:
    path = write_timelines(tmp_path / "new" / "x.svg", [RECORD])
    ElementTree.fromstring(path.read_text())
    with pytest.raises(InspireError, match=r"\.svg"):
        write_timelines(tmp_path / "x.png", [RECORD])
    with pytest.raises(InspireError, match="none"):
        timelines([])
