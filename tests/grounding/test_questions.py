import numpy as np
import pytest
from tests.grounding.scenes import NAMES, POSITIONS, images

from inspire_vla.grounding.questions import point_words, sample_questions


def all_of(p, seeds=40):
    """Every question that some seed samples."""
    return {e for seed in range(seeds) for e in sample_questions(p, 0, np.random.default_rng(seed), 20)}


@pytest.mark.parametrize(
    ("point", "words"), [((0.42, 0.73), " 4 7 2 3"), ((0.0, 0.999), " 0 9 0 9"), ((1.0, -0.1), " 9 0 9 0")]
)
def test_a_point_is_written_in_tenths_then_hundredths(point, words):
    assert point_words(np.array(point)) == words


def test_positions_of_objects_drawers_and_gripper_are_asked():
    asked = [e for e in all_of(images()) if e.text.startswith("Where")]
    assert {e.answer for e in asked} == {""}
    where = {e.text: e.point for e in asked}
    assert where["Where is the red cube?"] == pytest.approx((0.25, 0.25))
    assert where["Where is the mug?"] == where["Where is the blue mug?"] == pytest.approx((0.75, 0.25))
    assert where["Where is the top drawer of the cabinet?"] == pytest.approx((0.3, 0.7))
    assert where["Where is the gripper?"] == pytest.approx((0.75, 0.75))


def test_presence_has_true_answers_yes_and_no():
    asked = {e.text: e.answer for e in all_of(images(), 200) if e.text.startswith("Is there")}
    assert asked["Is there a red cube?"] == " yes"
    assert asked["Is there a red mug?"] == " no"
    assert {q for q, a in asked.items() if a == " yes"} == {
        f"Is there a {name}?" for name in ("red cube", "blue mug", "brown cabinet")
    }


def test_recognition_names_what_is_at_a_point():
    named = [e for e in all_of(images(), 200) if e.text.startswith("What is at")]
    for question in named:
        x1, y1, _, y2 = map(int, question.text.removeprefix("What is at ").rstrip("?").split())
        left, top, edge = x1 < 5, y1 < 5, (y1, y2) <= (0, 2)
        expected = {(True, True): " red cube", (False, True): " blue mug", (True, False): " brown cabinet"}
        if question.answer == " nothing":
            assert edge
        else:
            assert question.answer == expected[left, top]
    assert {e.answer for e in named} == {" red cube", " blue mug", " brown cabinet", " nothing"}


def test_invisible_objects_and_objects_outside_are_not_asked_about():
    p = images()
    p.visibility[0, 0] = 0.0
    p.positions[0, 1] = (1.2, 0.5)
    asked = {e.text for e in all_of(p) if e.text.startswith("Where")}
    assert not any("cube" in text or "mug" in text for text in asked)


def test_duplicates_are_identified_by_a_neighbour_or_not_asked_about():
    names = ("red_cube_1", "red_cube_2", "blue_mug_1")
    near = images(names, ((0.2, 0.2), (0.8, 0.8), (0.25, 0.25)))
    asked = {e.text: e.point for e in all_of(near) if "cube" in e.text and "Where" in e.text}
    assert asked == {"Where is the red cube next to the blue mug?": pytest.approx((0.2, 0.2))}
    between = images(names, ((0.4, 0.5), (0.6, 0.5), (0.5, 0.5)))
    assert not any("cube" in e.text for e in all_of(between) if e.text.startswith("Where"))


def test_no_more_is_asked_than_wanted():
    for most in range(6):
        for seed in range(20):
            assert len(sample_questions(images(), 0, np.random.default_rng(seed), most)) <= most
    assert len(NAMES) == len(POSITIONS)
