"""Every example and policy is drawn, inside the frame; what is found is green."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from tests.reports import synthetic

from inspire_vla.errors import InspireError
from inspire_vla.reports.attention_figures import Pointing, examples_figure, pointing_figure, share_chart
from inspire_vla.reports.attention_files import write_attention
from inspire_vla.reports.figures import inline_svg, save
from inspire_vla.reports.theme import LIGHT, rgb


def drawn(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def test_an_example_is_a_row_and_each_tile_is_shown() -> None:
    (example,) = synthetic.attention().examples
    one = drawn(examples_figure([example], ["base", "InSpire"]))
    two = drawn(examples_figure([example, replace(example, tiles=example.tiles[:2])]))
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > one.shape[0] + 288
    red = np.abs(one - (190, 40, 40)).sum(-1) < 30  # of the square in each image
    assert [bool(red[:, i * 300 + 24 : i * 300 + 312].any()) for i in range(4)] == [True] * 4
    scale = one[-24 - 26 + 6 + 5, 24 : 24 + 160]
    assert len(np.unique(scale, axis=0)) > 100  # the colours of the attention, below the tiles
    with pytest.raises(InspireError, match="none"):
        examples_figure([])


def test_without_measurements_there_is_no_chart(tmp_path: Path) -> None:
    folder = write_attention(tmp_path / "a", replace(synthetic.attention(), measured=()))
    assert not (folder / "shares.svg").exists()
    with pytest.raises(InspireError, match="No attention was measured"):
        share_chart([])


def test_the_chart_has_a_lane_for_each() -> None:
    chart = inline_svg(share_chart(synthetic.attention().measured))
    ElementTree.fromstring(chart)
    for text in ("seen", "unseen", "base", "InSpire", "acting", "answering"):
        assert f">{text}<" in chart
    assert len(set(re.findall(r"<title>([^:<]*):", chart))) == 6


def test_equal_shares_are_drawn_too(tmp_path: Path) -> None:
    same = [replace(m, share=0.2) for m in synthetic.attention().measured]
    for members in (same, same[:1]):
        assert "nan" not in inline_svg(share_chart(members))


def answer(predicted):
    return Pointing(np.zeros((96, 96, 3), np.uint8), "Where is the mug?", predicted, (0.5, 0.5))


def test_found_is_green_and_missed_is_red(tmp_path: Path) -> None:
    for predicted, colour, other in (((0.51, 0.5), "good", "bad"), ((0.6, 0.5), "bad", "good")):
        path = save(pointing_figure([answer(predicted)], near=0.03), tmp_path / "pointing.png")
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert (pixels == rgb(LIGHT[colour])).all(-1).any()
        assert not (pixels == rgb(LIGHT[other])).all(-1).any()


def test_pointings_stand_in_rows_of_four() -> None:
    one, five = (drawn(pointing_figure([answer((0.5, 0.5))] * n, near=0.03)).shape for n in (4, 5))
    assert one[1] == five[1]
    assert five[0] > one[0] + 224
    with pytest.raises(InspireError, match="at least one"):
        pointing_figure([], near=0.03)


def test_a_long_question_stays_below_its_own_image() -> None:
    long = replace(
        answer((0.5, 0.5)), question="Where is the plate between the red cylinder and the white mug?"
    )
    figure = pointing_figure([long, long], near=0.03)
    canvas = FigureCanvasAgg(figure)
    for axis in figure.axes:
        (text,) = axis.texts
        assert text.get_window_extent(canvas.get_renderer()).width <= axis.get_window_extent().width
