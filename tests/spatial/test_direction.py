"""Laws of `relate`: symmetry, scale, frames, ties, closure; and a plain scalar reading of the rules as an oracle."""

import math

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.spatial import FRAMES, MODES, answer_words, canonical_array, get_frame, relate, relate_codes

OPPOSITE = {"left": "right", "right": "left", "front": "back", "back": "front", "up": "down", "down": "up"}


@pytest.fixture
def offsets_m() -> np.ndarray:
    """Offsets of a tabletop's size, some far, some tiny, none with a zero or a tie."""
    random = np.random.default_rng(0)
    return random.normal(size=(4000, 3)) * random.choice([0.02, 0.2, 2.0], size=(4000, 1))


def plain_answer(offset, grasped, mode, frame, threshold, grasped_word):
    """The rules once more, one offset at a time."""
    pairs = get_frame(frame).axes
    words = [pair[value >= 0] for pair, value in zip(pairs, offset, strict=True)]
    sizes = [abs(value) for value in offset]
    if grasped and grasped_word:
        return "grasped"
    if mode == "direction":
        return (
            "close" if threshold is not None and max(sizes) <= threshold else words[sizes.index(max(sizes))]
        )
    if mode == "direction_3d":
        spoken = []
        for pair in ("back front", "right left", "down up"):
            axis = next(i for i in range(3) if words[i] in pair.split())
            spoken.append("close" if threshold is not None and sizes[axis] <= threshold else words[axis])
        return " ".join(spoken)
    if mode == "position":
        return " ".join(str(max(-9, min(9, int(float(value) * 10)))) for value in offset)
    distance = math.sqrt(sum(float(value) ** 2 for value in offset))
    if mode == "distance_fine":
        return str(min(9, int(distance * 10)))
    if distance < (0.06 if threshold is None else threshold):
        return "close"
    return "near" if distance < 0.2 else "middle" if distance < 0.3 else "far"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("threshold", [None, 0.0, 0.06])
@pytest.mark.parametrize("grasped_word", [True, False])
def test_agrees_with_the_rules_read_one_by_one(offsets_m, mode, frame, threshold, grasped_word):
    grasped = np.arange(len(offsets_m)) % 5 == 0
    answers = relate(
        offsets_m, grasped, mode=mode, frame=frame, close_threshold_m=threshold, grasped_word=grasped_word
    )
    expected = [
        plain_answer(offset, is_grasped, mode, frame, threshold, grasped_word)
        for offset, is_grasped in zip(offsets_m, grasped, strict=True)
    ]
    assert answers.tolist() == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("grasped_word", [True, False])
@pytest.mark.parametrize("threshold", [None, 0.06])
def test_says_only_allowed_answers(offsets_m, mode, grasped_word, threshold):
    answers = relate(
        offsets_m, offsets_m[:, 0] > 0.5, mode=mode, close_threshold_m=threshold, grasped_word=grasped_word
    )
    close_word = threshold is not None or mode == "distance"
    assert set(answers.tolist()) <= set(answer_words(mode, grasped_word=grasped_word, close_word=close_word))


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirroring_an_axis_swaps_its_two_words_and_no_other(offsets_m, frame, axis):
    mirrored = offsets_m * np.where(np.arange(3) == axis, -1, 1)
    pair = get_frame(frame).axes[axis]
    before, after = relate(offsets_m, False, frame=frame), relate(mirrored, False, frame=frame)
    swapped = [OPPOSITE[word] if word in pair else word for word in before.tolist()]
    assert after.tolist() == swapped


def test_mirroring_y_swaps_left_and_right():
    assert relate([[0, 0.3, 0], [0, -0.3, 0]], False).tolist() == ["left", "right"]


@pytest.mark.parametrize("mode", ["direction", "direction_3d"])
def test_official_libero_is_the_robot_frame_mirrored_in_y(offsets_m, mode):
    official = relate(offsets_m, False, mode=mode, frame="official_libero", close_threshold_m=0.06)
    mirrored = relate(offsets_m * [1, -1, 1], False, mode=mode, close_threshold_m=0.06)
    np.testing.assert_array_equal(official, mirrored)


@pytest.mark.parametrize("factor", [1.0, 1.7, 30.0])
def test_farther_along_the_same_ray_keeps_the_direction(offsets_m, factor):
    near, far = relate(offsets_m, False), relate(offsets_m * factor, False)
    np.testing.assert_array_equal(near, far)
    with_close = relate(offsets_m, False, close_threshold_m=0.06)
    kept = with_close != "close"
    np.testing.assert_array_equal(relate(offsets_m * factor, False, close_threshold_m=0.06)[kept], near[kept])


@pytest.mark.parametrize(
    ("offset", "word"),
    [
        ((0.2, 0.2, 0.2), "front"),
        ((-0.2, 0.2, 0.2), "back"),
        ((0.1, -0.2, 0.2), "right"),
        ((0.0, 0.0, 0.0), "front"),
        ((0.0, 0.0, -1e-12), "down"),
        ((-0.0, 0.0, 0.0), "front"),
    ],
)
def test_ties_go_to_the_earlier_axis_and_zero_is_positive(offset, word):
    assert relate(offset, False) == word


