"""A row by itself, before a model that says the same whatever it hears: what is proposed, stands, is expected next."""

import numpy as np
from tests.backbones.tiny import Setting

from inspire_vla.decoding import Decision, choose
from inspire_vla.decoding.line import Line

SETTING = Setting(0)  # actions: three codes, of 0–7, 8–15 and 16–23
GRAMMAR = SETTING.grammar
SCRIPT = GRAMMAR.script(SETTING.dialogues()[0])
CUBE, PLATE = SCRIPT.mentions
CODES = tuple(GRAMMAR.action_vocabulary.to_ids([4, 9, 17]).tolist())


def word(text: str) -> int:
    (token,) = GRAMMAR.answers.token_ids_of[text]
    return token


SAYS = (word("left"), word("down"), *CODES)
"""What the model says, slot by slot."""
SLOTS = ((0, 0), (1, 0), (2, 0), (2, 1), (2, 2))


def play(drafts=(), overrides=()) -> tuple[list[list[int]], list[int], Decision]:
    """The ids proposed in each pass, how many of them stood, and the decision."""
    line = Line(SCRIPT, choose, drafts=dict(drafts), overrides=dict(overrides))
    proposed, stood = [], []
    while not line.done:
        tokens, asked = line.propose()
        assert asked == [question.at for question in line._asked]
        scores = np.zeros((len(asked), len(GRAMMAR.sayable)))
        for row, question in enumerate(line._asked):
            said = SAYS[SLOTS.index(question.place.slot)]
            scores[row, GRAMMAR.sayable.tolist().index(said)] = 1
        proposed.append([token.id for token in tokens])
        stood.append(line.hear(scores))
    return proposed, stood, line.decision(len(proposed))


def ids(*numbers: int) -> list[int]:
    """The fixed texts of these numbers: before the cube's answer, before the plate's, before the action."""
    return [token.id for number in numbers for token in SCRIPT.texts[number]]


def test_without_guesses_one_token_is_said_per_pass() -> None:
    proposed, stood, decision = play()
    left, down, first, second, _ = SAYS
    assert proposed == [ids(0), [left, *ids(1)], [down, *ids(2)], [first], [second]]
    assert stood == [len(tokens) for tokens in proposed]
    assert decision.token_ids == SAYS
    assert decision.accepted == (False, False)


def test_right_guesses_are_heard_in_the_first_pass() -> None:
    proposed, stood, decision = play({CUBE: "left", PLATE: "down"})
    left, down, first, second, _ = SAYS
    assert proposed == [[*ids(0), left, *ids(1), down, *ids(2)], [first], [second]]
    assert stood == [len(tokens) for tokens in proposed]
    assert decision.token_ids == SAYS
    assert decision.accepted == (True, True)


def test_from_a_wrong_guess_on_what_the_model_said_behind_it_is_expected() -> None:
    proposed, stood, decision = play({CUBE: "up", PLATE: "right"})
    left, down, first, second, _ = SAYS
    assert proposed[0] == [*ids(0), word("up"), *ids(1), word("right"), *ids(2)]
    assert stood[0] == len(ids(0))
    assert proposed[1:] == [[left, *ids(1), down, *ids(2), first], [second]]
    assert decision.token_ids == SAYS
    assert decision.accepted == (False, False)


def test_a_right_guess_stands_before_a_wrong_one() -> None:
    proposed, stood, decision = play({CUBE: "left", PLATE: "right"})
    assert stood[0] == len([*ids(0), SAYS[0], *ids(1)])
    assert proposed[1] == [SAYS[1], *ids(2), SAYS[2]]
    assert decision.accepted == (True, False)


def test_a_forced_word_is_said_against_the_model() -> None:
    proposed, _, decision = play({CUBE: "left"}, {CUBE: "grasped", PLATE: "down"})
    assert proposed[0] == [*ids(0), word("grasped"), *ids(1), SAYS[1], *ids(2)]
    assert decision.answers == ("grasped", "down")
    assert decision.overridden == (True, True)
    assert decision.accepted == (False, False)
    assert decision.confidences[0] < decision.confidences[1]


def test_the_last_token_is_said_and_never_passed_through() -> None:
    for drafts in ({}, {CUBE: "left", PLATE: "down"}, {CUBE: "up", PLATE: "up"}):
        proposed, _, decision = play(drafts)
        assert decision.token_ids[-1] == SAYS[-1]
        assert all(SAYS[-1] not in tokens for tokens in proposed)
