"""The figure holds every tile; a folder comes back; the chart stays inside its frame."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.reports import synthetic

from inspire_vla.errors import InspireError
from inspire_vla.reports import read_attention, write_attention
from inspire_vla.reports.attention_chart import LEFT, RIGHT, WIDTH, share_chart
from inspire_vla.reports.attention_figure import GAP, MARGIN, TILE, draw_figure


def test_a_row_is_an_observation_and_a_tile_a_look() -> None:
    (row,) = synthetic.attention().rows
    one, two = draw_figure([row]), draw_figure([row, replace(row, tiles=row.tiles[:2])])
    assert one.width == two.width == 2 * MARGIN + 4 * TILE + 3 * GAP
    assert two.height > one.height + TILE
    second = np.asarray(two)[one.height : one.height + 100, MARGIN + 3 * TILE :]
    assert np.ptp(second[:, : TILE // 2].astype(int), axis=(0, 1)).max() == 0  # where two tiles are missing
    with pytest.raises(InspireError, match="none"):
        draw_figure([])


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    attention = synthetic.attention()
    folder = write_attention(tmp_path / "deep" / "attention", attention)
    assert {p.name for p in folder.iterdir()} == {"attention.json", "figure.png", "shares.svg", "tiles"}
    back = read_attention(folder)
    assert back.measured == attention.measured
    assert back.about == attention.about
    assert back.policies == ["base", "InSpire"]
    for old, new in zip(attention.rows[0].tiles, back.rows[0].tiles, strict=True):
        assert (new.policy, new.doing, new.about, new.share) == (old.policy, old.doing, old.about, old.share)
        difference = np.asarray(new.image, int) - np.asarray(old.image, int)
        assert np.abs(difference).mean() < 3  # JPEG
    with pytest.raises(InspireError, match="inspire attention"):
        read_attention(tmp_path)


def test_nothing_measured_draws_no_chart(tmp_path: Path) -> None:
    folder = write_attention(tmp_path / "a", replace(synthetic.attention(), measured=()))
    assert not (folder / "shares.svg").exists()
    with pytest.raises(InspireError, match="no attention was measured"):
        share_chart([])


def test_the_chart_has_a_lane_for_each_and_stays_inside() -> None:
    chart = str(share_chart(synthetic.attention().measured))
    ElementTree.fromstring(chart)
    assert chart.count("<polygon") == 6
    for text in ("seen", "unseen", "base", "InSpire", "acting", "answering"):
        assert f">{text}<" in chart
    for x in re.findall(r'(?:c?x[12]?=")([-\d.]+)"', chart):
        assert 0 <= float(x) <= WIDTH
    for x, _ in re.findall(r"([-\d.]+),([-\d.]+)", " ".join(re.findall(r'points="([^"]*)"', chart))):
        assert LEFT - 0.1 <= float(x) <= WIDTH - RIGHT + 0.1


def test_equal_shares_draw_a_lane_too() -> None:
    same = [replace(m, share=0.2) for m in synthetic.attention().measured]
    assert "nan" not in str(share_chart(same))
    assert "nan" not in str(share_chart(same[:1]))
