"""One renderer: exact ids, exact mask, prompts that are prefixes, answers as token sequences."""

import dataclasses

import numpy as np
import pytest

from inspire_vla.dialogue import (
    NANO_TEMPLATE,
    TEMPLATES,
    CachedTokenizer,
    Template,
    TokenType,
    answer_token_sequences,
    build_dialogue,
    render,
)
from inspire_vla.errors import InspireError
from inspire_vla.spatial import MODES, answer_words, canonical_answers

INSTRUCTION = "put the red cube on the blue plate"
ACTION_IDS = [900, 901, 902]


def test_exact_ids_mask_and_roles(words):
    """One object, a word an id. The vocabulary is the trainer's: by frequency, then by alphabet."""
    rendered = render(build_dialogue(INSTRUCTION, ["left"], max_objects=1), words, ACTION_IDS)
    question = [9, 15, 12, 3, 1, 14, 11, 4, 6, 1, 5, 2]  # in which direction is the red cube relative …
    left = [26]
    instruction = [20, 8, 30, 1, 14, 11, 28, 1, 10, 13]  # task : put the red cube on the blue plate
    assert words.tokenizer.token_to_id("left") == left[0]
    assert rendered.ids.tolist() == [*question, *left, *instruction, *ACTION_IDS]
    assert rendered.ids.dtype == np.int64
    assert np.flatnonzero(rendered.loss_mask).tolist() == [12, 23, 24, 25]
    q, a, i, x = TokenType.QUESTION, TokenType.ANSWER, TokenType.INSTRUCTION, TokenType.ACTION
    assert rendered.token_types.tolist() == [q] * 12 + [a] + [i] * 10 + [x] * 3
    assert rendered.token_types.dtype == np.uint8
    assert rendered.answer_spans == ((12, 13),)
    assert rendered.action_span == (23, 26)
    assert rendered.segment_spans == ((0, 12), (12, 13), (13, 23), (23, 26))
    assert len(rendered) == 26


def test_the_mask_marks_exactly_answers_and_action_whatever_they_are_made_of(pieces):
    dialogue = build_dialogue(INSTRUCTION, ["grasped", "up"])
    rendered = render(dialogue, pieces, ACTION_IDS)
    supervised = rendered.ids[rendered.loss_mask]
    assert pieces.decode(supervised[:-3]) == " grasped up"
    assert supervised[-3:].tolist() == ACTION_IDS
    assert pieces.decode(rendered.ids[~rendered.loss_mask]) == (
        "In which direction is the red cube relative to the robot?"
        "In which direction is the blue plate relative to the robot?"
        f"\nTask: {INSTRUCTION}"
    )
    for (start, stop), answer in zip(rendered.answer_spans, dialogue.answers, strict=True):
        assert pieces.decode(rendered.ids[start:stop]) == f" {answer}"
    is_supervised = np.isin(rendered.token_types, [TokenType.ANSWER, TokenType.ACTION])
    np.testing.assert_array_equal(rendered.loss_mask, is_supervised)


def test_answer_words_inside_a_question_or_instruction_are_not_supervised(pieces):
    """The official π0-FAST loss counts them: it searches the ids for them afterwards."""
    dialogue = build_dialogue("put the left cube on the right plate", ["up", "down"])
    rendered = render(dialogue, pieces, ACTION_IDS)
    assert pieces.decode(rendered.ids[rendered.loss_mask][:-3]) == " up down"


def dialogues():
    random = np.random.default_rng(0)
    for number in range(60):
        mode = MODES[number % len(MODES)]
        possible = canonical_answers(mode)
        answers = [possible[i] for i in random.integers(len(possible), size=2)]
        yield build_dialogue(
            INSTRUCTION,
            answers,
            mode=mode,
            question_position=("before", "after")[number % 2],
            template=list(TEMPLATES)[number % len(TEMPLATES)],
            state_text="1 2 3",
        )


def test_the_prompt_of_the_action_is_a_prefix_of_the_training_sequence(pieces):
    for dialogue in dialogues():
        whole = render(dialogue, pieces, ACTION_IDS)
        prompt = render(dialogue, pieces)
        np.testing.assert_array_equal(prompt.ids, whole.ids[: whole.action_span[0]])
        assert prompt.action_span is None


def test_other_answers_leave_all_before_them_as_it_is(pieces):
    for dialogue in dialogues():
        whole = render(dialogue, pieces)
        for number, (start, _) in enumerate(whole.answer_spans):
            answers = [*dialogue.answers[:number], *["grasped"] * (len(dialogue.mentions) - number)]
            other = render(dialogue.with_answers(answers), pieces)
            np.testing.assert_array_equal(other.ids[:start], whole.ids[:start])


def test_an_answer_that_is_not_known_is_named(pieces):
    for dialogue in dialogues():
        for answers, mention in (
            ([None, None], "the red cube"),
            ([dialogue.answers[0], None], "the blue plate"),
        ):
            with pytest.raises(InspireError, match=f"{mention}.*is not known"):
                render(dialogue.with_answers(answers), pieces, ACTION_IDS)


