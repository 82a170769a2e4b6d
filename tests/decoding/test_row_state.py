"""One row and a model with fixed predictions: what is drafted, accepted and drafted again."""

import numpy as np
from tests.backbones.tiny import Setting

from inspire_vla.decoding import Decision, RowState

SETTING = Setting(0)  # actions: three codes, of 0–7, 8–15 and 16–23
GRAMMAR = SETTING.grammar
PLAN = GRAMMAR.plan(SETTING.dialogues()[0])
CUBE, PLATE = PLAN.mentions
CODES = tuple(GRAMMAR.action_vocabulary.to_ids([4, 9, 17]).tolist())


def word(text: str) -> int:
    (token,) = GRAMMAR.answers.token_ids_of[text]
    return token


PREDICTED = (word("left"), word("down"), *CODES)
"""The model's prediction for each slot."""
SLOTS = ((0, 0), (1, 0), (2, 0), (2, 1), (2, 2))


def play(drafts=(), overrides=()) -> tuple[list[list[int]], list[int], Decision]:
    """The new token ids of each pass, how many were accepted, and the decision."""
    row = RowState(PLAN, drafts=dict(drafts), overrides=dict(overrides))
    drafted, accepted = [], []
    while not row.done:
        tokens, positions = row.build_draft()
        assert positions == [slot.position for slot in row.scored]
        scores = np.zeros((len(positions), len(GRAMMAR.allowed_token_ids)))
        for number, slot in enumerate(row.scored):
            predicted = PREDICTED[SLOTS.index(slot.state.slot)]
            scores[number, GRAMMAR.allowed_token_ids.tolist().index(predicted)] = 1
        drafted.append([token.id for token in tokens])
        accepted.append(row.verify(scores))
    return drafted, accepted, row.decision(len(drafted))


def ids(*numbers: int) -> list[int]:
    """The fixed texts of these numbers: before the cube's answer, before the plate's, before the action."""
    return [token.id for number in numbers for token in PLAN.texts[number]]


def test_without_drafts_each_pass_decodes_one_token() -> None:
    drafted, accepted, decision = play()
    left, down, first, second, _ = PREDICTED
    assert drafted == [ids(0), [left, *ids(1)], [down, *ids(2)], [first], [second]]
    assert accepted == [len(tokens) for tokens in drafted]
    assert decision.token_ids == PREDICTED
    assert decision.accepted == (False, False)


def test_right_drafts_are_accepted_in_the_first_pass() -> None:
    drafted, accepted, decision = play({CUBE: "left", PLATE: "down"})
    left, down, first, second, _ = PREDICTED
    assert drafted == [[*ids(0), left, *ids(1), down, *ids(2)], [first], [second]]
    assert accepted == [len(tokens) for tokens in drafted]
    assert decision.token_ids == PREDICTED
    assert decision.accepted == (True, True)


def test_behind_a_rejected_draft_the_models_predictions_are_drafted() -> None:
    drafted, accepted, decision = play({CUBE: "up", PLATE: "right"})
    left, down, first, second, _ = PREDICTED
    assert drafted[0] == [*ids(0), word("up"), *ids(1), word("right"), *ids(2)]
    assert accepted[0] == len(ids(0))
    assert drafted[1:] == [[left, *ids(1), down, *ids(2), first], [second]]
    assert decision.token_ids == PREDICTED
    assert decision.accepted == (False, False)


def test_a_right_draft_is_accepted_before_a_wrong_one() -> None:
    drafted, accepted, decision = play({CUBE: "left", PLATE: "right"})
    assert accepted[0] == len([*ids(0), PREDICTED[0], *ids(1)])
    assert drafted[1] == [PREDICTED[1], *ids(2), PREDICTED[2]]
    assert decision.accepted == (True, False)


def test_an_override_replaces_the_models_answer() -> None:
    drafted, _, decision = play({CUBE: "left"}, {CUBE: "grasped", PLATE: "down"})
    assert drafted[0] == [*ids(0), word("grasped"), *ids(1), PREDICTED[1], *ids(2)]
    assert decision.answers == ("grasped", "down")
    assert decision.overridden == (True, True)
    assert decision.accepted == (False, False)
    assert decision.confidences[0] < decision.confidences[1]


def test_the_last_token_needs_no_forward_pass() -> None:
    for drafts in ({}, {CUBE: "left", PLATE: "down"}, {CUBE: "up", PLATE: "up"}):
        drafted, _, decision = play(drafts)
        assert decision.token_ids[-1] == PREDICTED[-1]
        assert all(PREDICTED[-1] not in tokens for tokens in drafted)
