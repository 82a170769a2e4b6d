"""Looking ahead answers about the next words, and reads none."""

import pytest

from inspire_vla.instruction.lookahead import Lookahead


@pytest.mark.parametrize(
    ("words", "preposition"),
    [("on top of the stove", ("on top of", 3)), ("on it", ("on", 1)), ("cup", ("", 0))],
)
def test_the_longest_preposition_is_found(words: str, preposition: tuple[str, int]) -> None:
    ahead = Lookahead(words.split())
    assert ahead.preposition() == preposition
    assert ahead.position == 0


def test_words_beyond_the_end_are_empty() -> None:
    ahead = Lookahead(["cup"])
    assert (ahead.word, ahead.word_after(1), ahead.word_at(7)) == ("cup", "", "")


def test_a_noun_ends_where_a_verb_has_its_own_object() -> None:
    ahead = Lookahead("drawer grasp the block".split())
    ahead.position = 1
    assert ahead.noun_ends()
    assert ahead.verb_follows()
    mug = Lookahead("yellow and white mug".split())
    assert not mug.noun_ends(1)
    assert mug.noun_ends(4)
