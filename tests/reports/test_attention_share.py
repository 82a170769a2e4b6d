"""Even attention is chance; all of it on the object is one; parts count in part."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.reports.attention_share import Share, attention_share, summary


def half() -> np.ndarray:
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    return mask


def test_even_attention_is_chance() -> None:
    share = attention_share(np.ones((4, 4)), half())
    assert share == Share(0.5, 0.5)
    assert share.ratio == 1.0


def test_attention_on_the_object_alone_is_all_of_it() -> None:
    weights = np.zeros((4, 4))
    weights[2, 1] = 3.0
    assert attention_share(weights, half()).share == 1.0
    weights[2, 3] = 1.0
    assert attention_share(weights, half()).share == 0.75


def test_a_patch_covered_in_part_counts_in_part() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    weights = np.zeros((4, 4))
    weights[0, 0] = 1.0
    assert attention_share(weights, mask).share == 0.25
    assert attention_share(weights, mask).area == pytest.approx(1 / 64)


def test_weights_scale_away() -> None:
    weights = np.random.default_rng(0).random((4, 4))
    assert attention_share(weights, half()).share == pytest.approx(attention_share(9 * weights, half()).share)


@pytest.mark.parametrize(
    "weights", [np.ones((3, 4)), np.zeros((4, 4)), -np.ones((4, 4)), np.full((4, 4), np.nan), np.ones(4)]
)
def test_what_is_no_attention_is_refused(weights: np.ndarray) -> None:
    with pytest.raises(InspireError):
        attention_share(weights, half())


def test_what_cannot_be_seen_is_left_out() -> None:
    assert summary([Share(0.0, 0.0)]) == {"n": 0}
    found = summary([Share(0.2, 0.1), Share(0.4, 0.1), Share(0.6, 0.2), Share(0.0, 0.0)])
    assert found["n"] == 3
    assert found["share_50"] == 0.4
    assert found["ratio_50"] == pytest.approx(3.0)
