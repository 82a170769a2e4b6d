"""Answer codes from positions."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import ModeRule, label_states
from inspire_vla.spatial import MODES, NO_LABEL, decode_answers, relate


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frame", ["robot", "official_libero"])
def test_codes_decode_to_what_relate_says(mode, frame):
    generator = np.random.default_rng(0)
    offsets, held = generator.normal(size=(50, 2, 3)) * 0.3, generator.random((50, 2)) < 0.2
    rule = ModeRule(close_threshold_m=0.08)
    codes = label_states(offsets, held, max_objects=3, mode=mode, frame=frame, rule=rule)
    assert codes.dtype == np.int16
    said = relate(offsets, held, mode=mode, frame=frame, close_threshold_m=0.08)
    np.testing.assert_array_equal(decode_answers(codes[:, :2], mode), said)
    assert (codes[:, 2] == NO_LABEL).all()


def test_shapes_are_checked():
    with pytest.raises(InspireError, match=r"\(T, k, 3\)"):
        label_states(np.zeros((4, 3)), np.zeros(4, bool), max_objects=2)
    with pytest.raises(InspireError, match="do not fit"):
        label_states(np.zeros((4, 3, 3)), np.zeros((4, 3), bool), max_objects=2)
    with pytest.raises(InspireError, match="grasped must have shape"):
        label_states(np.zeros((4, 2, 3)), np.zeros((4, 1), bool), max_objects=2)
    with pytest.raises(InspireError, match="finite"):
        label_states(np.full((4, 2, 3), np.nan), np.zeros((4, 2), bool), max_objects=2)


def test_an_episode_without_frames():
    assert label_states(np.zeros((0, 2, 3)), np.zeros((0, 2), bool), max_objects=2).shape == (0, 2)
