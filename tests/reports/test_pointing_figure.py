import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.reports.drawing import FALSE, TRUE
from inspire_vla.reports.pointing_figure import CAPTION, GAP, MARGIN, TILE, Pointed, draw_pointing


def has(image, colour):
    return bool((np.asarray(image) == colour).all(axis=-1).any())


def answer(pointed):
    return Pointed(np.zeros((96, 96, 3), np.uint8), "Where is the mug?", pointed, (0.5, 0.5))


def test_what_is_found_is_green_and_what_is_not_is_red():
    found, missed = (draw_pointing([answer(place)], near=0.03) for place in ((0.51, 0.5), (0.6, 0.5)))
    assert has(found, TRUE)
    assert not has(found, FALSE)
    assert has(missed, FALSE)
    assert not has(missed, TRUE)


def test_tiles_stand_in_rows_of_four():
    width, height = draw_pointing([answer((0.5, 0.5))] * 5, near=0.03).size
    assert width == 2 * MARGIN + 4 * TILE + 3 * GAP
    assert height == 2 * MARGIN + 2 * (TILE + CAPTION) + GAP
    with pytest.raises(InspireError, match="at least one"):
        draw_pointing([], near=0.03)
