"""Dialogues: segments in order, questions, and errors."""

import pytest

from inspire_vla.dialogue import OPENVLA_TEMPLATE, QUESTIONS, TokenType, build_dialogue, question
from inspire_vla.errors import InspireError
from inspire_vla.instruction import NoObjectFound
from inspire_vla.spatial import MODES

INSTRUCTION = "put the red cube on the blue plate"


def segments(dialogue) -> list[tuple[TokenType, str | None]]:
    return [(segment.token_type, segment.text) for segment in dialogue.segments]


def test_questions_stand_before_the_instruction():
    dialogue = build_dialogue(INSTRUCTION, ["left", "down"])
    assert segments(dialogue) == [
        (TokenType.QUESTION, "In which direction is the red cube relative to the robot?"),
        (TokenType.ANSWER, " left"),
        (TokenType.QUESTION, "In which direction is the blue plate relative to the robot?"),
        (TokenType.ANSWER, " down"),
        (TokenType.INSTRUCTION, f"\nTask: {INSTRUCTION}"),
        (TokenType.ACTION, None),
    ]
    assert dialogue.mentions == ("the red cube", "the blue plate")
    assert dialogue.answers == ("left", "down")


def test_or_after_it():
    token_types = [
        token_type
        for token_type, _ in segments(
            build_dialogue(INSTRUCTION, ["left", "down"], question_position="after")
        )
    ]
    assert token_types == [
        TokenType.INSTRUCTION,
        TokenType.QUESTION,
        TokenType.ANSWER,
        TokenType.QUESTION,
        TokenType.ANSWER,
        TokenType.ACTION,
    ]


def test_only_answers_and_action_are_supervised():
    for question_position in ("before", "after"):
        dialogue = build_dialogue(INSTRUCTION, ["left", "down"], question_position=question_position)
        assert [s.token_type for s in dialogue.segments if s.supervised] == [
            TokenType.ANSWER,
            TokenType.ANSWER,
            TokenType.ACTION,
        ]


def test_a_template_may_supervise_its_ends():
    dialogue = build_dialogue(INSTRUCTION, ["left", "down"], template=OPENVLA_TEMPLATE)
    assert [s.text for s in dialogue.segments if s.supervised] == [
        "left",
        "</s>",
        "down",
        "</s>",
        None,
        "</s>",
    ]


def test_the_base_model_differs_in_nothing_but_the_reasoning():
    base, full = build_dialogue(INSTRUCTION, reasoning=False), build_dialogue(INSTRUCTION, ["left", "down"])
    assert base.mentions == base.answers == ()
    assert base.segments == tuple(
        s for s in full.segments if s.token_type in (TokenType.INSTRUCTION, TokenType.ACTION)
    )
    assert build_dialogue("do something", reasoning=False).segments  # it needs no object


def test_mentions_may_be_given():
    dialogue = build_dialogue("tidy up", ["left"], mentions=["the mess"])
    assert dialogue.mentions == ("the mess",)
    with pytest.raises(NoObjectFound):
        build_dialogue("tidy up")


def test_at_most_so_many_objects_are_asked_about():
    short = build_dialogue(INSTRUCTION, ["left"], max_objects=1)
    assert short == build_dialogue(INSTRUCTION, ["left", "down"], max_objects=1)
    assert short.mentions == ("the red cube",)
    assert build_dialogue(INSTRUCTION, ["left", "down"], max_objects=5).answers == ("left", "down")
    with pytest.raises(InspireError, match="max_objects"):
        build_dialogue(INSTRUCTION, max_objects=0)


def test_answers_by_mention_and_later():
    dialogue = build_dialogue(INSTRUCTION, {"the blue plate": "down"})
    assert dialogue.answers == (None, "down")
    assert dialogue.with_answers({"the red cube": "left"}) == build_dialogue(INSTRUCTION, ["left", "down"])
    assert dialogue.with_answers([None, None]) == build_dialogue(INSTRUCTION)


def test_every_mode_takes_its_own_answers_only():
    assert build_dialogue(INSTRUCTION, ["3 -1 0", "grasped"], mode="position").answers[0] == "3 -1 0"
    assert build_dialogue(INSTRUCTION, ["front left close", None], mode="direction_3d").answers[1] is None
    for mode, wrong in [
        ("direction", "near"),
        ("distance", "left"),
        ("position", "1 2"),
        ("distance_fine", "10"),
    ]:
        with pytest.raises(InspireError, match="is no answer in mode"):
            build_dialogue(INSTRUCTION, [wrong, None], mode=mode)
    with pytest.raises(InspireError, match="is no answer"):
        build_dialogue(INSTRUCTION, ["", None])


def test_what_is_refused():
    with pytest.raises(InspireError, match="Did you mean 'the red cube'"):
        build_dialogue(INSTRUCTION, {"the rde cube": "left"})
    with pytest.raises(InspireError, match="2 mention"):
        build_dialogue(INSTRUCTION, ["left"])
    with pytest.raises(InspireError, match="2 mention"):
        build_dialogue(INSTRUCTION, "up")
    with pytest.raises(InspireError, match="Did you mean 'left'"):
        build_dialogue(INSTRUCTION, ["lefft", "down"])
    with pytest.raises(InspireError, match="'before' or 'after'"):
        build_dialogue(INSTRUCTION, question_position="first")
    with pytest.raises(InspireError, match="Unknown reasoning mode"):
        build_dialogue(INSTRUCTION, mode="angle")
    with pytest.raises(InspireError, match="Unknown template"):
        build_dialogue(INSTRUCTION, template="gpt")
    for reasoning, mentions in ((True, None), (True, ["the red cube"]), (False, None)):
        with pytest.raises(InspireError, match=r"'\\ud800', which is no character but a part of one"):
            build_dialogue("pick up the \ud800 cube", mentions=mentions, reasoning=reasoning)
    with pytest.raises(InspireError, match="part of one"):
        build_dialogue("pick up the red cube", mentions=["the \ud800 cube"])
    with pytest.raises(InspireError, match="must be a sentence"):
        build_dialogue("  ")
    with pytest.raises(InspireError, match="state"):
        build_dialogue(INSTRUCTION, template="pi0_fast")


def test_braces_in_an_instruction_are_just_braces():
    dialogue = build_dialogue("put the {state} on the {question}", template="pi0_fast", state_text="1 2")
    assert dialogue.segments[-4].text == "Task: put the {state} on the {question}, State: 1 2;\n"


def test_one_question_per_mode():
    assert tuple(QUESTIONS) == MODES
    questions = {question("the cup", mode) for mode in MODES}
    assert len(questions) == len(MODES)
    assert all("the cup" in sentence for sentence in questions)


def test_the_direction_question():
    assert question("top of the cabinet") == "In which direction is top of the cabinet relative to the robot?"


def test_unknown_modes_and_empty_mentions_are_refused():
    with pytest.raises(InspireError, match="Unknown reasoning mode"):
        question("the cup", "angle")
    with pytest.raises(InspireError, match="empty"):
        question(" ")
