"""Answer codes from positions."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels import ModeRule, label_states
from inspire_vla.labels.columns import LabelInfo
from inspire_vla.labels.labeller import Tracks, encode_tracks
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


@pytest.mark.parametrize("kind", [bool, int, float])
def test_a_labeller_may_say_what_is_grasped_by_numbers(kind):
    """With ~ of integers, other rows than the unknown ones would lose their labels."""
    offsets = np.full((5, 2, 3), np.nan)
    offsets[:, 0] = [0.3, 0, 0]
    grasped = np.zeros((5, 2), kind)
    grasped[3, 1] = 1
    labels = LabelInfo("robot", {"direction": ModeRule()}, {"x": ("a", "b")}, 2, "own")  # type: ignore[arg-type]
    codes = encode_tracks(Tracks(offsets, grasped), labels)["direction"]
    assert decode_answers(codes, "direction").tolist() == [
        ["front", word] for word in ("", "", "", "grasped", "")
    ]


@pytest.mark.parametrize(("values", "told"), [
    ({"grasped": np.full((4, 1), 2)}, r"grasped must hold True and False, or 1 and 0; found \[2\]"),
    ({"confidence": np.full((4, 1), 95.0)}, "confidence must lie between 0 and 1, found 95 to 95"),
    ({"confidence": np.full((4, 1), np.nan)}, "confidence must lie between 0 and 1"),
])  # fmt: skip
def test_tracks_of_other_values_are_refused(values, told):
    with pytest.raises(InspireError, match=told):
        Tracks(**{"gripper_to_object_m": np.zeros((4, 1, 3)), "grasped": np.zeros((4, 1), bool)} | values)