def test_close_includes_its_threshold_and_needs_one():
    offsets = [[0.05, -0.06, 0.06], [0.05, -0.0601, 0.06]]
    assert relate(offsets, False, close_threshold_m=0.06).tolist() == ["close", "right"]
    assert relate(offsets, False).tolist() == ["right", "right"]
    spoken = relate([0.05, -0.2, 0.06], False, mode="direction_3d", close_threshold_m=0.06)
    assert spoken == "close right close"


@pytest.mark.parametrize(
    ("mode", "offset", "answer"),
    [
        ("direction_3d", (0.1, 0.2, -0.3), "front left down"),
        ("position", (0.39, -0.19, -0.05), "3 -1 0"),
        ("position", (5.0, -5.0, 0.999), "9 -9 9"),
        ("distance", (0.0599, 0, 0), "close"),
        ("distance", (0.06, 0, 0), "near"),
        ("distance", (0.2, 0, 0), "middle"),
        ("distance", (0, 0, -0.3), "far"),
        ("distance_fine", (0.3, 0.4, 0), "5"),
        ("distance_fine", (3, 4, 0), "9"),
    ],
)
def test_examples(mode, offset, answer):
    assert relate(offset, False, mode=mode) == answer


def test_distance_never_close_at_threshold_zero():
    assert relate([0, 0, 0], False, mode="distance", close_threshold_m=0) == "near"


@pytest.mark.parametrize("mode", MODES)
def test_grasped_wins_everywhere_unless_left_out(offsets_m, mode):
    assert (relate(offsets_m, True, mode=mode, close_threshold_m=0.06) == "grasped").all()
    left_out = relate(offsets_m, True, mode=mode, grasped_word=False)
    np.testing.assert_array_equal(left_out, relate(offsets_m, False, mode=mode))


@pytest.mark.parametrize("mode", MODES)
def test_codes_are_the_words(offsets_m, mode):
    grasped = offsets_m[:, 1] > 0
    codes = relate_codes(offsets_m, grasped, mode=mode)
    assert codes.dtype == np.int16
    np.testing.assert_array_equal(canonical_array(mode)[codes], relate(offsets_m, grasped, mode=mode))


@pytest.mark.parametrize("mode", MODES)
def test_shapes_are_kept_and_grasped_broadcasts(mode):
    random = np.random.default_rng(1)
    offsets = random.normal(size=(4, 5, 3))
    answers = relate(offsets, [True, False, False, False, True], mode=mode)
    assert answers.shape == (4, 5)
    assert (answers[:, 0] == "grasped").all()
    assert answers[2, 3] == relate(offsets[2, 3], False, mode=mode)
    assert relate(np.empty((0, 3)), np.empty(0, dtype=bool), mode=mode).shape == (0,)
    assert relate(offsets[0, 0], False, mode=mode).shape == ()


def test_long_inputs_are_one_piece():
    offsets = np.random.default_rng(2).normal(size=(100_001, 3))
    whole = relate_codes(offsets, False)
    np.testing.assert_array_equal(
        whole, np.concatenate([relate_codes(part, False) for part in np.array_split(offsets, 7)])
    )


def test_input_is_left_as_it_was_and_single_precision_is_read_exactly(offsets_m):
    single = offsets_m.astype(np.float32)
    copy = single.copy()
    for mode in MODES:
        np.testing.assert_array_equal(
            relate(single, False, mode=mode), relate(single.astype(np.float64), False, mode=mode)
        )
    np.testing.assert_array_equal(single, copy)
    assert relate([[1, 0, 0], [0, -2, 1]], [0, 0]).tolist() == ["front", "right"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, 0.2], False), "shape"),
        ((0.1, False), "shape"),
        (([[0, 0, 0], [0, np.nan, 0]], False), r"first at index \(1,\)"),
        (([np.inf, 0, 0], False), "finite"),
        (([np.inf, -np.inf, 0], False), "finite"),
        ((["a", "b", "c"], False), "numbers"),
        (([[0, 0, 0]], [True, False]), "does not fit"),
        (([0, 0, 0], 0.5), "booleans"),
        (([0, 0, 0], "yes"), "booleans"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(InspireError, match=message):
        relate(*arguments)


def test_unknown_choices_are_refused_with_the_possible_ones():
    with pytest.raises(InspireError, match="Did you mean 'direction'"):
        relate([0, 0, 0], False, mode="directoin")
    with pytest.raises(InspireError, match="official_libero"):
        relate([0, 0, 0], False, frame="libero")
    for threshold in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InspireError, match="close_threshold_m"):
            relate([0, 0, 0], False, close_threshold_m=threshold)


def test_huge_but_finite_offsets_are_answered():
    assert relate([[1e308, 1e308, 1e308], [0, -1e308, 0]], False).tolist() == ["front", "right"]
