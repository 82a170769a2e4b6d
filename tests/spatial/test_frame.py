"""A frame gives each axis one pair of opposite words; anything else is refused."""

from itertools import permutations, product

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.spatial import FRAMES, Frame, canonical_answers, get_frame, relate
from inspire_vla.spatial.frame import WORD_PAIRS


def test_the_two_built_in_frames():
    robot, official = FRAMES["robot"], FRAMES["official_libero"]
    assert robot.axes == (("back", "front"), ("right", "left"), ("down", "up"))
    assert (official.x, official.y, official.z) == (robot.x, robot.y[::-1], robot.z)


def test_get_frame_takes_a_name_or_a_frame():
    frame = Frame("mine", x=("left", "right"), y=("front", "back"))
    assert get_frame(frame) is frame
    assert get_frame("robot") is FRAMES["robot"]
    with pytest.raises(InspireError, match="Did you mean 'robot'"):
        get_frame("robto")


def test_a_frame_by_its_words():
    given = get_frame("right, front,up")
    assert given.axes == (("left", "right"), ("back", "front"), ("down", "up"))
    assert get_frame(given.name) == given
    assert str(given) == "right,front,up: +x right, +y front, +z up"
    assert get_frame("front,left,up").axes == FRAMES["robot"].axes
    with pytest.raises(InspireError, match=r"must be three of back, .*front,left,up"):
        get_frame("right,ahead,up")
    with pytest.raises(InspireError, match="one pair each"):
        get_frame("right,left,up")


@pytest.mark.parametrize(
    "axes",
    [{"x": ("left", "right")}, {"y": ("left", "left")}, {"z": ("below", "above")}, {"x": ("front", "up")}],
)
def test_other_words_are_refused(axes):
    with pytest.raises(InspireError, match="one pair each"):
        Frame("wrong", **axes)


def test_every_proper_frame_says_canonical_answers_and_its_own_words():
    """All 48 of them: which axis has which pair, and in which order."""
    offset = np.array([0.3, -0.2, 0.1])
    for order, flips in product(permutations(WORD_PAIRS), product((1, -1), repeat=3)):
        frame = Frame("any", *(pair[::flip] for pair, flip in zip(order, flips, strict=True)))
        assert relate(offset, False, frame=frame) == frame.x[1]
        spoken = str(relate(offset, False, mode="direction_3d", frame=frame))
        assert spoken in canonical_answers("direction_3d")
        assert set(spoken.split()) == {frame.x[1], frame.y[0], frame.z[1]}


def test_lists_from_a_configuration_become_tuples():
    assert Frame("mine", x=["front", "back"]) == Frame("mine", x=("front", "back"))
