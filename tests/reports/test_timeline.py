"""The figure shows every decision in its place, draws any record, and is well-formed."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.lerobot_files import Segment
from inspire_vla.labels.summary import Timeline
from inspire_vla.reports.figures import inline_svg, new_figure, pixel_axes
from inspire_vla.reports.theme import LIGHT
from inspire_vla.reports.timeline import (
    PAGE,
    draw_lanes,
    episode_timeline,
    label_record,
    timelines,
    write_timelines,
)

RECORD = {
    "suite": "tabletop_seen", "task": "t", "instruction": "pick up the red cube", "seed": 3, "success": True,
    "steps": 20, "policy": "InSpire", "mentions": ("the red cube",),
    "timeline": ((0, ("left",), ("left",), (1.0,)), (10, ("down",), (None,), (0.5,))),
}  # fmt: skip


def bars(record: dict, steps: int = 20) -> list[tuple[str, float, float, float, float]]:
    """(colour, from, to, top, height) of each bar that is drawn."""
    axis = pixel_axes(new_figure(440, 100), 0, 0, 440, 100)
    draw_lanes(axis, record, steps)
    boxes = [(patch, patch.get_bbox()) for patch in axis.patches]
    return [
        (matplotlib_hex(patch), box.x0, box.x1, min(box.y0, box.y1), abs(box.height)) for patch, box in boxes
    ]


def matplotlib_hex(patch) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in patch.get_facecolor()[:3])


def test_an_answer_lasts_until_the_next_and_its_height_is_the_confidence() -> None:
    _, left, truth, down = bars(RECORD)
    assert left == (LIGHT["w-left"], 0, 10, 0, PAGE.answer)
    assert truth[:3] == (LIGHT["w-left"], 0, 10)
    assert truth[3] > PAGE.answer
    assert down == (
        LIGHT["w-down"],
        10,
        20,
        PAGE.answer / 2,
        PAGE.answer / 2,
    )  # and no truth where it is unknown


def test_an_object_of_another_instruction_has_no_answer() -> None:
    changed = {**RECORD, "mentions": ("the red cube", "the box"), "timeline": (
        (0, ("left",), (None,), (1.0,)), (10, ("", "down"), (None, None), (0.0, 1.0)),
    )}  # fmt: skip
    of_lanes = [(colour, *where) for colour, *where in bars(changed) if colour != LIGHT["band"]]
    assert [(colour, start, end) for colour, start, end, *_ in of_lanes] == [
        (LIGHT["w-left"], 0, 10), (LIGHT["w-down"], 10, 20),
    ]  # fmt: skip
    assert "step 10: no answer" in episode_timeline(changed)


def test_the_gripper_is_a_line_a_bar_and_a_thick_bar() -> None:
    record = {**RECORD, "mentions": (), "gripper": ((0, "open"), (5, "closed"), (10, "holding"))}
    opened, closed, holding = bars(record)
    assert [bar[1:3] for bar in (opened, closed, holding)] == [(0, 5), (5, 10), (10, 20)]
    assert opened[4] < closed[4] < holding[4] == PAGE.gripper
    assert holding[0] == LIGHT["w-grasped"]
    assert ">gripper<" in episode_timeline(record)
    assert ">gripper<" not in episode_timeline(RECORD)


def test_the_page_knows_where_the_axis_is() -> None:
    svg = ElementTree.fromstring(episode_timeline(RECORD, steps=40))
    assert svg.attrib["viewBox"].split()[2] == str(PAGE.width)
    axis = {name: svg.attrib[f"data-{name}"] for name in ("steps", "left", "right")}
    assert axis == {"steps": "40", "left": str(PAGE.left), "right": str(PAGE.width - PAGE.right)}


def test_colours_follow_the_readers_scheme() -> None:
    figure = str(
        inline_svg(timelines([{**RECORD, "timeline": ((0, ("left",), ("back",), (1.0,)),)}]), standalone=True)
    )
    assert "prefers-color-scheme" in figure
    for name in ("w-left", "w-back", "ink", "good", "paper"):
        assert f"var(--{name})" in figure
        assert figure.count(f"--{name}:#") == 2  # light and dark


@pytest.mark.parametrize(
    "record",
    [
        {},
        {**RECORD, "mentions": (), "timeline": ()},
        {**RECORD, "error": "ValueError: <script>", "success": False},
        {**RECORD, "instruction": "<script>alert(1)</script> & $more" * 9, "mentions": ("<b> $x",)},
        {**RECORD, "timeline": ((0, ("3 -2 1",), ("far",), (2.0,)), (5, (), (), ()))},
        {**RECORD, "steps": 0},
        {**RECORD, "mentions": (), "timeline": (), "gripper": ((0, "open"), (3, "<odd>"))},
    ],
)
def test_any_record_makes_a_well_formed_figure(record: dict) -> None:
    for svg in (episode_timeline(record), inline_svg(timelines([record] * 3), standalone=True)):
        ElementTree.fromstring(svg)
        assert "<script" not in svg


def test_labels_are_drawn_as_decisions_where_they_change() -> None:
    answers = np.array([["left", "up"]] * 4 + [["down", "up"]] * 6)
    segment = Segment(3, 0, "put it there", Path("file-000.parquet"), slice(0, 10), 0)
    labels = Timeline(segment, ("the cube", "the box"), answers, np.full((10, 2), 0.5), 10.0)
    record = label_record(labels)
    assert [(step, answers) for step, answers, _, _ in record["timeline"]] == [
        (0, ("left", "up")),
        (4, ("down", "up")),
    ]
    assert record["timeline"][0][3] == (0.5, 0.5)
    assert ">0.5 s<" in inline_svg(timelines([record]))


@pytest.mark.parametrize("fps", [7, 10, 30, 50])
@pytest.mark.parametrize("seconds", [0.4, 5, 23, 90, 4000])
def test_the_axis_counts_round_seconds_at_any_frame_rate(fps: float, seconds: float) -> None:
    steps = round(seconds * fps)
    svg = str(episode_timeline({**RECORD, "frames_per_second": fps, "steps": steps}))
    ticks = re.findall(r">([\d.]+) s<", svg)
    assert ticks[0] == "0"
    assert len(ticks) <= 7
    assert max(map(len, ticks)) <= 4
    assert len({round(float(b) - float(a), 6) for a, b in itertools.pairwise(ticks)}) <= 1


def test_recorded_frames_are_named_by_their_episode() -> None:
    svg = str(episode_timeline({**RECORD, "suite": "dataset_37d7817c", "success": None, "seed": 7}))
    assert "InSpire · episode 7 of the dataset" in svg
    assert "37d7817c" not in svg


def test_it_is_written_as_svg_or_png(tmp_path: Path) -> None:
    path = write_timelines(tmp_path / "new" / "x.svg", [RECORD])
    ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert write_timelines(tmp_path / "x.png", [RECORD]).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InspireError, match="none"):
        timelines([])
