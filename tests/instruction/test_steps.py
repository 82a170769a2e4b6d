"""The steps of long instructions, each in words of its own, or a refusal."""

from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import NoObjectFound, read_instruction, split_steps
from inspire_vla.tabletop.benchmark import tasks_of

DATA = Path(__file__).parent / "data"


def sentences(name: str) -> list[str]:
    """The lines of a data file that hold a sentence."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if " -> " in line and not line.startswith("#")]


@pytest.mark.parametrize("line", sentences("steps.txt"))
def test_steps_are_said_in_words_of_their_own(line: str) -> None:
    sentence, steps = line.split(" -> ")
    assert split_steps(sentence) == tuple(steps.split(" | "))
    assert all(split_steps(step) == (step,) for step in steps.split(" | "))


@pytest.mark.parametrize(
    "sentence",
    [
        "Pick up the cup, and place it in the box.",
        "take the red block and rotate it to the right",
        "use the switch to turn on the lamp",
        "push the handle to close the drawer",
        "in the drawer, put the block",
        "don't touch the knife, pick up the spoon",
    ],
)
def test_what_is_one_step_stays_as_it_is_written(sentence: str) -> None:
    assert split_steps(sentence) == (sentence,)


@pytest.mark.parametrize(
    "sentence",
    [
        "swap the cup with the bowl",
        "put the apple in the box and everything else in the bin",
        "ensure that the green mug is inside the oven and the door is closed",
    ],
)
def test_steps_that_cannot_be_said_alone_are_refused(sentence: str) -> None:
    with pytest.raises(InspireError, match="Give the steps yourself"):
        split_steps(sentence)


def test_a_sentence_without_an_object_is_refused() -> None:
    with pytest.raises(NoObjectFound):
        split_steps("clean up")


def test_no_object_of_a_sentence_is_lost_in_its_steps() -> None:
    """For every sentence of the tests and of the tabletop that is split at all."""
    known = [
        line.split(" -> ")[0]
        for name in ("people.txt", "libero.txt", "others.txt")
        for line in sentences(name)
    ]
    known += [task.instruction for suite in ("tabletop_seen", "tabletop_long") for task in tasks_of(suite)]
    several = 0
    for sentence in known:
        try:
            reading, steps = read_instruction(sentence), split_steps(sentence)
        except InspireError:
            continue
        of_steps = {
            mention.removeprefix("top of ") for step in steps for mention in read_instruction(step).mentions
        }
        mentions = {
            reading.mentions[i] for act in reading.acts for i in (act.target, *act.places) if i is not None
        }
        assert {mention.removeprefix("top of ") for mention in mentions} <= of_steps, sentence
        several += len(steps) > 1
    assert several > 35
