import numpy as np
import pytest
from tests.grounding.scenes import NAMES, POSITIONS, images

from inspire_vla.grounding.images import mirrored
from inspire_vla.grounding.questions import point_words, sample_questions


def all_of(p, seeds=40):
    """Every question that some seed samples."""
    return {e for seed in range(seeds) for e in sample_questions(p, 0, np.random.default_rng(seed), 100)}


@pytest.mark.parametrize(
    ("point", "words"), [((0.42, 0.73), " 4 7 2 3"), ((0.0, 0.999), " 0 9 0 9"), ((1.0, -0.1), " 9 0 9 0")]
)
def test_a_point_is_written_in_tenths_then_hundredths(point, words):
    assert point_words(np.array(point)) == words


def test_positions_of_objects_drawers_and_gripper_are_asked():
    questions = [e for e in all_of(images()) if e.text.startswith("Where")]
    assert {e.answer for e in questions} == {""}
    where = {e.text: e.point for e in questions}
    assert where["Where is the red cube?"] == pytest.approx((0.25, 0.25))
    assert where["Where is the mug?"] == where["Where is the blue mug?"] == pytest.approx((0.75, 0.25))
    assert where["Where is the top drawer of the cabinet?"] == pytest.approx((0.3, 0.7))
    assert where["Where is the gripper?"] == pytest.approx((0.75, 0.75))


def test_presence_has_true_answers_yes_and_no():
    answers = {e.text: e.answer for e in all_of(images(), 200) if e.text.startswith("Is there")}
    assert answers["Is there a red cube?"] == " yes"
    assert answers["Is there a red mug?"] == " no"
    assert {q for q, a in answers.items() if a == " yes"} == {
        f"Is there a {name}?" for name in ("red cube", "blue mug", "brown cabinet")
    }


def test_an_object_without_a_look_is_asked_about_by_its_kind():
    p = images(names=("_plate_1", "alphabet_soup_1", "cream cheese_box_1", "gripper"))
    by_text = {e.text: e for e in all_of(p, 200)}
    where = {text for text in by_text if text.startswith("Where")}
    assert {"Where is the plate?", "Where is the alphabet soup?", "Where is the cream cheese box?"} <= where
    assert by_text["Is there a plate?"].answer == " yes"
    named = {e.answer for e in by_text.values() if e.text.startswith("What")}
    assert {" plate", " alphabet soup", " cream cheese box"} <= named


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
    texts = {e.text for e in all_of(p) if e.text.startswith("Where")}
    assert not any("cube" in text or "mug" in text for text in texts)


def asked_about_cubes(names, positions):
    """ "Where is …?" about cubes: phrase → index of the object that it points at."""
    p = images(names, positions)
    points = {tuple(point): i for i, point in enumerate(p.positions[0].tolist())}
    where = [
        e
        for e in all_of(p, 100)
        if e.point is not None and e.text.startswith(("Where is the cube", "Where is the red cube"))
    ]
    return {e.text.removeprefix("Where is ").rstrip("?"): points[e.point] for e in where}


TWO_CUBES = ("red_cube_1", "red_cube_2", "blue_mug_1")


def test_duplicates_are_told_apart_by_a_neighbour():
    """Nobody can say which cube is next to the mug when both are."""
    near = asked_about_cubes(TWO_CUBES, ((0.2, 0.2), (0.8, 0.8), (0.25, 0.25)))
    assert near["the red cube next to the blue mug"] == 0
    assert "the red cube" not in near
    both = asked_about_cubes(TWO_CUBES, ((0.4, 0.5), (0.6, 0.5), (0.5, 0.5)))
    assert not any("next to" in phrase for phrase in both)


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        ((-0.2, 0), "to the left of"),
        ((0.2, 0), "to the right of"),
        ((0, 0.2), "in front of"),
        ((0, -0.2), "behind"),
    ],
)
def test_a_side_of_a_landmark_is_that_of_the_image(offset, words):
    """Left is to the left in the image. Front is lower in it: towards the camera."""
    beside, opposite = (tuple(0.5 + sign * x for x in offset) for sign in (1, -2))
    phrases = asked_about_cubes(TWO_CUBES, (beside, opposite, (0.5, 0.5)))
    assert phrases[f"the red cube {words} the blue mug"] == 0
    sides = ("to the left of", "to the right of", "in front of", "behind")
    assert not any(
        other in phrase for phrase, i in phrases.items() for other in sides if i == 0 and other != words
    )


def test_equal_objects_are_told_apart_by_their_places():
    phrases = asked_about_cubes(
        ("red_cube_1", "red_cube_2", "red_cube_3"), ((0.2, 0.5), (0.5, 0.52), (0.8, 0.5))
    )
    assert {phrase: i for phrase, i in phrases.items() if "red" in phrase} == {
        "the red cube on the left": 0,
        "the red cube in the middle": 1,
        "the red cube on the right": 2,
    }


def test_one_of_two_equal_objects_is_between_two_landmarks():
    names = ("red_cube_1", "red_cube_2", "blue_mug_1", "white_bowl_1")
    phrases = asked_about_cubes(names, ((0.5, 0.5), (0.5, 0.9), (0.3, 0.5), (0.7, 0.5)))
    between = {phrase: i for phrase, i in phrases.items() if "between" in phrase and "red" in phrase}
    assert set(between.values()) == {0}
    assert "the red cube between the blue mug and the white bowl" in between


@pytest.mark.parametrize("hidden", ["out of sight", "held"])
def test_places_are_not_asked_about_where_an_equal_object_cannot_be_compared(hidden):
    p = images(("red_cube_1", "red_cube_2", "blue_mug_1"), ((0.2, 0.5), (0.8, 0.5), (0.25, 0.5)))
    if hidden == "held":
        p.on_table[0, 1] = np.nan
    else:
        p.visibility[0, 1] = 0.0
    assert {e.kind for e in all_of(p) if "cube" in e.text} <= {"presence", "recognition"}


def test_a_flipped_image_exchanges_left_and_right():
    p = images(("red_cube_1", "red_cube_2", "blue_mug_1"), ((0.2, 0.4), (0.8, 0.6), (0.3, 0.4)))
    exchange = {"left": "right", "right": "left"}
    swapped = set()
    for e in all_of(p, 200):
        if e.point is not None:
            text = " ".join(exchange.get(word, word) for word in e.text.rstrip("?").split())
            swapped.add((text, round(1 - e.point[0], 4)))
    flipped = {e for e in all_of(mirrored(p, 0), 200) if e.point is not None}
    assert {(e.text.rstrip("?"), round(e.point[0], 4)) for e in flipped} == swapped


def test_relations_name_no_robot():
    """The pre-training holds no direction relative to a robot."""
    for e in all_of(images(), 200):
        assert "robot" not in e.text
        assert "gripper" not in e.text or e.text == "Where is the gripper?"


def test_no_more_is_asked_than_wanted():
    for most in range(6):
        for seed in range(20):
            assert len(sample_questions(images(), 0, np.random.default_rng(seed), most)) <= most
    assert len(NAMES) == len(POSITIONS)
