"""Instructions as people write them for SO-101, DROID, Bridge and Open-X recordings: mentions and roles, or a refusal.

The sentences that are understood are in data/people.txt. Roles stand in the order of the acts.
"""

from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import (
    Act,
    MentionRole,
    NoObjectFound,
    UnclearInstruction,
    acts_of,
    find_mentions,
    read_instruction,
)
from inspire_vla.instruction.roles import acts_of_roles

REFUSED = {
    "Lege den roten Würfel in die Schale": "German",
    "Nimm die Tasse und stelle sie auf den Teller": "German",
    "Stell die Tasse in das Regal": "German",
    "Würfel in Kiste": "German",
    "Mets le cube rouge dans la boîte": "French",
    "place le cube rouge sur l'assiette": "French",
    "Pon el cubo rojo en la caja": "Spanish",
    "Coloca el bloque azul sobre la mesa": "Spanish",
    "Metti il cubo rosso nella scatola": "Italian",
    "Coloque o cubo vermelho na caixa": "Portuguese",
    "Pak de rode kubus en leg hem in de doos": "Dutch",
    "把红色方块放进盒子里": "Chinese",
    "赤いキューブを箱に入れて": "Japanese",
    "Положи красный кубик в коробку": "Cyrillic",
    "pick up the apple or the pear": "offers a choice, 'the apple'",
    "put either the apple or the pear in the bowl": "offers a choice",
    "put the cup/mug on the plate": "offers a choice, 'the cup'",
    "the red cube in the box": "'in the box' may be where 'the red cube' is",
    "the white plate on the table from the orange": "has no verb",
    "blue block next to red block": "has no verb",
    "Make a sandwich": "'a sandwich' is there only afterwards",
    "put the apple in the bowl and the pear": "'the pear' may be moved",
}
NOTHING_NAMED = [
    "rinse",
    "erase",
    "clean up",
    "take a rest",
    "go home",
    "don't touch the knife",
    "turn around",
    "wait",
]


def lines() -> list[tuple[str, str]]:
    """(sentence, roles) of data/people.txt."""
    text = (Path(__file__).parent / "data/people.txt").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line and line[0] not in "#["]
    return [(sentence, roles) for sentence, roles in (line.split(" -> ") for line in rows)]


@pytest.mark.parametrize(("sentence", "roles"), lines())
def test_mentions_and_roles(sentence, roles):
    reading = read_instruction(sentence)
    assert " | ".join(f"{item.role}: {item.mention}" for item in reading.roles) == roles
    assert set(reading.mentions) == {item.mention for item in reading.roles}
    assert find_mentions(sentence) == reading.mentions


def test_number_of_sentences():
    assert len(dict(lines())) + len(REFUSED) + len(NOTHING_NAMED) >= 76


@pytest.mark.parametrize(("sentence", "why"), REFUSED.items())
def test_what_cannot_be_known_is_refused(sentence, why):
    with pytest.raises(UnclearInstruction, match="--mentions FILE") as caught:
        find_mentions(sentence)
    assert why in str(caught.value)


@pytest.mark.parametrize("sentence", NOTHING_NAMED)
def test_verbs_alone_name_no_object(sentence):
    with pytest.raises(NoObjectFound, match="No object is named"):
        find_mentions(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "pick up the die",
        "put die in box",
        "pick up the La Croix can",
        "grab the jalapeño",
        "put the pan on the stove",
    ],
)
def test_english_with_foreign_words_is_english(sentence):
    assert find_mentions(sentence)


@pytest.mark.parametrize(
    ("sentence", "doubt"),
    [
        ("put everything in the bin", "does not name"),
        ("don't touch the knife, pick up the spoon", "'the knife' is not to be touched"),
        ("throw the ball for the dog", "'for the dog' is left out"),
        ("cube in box", "no verb"),
        ("defenestrate the cup", "verb is not known"),
        ("pick up the blue one", "'the blue one' does not say what it is"),
        ("put both moka pots on the stove", "several objects"),
        ("put the two red cubes in the box", "'the two red cubes' may be several objects"),
        ("pick up 3 cubes", "'3 cubes' may be several objects"),
        ("stack the cubes next to the box", "'the cubes' may be several objects"),
        ("put it in the box", "does not name what 'it' stands for"),
        ("put the red cube on the red cube", "'the red cube' may be two objects of one name"),
        ("move the cube from the cube to the box", "'the cube' may be two objects of one name"),
    ],
)
def test_doubts_are_told(sentence, doubt):
    assert doubt in " ".join(read_instruction(sentence).doubts)


@pytest.mark.parametrize("sentence", [
    "put the red cube on the plate", "open the drawer", "pick up the cup", "put the scissors in the box of pens",
    "pick up the glass and the cactus", "pick up the mug and put it on the shelf", "open the box and put the pen in it",
])  # fmt: skip
def test_a_plain_request_has_no_doubts(sentence):
    assert read_instruction(sentence).doubts == ()


@pytest.mark.parametrize(
    "sentence", [sentence for sentence, _ in lines() if "everything else" not in sentence]
)
def test_roles_that_are_given_back_make_the_same_acts(sentence):
    reading = read_instruction(sentence)
    assert acts_of_roles(reading.roles, reading.mentions, sentence) == reading.acts
    assert acts_of(sentence, reading.mentions, reading.roles) == reading.acts


def test_given_roles_overrule_the_sentence():
    roles = (MentionRole("my cup", "carried"), MentionRole("the sink", "goal"))
    assert acts_of("räum die Tasse weg", ("my cup", "the sink"), roles) == (Act(0, goal=1),)


def test_a_landmark_has_a_place_only_where_something_is_put():
    roles = (MentionRole("the mug", "carried"), MentionRole("the laptop", "landmark"))
    mentions = ("the mug", "the laptop")
    assert acts_of("pick up the mug left of the laptop", mentions, roles) == (Act(0),)
    assert acts_of("put the mug left of the laptop", mentions, roles) == (Act(0, beside=(1,)),)
    assert acts_of("stelle die Tasse neben den Laptop", mentions, roles) == (Act(0, beside=(1,)),)


def test_mentions_without_roles_have_those_of_the_sentence():
    sentence = "put the red cube on the plate"
    assert acts_of(sentence, ("plate", "red cube")) == (Act(1, goal=0),)
    assert acts_of(sentence, ("the thing",)) == ()


@pytest.mark.parametrize(("mention", "role"), [("", "goal"), ("  ", "goal"), ("the cup", "destination")])
def test_wrong_roles_are_refused(mention, role):
    with pytest.raises(InspireError, match=r"must be words|Unknown role 'destination'.*goal"):
        MentionRole(mention, role)
