"""Answers are closed sets in a fixed order; encode and decode are inverse."""

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.spatial import (
    MODES,
    NO_LABEL,
    answer_words,
    canonical_answers,
    decode_answers,
    encode_answers,
    relate,
    says_close,
)


def test_the_stored_order_never_changes():
    assert canonical_answers("direction") == (
        "right",
        "left",
        "up",
        "down",
        "front",
        "back",
        "grasped",
        "close",
    )
    assert canonical_answers("distance") == ("close", "near", "middle", "far", "grasped")
    assert canonical_answers("distance_fine") == (*"0123456789", "grasped")
    spoken = canonical_answers("direction_3d")
    assert (spoken[0], spoken[13], spoken[26], spoken[27]) == (
        "back right down",
        "front left up",
        "close close close",
        "grasped",
    )
    position = canonical_answers("position")
    assert (position[0], position[3429], position[-1]) == ("-9 -9 -9", "0 0 0", "grasped")


@pytest.mark.parametrize(("mode", "count"), zip(MODES, (8, 28, 19**3 + 1, 5, 11), strict=True))
def test_answers_are_distinct_and_fit_a_small_integer(mode, count):
    answers = canonical_answers(mode)
    assert len(answers) == len(set(answers)) == count < np.iinfo(np.int16).max


@pytest.mark.parametrize("mode", MODES)
def test_switches_only_leave_out(mode):
    everything = answer_words(mode)
    assert everything == canonical_answers(mode)
    without = answer_words(mode, grasped_word=False, close_word=False)
    assert list(without) == [a for a in everything if not {"grasped", "close"} & set(a.split())]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threshold", [None, 0.0, 0.06])
def test_a_model_says_close_where_its_labels_may(mode, threshold):
    """The words of `relate`, near and far, are answers; without a threshold `close` is none, but for mode distance."""
    offsets = np.array([[0.01, 0.02, -0.01], [0.3, -0.2, 0.1], [0.0, 0.0, 0.0]])
    words = relate(offsets, grasped=False, mode=mode, close_threshold_m=threshold)
    may = answer_words(mode, close_word=says_close(mode, threshold))
    assert set(words.tolist()) <= set(may)
    if threshold is None and mode != "distance":
        assert not any("close" in answer.split() for answer in may)


@pytest.mark.parametrize("mode", MODES)
def test_decode_inverts_encode_and_encode_inverts_decode(mode):
    answers = np.array(canonical_answers(mode))
    codes = encode_answers(answers, mode)
    assert codes.dtype == np.int16
    np.testing.assert_array_equal(codes, np.arange(len(answers)))
    np.testing.assert_array_equal(decode_answers(codes, mode), answers)
    shuffled = np.random.default_rng(0).integers(-1, len(answers), size=(7, 3))
    np.testing.assert_array_equal(encode_answers(decode_answers(shuffled, mode), mode), shuffled)


def test_no_label_is_the_empty_word():
    assert encode_answers(["left", None, ""]).tolist() == [1, NO_LABEL, NO_LABEL]
    assert decode_answers([1, NO_LABEL]).tolist() == ["left", ""]
    assert decode_answers(NO_LABEL) == ""
    assert encode_answers("back") == 5


def test_empty_arrays_keep_their_shape():
    assert encode_answers(np.empty((0, 2))).shape == (0, 2)
    assert decode_answers(np.empty((3, 0))).shape == (3, 0)


@pytest.mark.parametrize("word", ["lefft", "zzzz", "Left", " left", "a", "none"])
def test_a_word_that_is_no_answer_is_named(word):
    with pytest.raises(InspireError, match=f"{word!r} is no answer"):
        encode_answers(["left", word])


def test_bad_codes_are_refused():
    with pytest.raises(InspireError, match="found -2 to 0"):
        decode_answers([-2, 0])
    with pytest.raises(InspireError, match=r"-1 \(no label\) to 7"):
        decode_answers([8])
    with pytest.raises(InspireError, match="integers"):
        decode_answers([0.0])
    with pytest.raises(InspireError, match="strings"):
        encode_answers([1, 2])
    for function in (canonical_answers, answer_words):
        with pytest.raises(InspireError, match="Unknown reasoning mode"):
            function("sideways")
