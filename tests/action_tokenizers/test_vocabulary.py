"""Codes and token ids."""

import numpy as np
import pytest

from inspire_vla.action_tokenizers import ActionVocabulary, UndecodableAction
from inspire_vla.errors import InspireError


def test_ascending_and_descending():
    ascending, descending = ActionVocabulary.appended(100, 8), ActionVocabulary.last_ids(100, 8, skip=2)
    assert ascending.to_ids([0, 7]).tolist() == [100, 107]
    assert descending.to_ids([0, 7]).tolist() == [97, 90]
    assert ascending.id_range == (100, 108)
    assert descending.id_range == (90, 98)


@pytest.mark.parametrize("vocabulary", [ActionVocabulary(8, 100), ActionVocabulary.last_ids(100, 8)])
def test_ids_and_codes_are_inverse(vocabulary):
    codes = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(vocabulary.to_codes(vocabulary.to_ids(codes)), codes)


@pytest.mark.parametrize(
    ("special", "first"),
    [([], 99), ([99, 98], 97), ([96], 95), ([96, 88, 3], 95), ([96, 89], 88), ([200], 99)],
)
def test_reserved_ids_are_the_last_row_without_special_ones(special, first):
    ids = ActionVocabulary.last_free_ids(100, 7, special).to_ids(np.arange(7)).tolist()
    assert ids == list(range(first, first - 7, -1))
    assert not set(ids) & set(special)


def test_special_ids_may_leave_no_row():
    with pytest.raises(InspireError, match=r"8 consecutive codes.*longest run is 7.*'added'"):
        ActionVocabulary.last_free_ids(20, 8, [4, 12])


def test_pi0_fast_token_ids():
    """PaliGemma's vocabulary of 257152 without its last 128 ids: code 0 → 257023."""
    assert ActionVocabulary.last_ids(257_152, 2048, skip=128).to_ids(0) == 257_023


def test_words_are_no_actions():
    vocabulary = ActionVocabulary.last_ids(100, 8)
    with pytest.raises(UndecodableAction, match=r"\[91\] are no actions.*\[92, 100\)"):
        vocabulary.to_codes([92, 91])
    with pytest.raises(UndecodableAction, match=r"\[0, 8\)"):
        vocabulary.to_ids([8])
    with pytest.raises(InspireError, match="actions and words"):
        vocabulary.check_disjoint([3, 95])
    vocabulary.check_disjoint(range(92))
    assert vocabulary.holds([91, 92, 99, 100]).tolist() == [False, True, True, False]


def test_a_vocabulary_must_fit():
    for make in (
        lambda: ActionVocabulary.last_ids(5, 8),
        lambda: ActionVocabulary(0, 3),
        lambda: ActionVocabulary(4, 3, 2),
    ):
        with pytest.raises(InspireError):
            make()
