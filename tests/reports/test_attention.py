import numpy as np
import pytest
from tests.reports.synthetic import frames

from inspire_vla.errors import InspireError
from inspire_vla.reports.attention import outlined, overlay

IMAGE = frames(1, 0)[0]


def test_heat_is_where_the_weight_is():
    weights = np.zeros((8, 8))
    weights[2, 6] = 3.0
    changed = np.abs(np.asarray(overlay(IMAGE, weights), int) - np.asarray(overlay(IMAGE, 0 * weights), int))
    y, x = np.unravel_index(changed.sum(-1).argmax(), changed.shape[:2])
    assert (int(y) // 40, int(x) // 40) == (2, 6)


def test_scale_does_not_matter():
    weights = np.random.default_rng(0).random((8, 8))
    assert np.array_equal(np.asarray(overlay(IMAGE, weights)), np.asarray(overlay(IMAGE, 7 * weights)))


def test_looking_everywhere_alike_shows_no_heat():
    even = np.asarray(overlay(IMAGE, np.ones((8, 8))))
    assert np.array_equal(even, np.asarray(overlay(IMAGE, np.zeros((8, 8)))))
    assert overlay(IMAGE, None).size == (320, 320)


def test_an_outline_goes_around_the_mask_and_leaves_it_open():
    mask = np.zeros((80, 80), bool)
    mask[20:40, 30:60] = True
    plain = overlay(IMAGE, None, size=160)
    drawn = np.asarray(outlined(plain, mask, (255, 0, 255)))
    line = (drawn == (255, 0, 255)).all(-1)
    inside = np.kron(mask, np.ones((2, 2), bool))
    assert line.any()
    assert not (line & inside).any()
    assert np.array_equal(drawn[inside], np.asarray(plain)[inside])
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (38, 81, 58, 121)


@pytest.mark.parametrize("weights", [np.ones(3), -np.ones((2, 2)), np.full((2, 2), np.nan)])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InspireError, match="weights"):
        overlay(IMAGE, weights)
