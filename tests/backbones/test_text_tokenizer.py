"""The shipped tokenizer: words are single tokens, questions are short, and every text round-trips."""

import numpy as np
import pytest

from inspire_vla.backbones.text_tokenizer import (
    BOS,
    EOS,
    FOLDER,
    PAD,
    WORDS,
    build_text_tokenizer,
    load_text_tokenizer,
)
from inspire_vla.dialogue import answer_token_sequences, build_dialogue, question, render
from inspire_vla.spatial import MODES, answer_words, canonical_answers

TABLETOP = [
    "pick up the red cube and place it on the blue plate",
    "put the yellow ball in the basket",
    "put the green mug in the top drawer of the cabinet",
    "pick up the red cube next to the white bowl and place it on the plate",
    "close the bottom drawer of the cabinet",
    "open the top drawer of the cabinet and put the red cube in it",
    "put the blue cylinder on top of the cabinet",
    "stack the red cube on the blue cube",
    "push the yellow cube to the left of the plate",
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_text_tokenizer()


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def test_it_is_built_from_its_word_lists_and_small(tokenizer):
    built = build_text_tokenizer()
    assert built.get_vocab() == tokenizer.get_vocab()
    assert built.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert len(tokenizer) <= 512
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 100_000


def test_special_tokens_come_first(tokenizer):
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == (PAD, BOS, EOS)
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.encode("left") == ids(tokenizer, "left")  # no special token is added


def test_every_word_and_every_part_of_every_answer_is_one_token(tokenizer):
    answers = {part for mode in MODES for answer in canonical_answers(mode) for part in answer.split()}
    for word in (*WORDS, *answers):
        assert len(ids(tokenizer, f" {word}")) == 1, word


@pytest.mark.parametrize("mode", MODES)
def test_answers_take_as_many_tokens_as_parts_and_single_words_one(tokenizer, mode):
    allowed = answer_words(mode)
    sequences = answer_token_sequences(allowed[:500], tokenizer)
    assert [len(sequence) for sequence in sequences] == [len(word.split()) for word in allowed[:500]]


@pytest.mark.parametrize(
    ("mode", "mention"), [(mode, mention) for mode in MODES for mention in ("the red cube", "a mug")]
)
def test_a_question_takes_few_tokens(tokenizer, mode, mention):
    assert len(ids(tokenizer, question(mention, mode))) <= 5


@pytest.mark.parametrize("instruction", TABLETOP)
def test_an_instruction_of_the_benchmark_takes_one_token_per_word(tokenizer, instruction):
    assert len(ids(tokenizer, f"\nTask: {instruction}")) == len(instruction.split()) + 1


def test_exact_tokens_of_a_dialogue(tokenizer):
    dialogue = build_dialogue("put the red cube on the plate", ["left", "grasped"])
    tokens = tokenizer.convert_ids_to_tokens(render(dialogue, tokenizer).ids.tolist())
    assert "|".join(tokens).replace("Ġ", " ").replace("Ċ", "\n") == (
        "In which direction is the| red| cube| relative to the robot?| left|"
        "In which direction is the| plate| relative to the robot?| grasped|"
        "\nTask:| put| the| red| cube| on| the| plate"
    )


def test_every_text_round_trips(tokenizer):
    random = np.random.default_rng(0)
    letters = [*"abcxyzTIn ?.,:-'0123456789\n\t_éñß漢字🤖\u00a0\u200b\"", " the", "In which direction is"]
    texts = ["".join(random.choice(letters, size=random.integers(1, 40))) for _ in range(300)]
    texts += [
        "  two  spaces ",
        "In which direction is these",
        "-3 --4 - 5",
        "10 -10 3.14",
        "don't",
        "red redder",
        "\x00\x7f",
    ]
    texts += [question(mention, mode) for mode in MODES for mention in ("the zebra", "it", "top of x?")]
    for text in texts:
        assert tokenizer.decode(ids(tokenizer, text)) == text


def test_an_unknown_word_becomes_its_bytes(tokenizer):
    zebra = ids(tokenizer, " zebra")
    assert tokenizer.convert_ids_to_tokens(zebra) == ["Ġ", "z", "e", "b", "r", "a"]
    assert len(ids(tokenizer, "漢")) == 3
    assert tokenizer.unk_token is None
