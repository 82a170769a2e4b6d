import numpy as np
import pytest
from synthetic import frames

from inspire_vla.errors import InspireError
from inspire_vla.reports import overlay, side_by_side

PICTURE = frames(1, 0)[0]


def test_heat_is_where_the_weight_is():
    weights = np.zeros((8, 8))
    weights[2, 6] = 3.0
    changed = np.abs(
        np.asarray(overlay(PICTURE, weights), int) - np.asarray(overlay(PICTURE, 0 * weights), int)
    )
    y, x = np.unravel_index(changed.sum(-1).argmax(), changed.shape[:2])
    assert (int(y) // 40, int(x) // 40) == (2, 6)


def test_scale_does_not_matter():
    weights = np.random.default_rng(0).random((8, 8))
    assert np.array_equal(np.asarray(overlay(PICTURE, weights)), np.asarray(overlay(PICTURE, 7 * weights)))


def test_looking_everywhere_alike_shows_no_heat():
    even = np.asarray(overlay(PICTURE, np.ones((8, 8))))
    assert np.array_equal(even, np.asarray(overlay(PICTURE, np.zeros((8, 8)))))
    assert overlay(PICTURE, None).size == (320, 320)


def test_side_by_side():
    one = overlay(PICTURE, np.ones((2, 2)), size=100)
    assert side_by_side([("a", one), ("b", one)]).size == (208, 126)
    with pytest.raises(InspireError):
        side_by_side([])


@pytest.mark.parametrize("weights", [np.ones(3), -np.ones((2, 2)), np.full((2, 2), np.nan)])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InspireError, match="weights"):
        overlay(PICTURE, weights)
