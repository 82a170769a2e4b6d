import numpy as np
import pytest
from tests.grounding.scenes import NAMES, PLACES, images

from inspire_vla.grounding.questions import exchanges, place_words


def all_of(p, seeds=40):
    """Every exchange that some seed draws."""
    return {e for seed in range(seeds) for e in exchanges(p, 0, np.random.default_rng(seed), 20)}


@pytest.mark.parametrize(
    ("place", "words"), [((0.42, 0.73), " 4 7 2 3"), ((0.0, 0.999), " 0 9 0 9"), ((1.0, -0.1), " 9 0 9 0")]
)
def test_a_place_is_said_in_tenths_then_hundredths(place, words):
    assert place_words(np.array(place)) == words


def test_places_of_things_drawers_and_gripper_are_asked():
    asked = [e for e in all_of(images()) if e.question.startswith("Where")]
    assert {e.answer for e in asked} == {""}
    where = {e.question: e.place for e in asked}
    assert where["Where is the red cube?"] == pytest.approx((0.25, 0.25))
    assert where["Where is the mug?"] == where["Where is the blue mug?"] == pytest.approx((0.75, 0.25))
    assert where["Where is the top drawer of the cabinet?"] == pytest.approx((0.3, 0.7))
    assert where["Where is the gripper?"] == pytest.approx((0.75, 0.75))


def test_presence_is_asked_both_ways_and_truly():
    asked = {e.question: e.answer for e in all_of(images(), 200) if e.question.startswith("Is there")}
    assert asked["Is there a red cube?"] == " yes"
    assert asked["Is there a red mug?"] == " no"
    assert {q for q, a in asked.items() if a == " yes"} == {
        f"Is there a {name}?" for name in ("red cube", "blue mug", "brown cabinet")
    }


def test_names_are_asked_by_place():
    named = [e for e in all_of(images(), 200) if e.question.startswith("What is at")]
    for exchange in named:
        x1, y1, _, y2 = map(int, exchange.question.removeprefix("What is at ").rstrip("?").split())
        left, top, edge = x1 < 5, y1 < 5, (y1, y2) <= (0, 2)
        expected = {(True, True): " red cube", (False, True): " blue mug", (True, False): " brown cabinet"}
        if exchange.answer == " nothing":
            assert edge
        else:
            assert exchange.answer == expected[left, top]
    assert {e.answer for e in named} == {" red cube", " blue mug", " brown cabinet", " nothing"}


def test_hidden_things_and_things_outside_are_not_asked_about():
    p = images()
    p.visible[0, 0] = 0.0
    p.places[0, 1] = (1.2, 0.5)
    asked = {e.question for e in all_of(p) if e.question.startswith("Where")}
    assert not any("cube" in question or "mug" in question for question in asked)


def test_twins_are_told_apart_by_what_stands_beside_them_or_not_asked():
    names = ("red_cube_1", "red_cube_2", "blue_mug_1")
    near = images(names, ((0.2, 0.2), (0.8, 0.8), (0.25, 0.25)))
    asked = {e.question: e.place for e in all_of(near) if "cube" in e.question and "Where" in e.question}
    assert asked == {"Where is the red cube next to the blue mug?": pytest.approx((0.2, 0.2))}
    between = images(names, ((0.4, 0.5), (0.6, 0.5), (0.5, 0.5)))
    assert not any("cube" in e.question for e in all_of(between) if e.question.startswith("Where"))


def test_no_more_is_asked_than_wanted():
    for most in range(6):
        for seed in range(20):
            assert len(exchanges(images(), 0, np.random.default_rng(seed), most)) <= most
    assert len(NAMES) == len(PLACES)
