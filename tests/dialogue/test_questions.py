"""Questions stand as the method's data have them."""

import pytest

from inspire_vla.dialogue import QUESTIONS, question
from inspire_vla.errors import InspireError
from inspire_vla.spatial import MODES


def test_one_question_per_mode():
    assert tuple(QUESTIONS) == MODES
    asked = {question("the cup", mode) for mode in MODES}
    assert len(asked) == len(MODES)
    assert all("the cup" in sentence for sentence in asked)


def test_the_direction_question():
    assert question("top of the cabinet") == "In which direction is top of the cabinet relative to the robot?"


def test_what_is_refused():
    with pytest.raises(InspireError, match="Unknown reasoning mode"):
        question("the cup", "angle")
    with pytest.raises(InspireError, match="empty"):
        question(" ")