def test_segments_lie_end_to_end(pieces):
    for dialogue in dialogues():
        rendered = render(dialogue, pieces, ACTION_IDS)
        edges = [0, *(stop for _, stop in rendered.segment_spans)]
        assert [start for start, _ in rendered.segment_spans] == edges[:-1]
        assert edges[-1] == len(rendered) == len(rendered.loss_mask) == len(rendered.token_types)
        assert len(rendered.segment_spans) == len(dialogue.segments)


def test_another_answer_changes_its_own_ids_only(words):
    one = render(build_dialogue(INSTRUCTION, ["left", "down"]), words, ACTION_IDS)
    other = render(build_dialogue(INSTRUCTION, ["down", "down"]), words, ACTION_IDS)
    start, stop = one.answer_spans[0]
    assert np.flatnonzero(one.ids != other.ids).tolist() == list(range(start, stop))


def test_what_is_refused(words):
    dialogue = build_dialogue(INSTRUCTION, ["left", "down"])
    for wrong in ([], [[1, 2]], [0.5], 3):
        with pytest.raises(InspireError, match="action_ids"):
            render(dialogue, words, wrong)


@pytest.mark.parametrize("mode", ["direction", "direction_3d", "distance", "distance_fine"])
@pytest.mark.parametrize("template", list(TEMPLATES))
def test_answer_sequences_are_the_ids_answers_have_in_place(pieces, mode, template):
    allowed = answer_words(mode)
    sequences = answer_token_sequences(allowed, pieces, template)
    for word, sequence in zip(allowed, sequences, strict=True):
        dialogue = build_dialogue(INSTRUCTION, [word, None], mode=mode, template=template, state_text="0")
        whole = render(dialogue.with_answers([word, word]), pieces, ACTION_IDS)
        assert all(tuple(whole.ids[start:stop]) == sequence for start, stop in whole.answer_spans)


def test_some_answers_take_several_tokens_and_none_begins_another(pieces):
    sequences = answer_token_sequences(answer_words(), pieces, NANO_TEMPLATE)
    assert len({len(sequence) for sequence in sequences}) > 1
    assert not any(a != b and b[: len(a)] == a for a in sequences for b in sequences)


def test_answers_that_cannot_be_told_apart_are_refused(words, pieces):
    with pytest.raises(InspireError, match=r"'grasped' .* and 'graspedly'"):
        answer_token_sequences(["graspedly", "up", "grasped"], pieces)
    with pytest.raises(InspireError, match="cannot be told apart"):
        answer_token_sequences(["unheard", "unseen"], words)
    with pytest.raises(InspireError, match="no token at all"):
        answer_token_sequences([" "], words)


def test_the_cache_changes_nothing_but_the_time(pieces):
    cached = CachedTokenizer(pieces)
    dialogue = build_dialogue(INSTRUCTION, ["left", "down"])
    first = render(dialogue, cached, ACTION_IDS)
    calls = pieces.calls
    second = render(dialogue, cached, ACTION_IDS)
    assert pieces.calls == calls
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
    first.ids[:] = 0
    again = render(dialogue, cached, ACTION_IDS)
    np.testing.assert_array_equal(again.ids, second.ids)


def test_repeated_texts_stay_in_the_cache(words):
    """More texts than it holds, then one that came often and one that came late."""
    cached = CachedTokenizer(words)
    for number in range((1 << 16) + 100):
        cached.encode(f"red {number}")
        cached.encode("blue")
    calls = words.calls
    cached.encode("blue")
    cached.encode(f"red {(1 << 16) + 99}")
    assert words.calls == calls
    cached.encode("red 0")
    assert words.calls == calls + 1


def test_texts_with_the_robot_state_are_not_cached(pieces):
    """π0-FAST writes it with the instruction, other numbers each time; questions stay in the cache."""
    cached = CachedTokenizer(pieces)
    sizes = set()
    for number in range(5):
        dialogue = build_dialogue(
            INSTRUCTION, ["left", "down"], template="pi0_fast", state_text=f"{number} 2"
        )
        np.testing.assert_array_equal(render(dialogue, cached).ids, render(dialogue, pieces).ids)
        sizes.add(cached._cached.cache_info().currsize)
    assert len(sizes) == 1


def test_a_new_template_is_a_few_strings(pieces):
    mine = Template("mine", question="Q: {question} A:", instruction=" Do: {instruction} =>", action_end=".")
    rendered = render(build_dialogue(INSTRUCTION, ["left", "down"], template=mine), pieces, ACTION_IDS)
    assert pieces.decode(rendered.ids[rendered.loss_mask][:-3]) == " left down"
    assert rendered.token_types[-1] == TokenType.TEXT
    assert not rendered.loss_mask[-1]
