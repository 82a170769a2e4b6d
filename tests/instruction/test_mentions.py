"""Mentions of instructions. The sentences and their mentions, checked by a person, are in data/."""

import importlib.util
import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import NoObjectFound, find_mentions

DATA = Path(__file__).parent / "data"


def sentences(*names: str) -> list[tuple[str, tuple[str, ...]]]:
    """(sentence, mentions) of data files."""
    pairs = []
    for name in names:
        for line in (DATA / name).read_text().splitlines():
            if line.strip() and line[0] not in "#[":
                sentence, mentions = line.split(" -> ")
                pairs.append((sentence, tuple(mentions.split(" | "))))
    return pairs


EVERYTHING = sentences("libero.txt", "others.txt")


@pytest.mark.parametrize(("sentence", "mentions"), dict(EVERYTHING).items())
def test_mentions(sentence, mentions):
    assert find_mentions(sentence) == mentions


def test_number_of_sentences():
    assert len(sentences("libero.txt")) == 130
    assert len(sentences("others.txt")) > 100


def test_libero_sentences_are_those_of_the_installed_package():
    spec = importlib.util.find_spec("libero")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the extra `libero` is not installed")
    path = (
        Path(next(iter(spec.submodule_search_locations)))
        / "libero"
        / "benchmark"
        / "libero_suite_task_map.py"
    )
    if not path.exists():
        pytest.skip(f"{path.name} is not where it was")
    scope: dict = {}
    exec(path.read_text(), scope)  # the file is one dictionary; importing its package asks questions
    names = [name for suite in scope["libero_task_map"].values() for name in suite]
    theirs = [re.sub(r"^[A-Z_]*SCENE\d+_", "", name).replace("_", " ") for name in names]
    assert sorted(theirs) == sorted(sentence for sentence, _ in sentences("libero.txt"))


@pytest.mark.parametrize(("sentence", "mentions"), EVERYTHING[::3])
def test_case_full_stop_and_politeness_change_nothing(sentence, mentions):
    assert find_mentions(sentence.upper()) == mentions
    assert find_mentions(sentence.rstrip(".?!") + ".") == mentions
    if " should " not in sentence and not sentence.startswith(("in ", "for ", "as ", "end ", "Please")):
        assert find_mentions("please " + sentence) == mentions
        assert find_mentions("Robot, could you " + sentence + "?") == mentions


@pytest.mark.parametrize(("sentence", "mentions"), EVERYTHING[::3])
def test_mentions_are_words_of_the_sentence_each_once(sentence, mentions):
    assert len(set(mentions)) == len(mentions)
    if sentence in dict(sentences("libero.txt")):
        assert all(mention in sentence for mention in mentions)


@pytest.mark.parametrize("noun", ["gizmo", "purple zebra", "left-handed spanner", "flux capacitor", "ñandú"])
def test_any_noun_is_found(noun):
    assert find_mentions(f"pick up the {noun} and place it on the plate") == (f"the {noun}", "the plate")
    assert find_mentions(f"put the {noun} next to the bowl in the basket") == (
        f"the {noun} next to the bowl",
        "the basket",
    )


@pytest.mark.parametrize("noun", ["plate", "stove", "tape", "soap", "slider", "plum"])
def test_a_noun_is_no_misspelt_verb(noun):
    assert find_mentions(f"pick up the bowl and {noun}") == ("the bowl", noun)
    assert find_mentions(f"put the cup and {noun} on the table") == ("the cup", noun, "the table")
    assert find_mentions(f"put the cup and {noun} back in the drawer")[:2] == ("the cup", noun)
    assert find_mentions(f"take the cup and {noun} that are on the table")[1].startswith(noun)


def test_a_misspelt_verb_needs_an_object():
    assert find_mentions("lift the cup and plcae it on the tray") == ("the cup", "the tray")
    assert find_mentions("lift the cup and opne the drawer") == ("the cup", "the drawer")
    assert find_mentions("open the drawer and pikc up the cup") == ("the drawer", "the cup")


@pytest.mark.parametrize("verb", ["squash", "defenestrate", "frobnicate"])
def test_an_unknown_verb_has_an_object(verb):
    assert find_mentions(f"{verb} the red cube") == ("the red cube",)


@pytest.mark.parametrize(
    "sentence", ["", "  ", "?!", "put it there", "turn it off", "hello world", "do nothing", "move left"]
)
def test_no_object_is_an_error(sentence):
    with pytest.raises(NoObjectFound, match="No object is named") as caught:
        find_mentions(sentence)
    assert isinstance(caught.value, InspireError)


@pytest.mark.parametrize("thing", [None, 3, b"put the cube"])
def test_only_strings(thing):
    with pytest.raises(InspireError, match="must be a string"):
        find_mentions(thing)


def test_joining_two_requests_joins_their_mentions():
    requests = [pair for pair in sentences("libero.txt")[::4] if not {"it", "them"} & set(pair[0].split())]
    for (one, first), (other, second) in pairwise(requests):
        assert find_mentions(f"{one} and {other}") == tuple(dict.fromkeys(first + second))
        assert find_mentions(f"{one}, then {other}") == tuple(dict.fromkeys(first + second))


def test_long_nonsense_ends():
    for words in (
        "the " * 500,
        "and of on " * 300,
        "put " * 400,
        "on top of " * 300,
        "between the a and " * 200,
    ):
        with suppress(NoObjectFound):
            find_mentions(words)
