import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inspire_vla import InstructionSequence
from inspire_vla.errors import InspireError

FIRST, SECOND = "put the mug on the tray", "put the ball in the bowl"
AWAY, HELD = {"the mug": "left", "the tray": "front"}, {"the mug": "grasped", "the tray": "down"}


def played(sequence: InstructionSequence, *decisions: dict[str, str]) -> list[str]:
    """The instruction in force after each decision."""
    found = []
    for answers in decisions:
        sequence.update(answers)
        found.append(sequence.instruction)
    return found


def test_the_next_instruction_begins_when_the_object_was_held_and_let_go():
    tasks = InstructionSequence(FIRST, SECOND)
    assert played(tasks, AWAY, HELD, HELD, AWAY) == [FIRST] * 4
    assert played(tasks, AWAY) == [SECOND]
    assert not tasks.finished
    assert played(tasks, AWAY, HELD, HELD, AWAY, AWAY) == [SECOND] * 5
    assert tasks.finished


def test_an_answer_that_is_wrong_once_changes_nothing():
    tasks = InstructionSequence(FIRST, SECOND)
    assert set(played(tasks, AWAY, HELD, AWAY, AWAY, AWAY)) == {FIRST}  # never held twice in a row
    assert set(played(tasks, HELD, HELD, AWAY, HELD, AWAY)) == {FIRST}  # let go for one decision


def test_how_long_an_object_is_held_can_be_set():
    tasks = InstructionSequence(FIRST, SECOND, held=1, released=3)
    assert played(tasks, HELD, AWAY, AWAY, AWAY) == [FIRST, FIRST, FIRST, SECOND]


def test_a_step_without_a_grasp_is_ended_by_the_caller():
    tasks = InstructionSequence("close the drawer", SECOND)
    assert tasks.advance()
    assert tasks.instruction == SECOND
    assert tasks.advance()
    assert tasks.finished
    assert not tasks.advance()
    assert tasks.instruction == SECOND


def test_the_gripper_may_tell_in_place_of_the_answers():
    tasks = InstructionSequence(FIRST, SECOND)
    assert [tasks.update(AWAY, holding=held) for held in (True, True, False, False)] == [False] * 3 + [True]
    assert [tasks.update(holding=held) for held in (True, True, False, False)] == [False] * 3 + [True]
    assert tasks.finished


def test_the_documented_loop_runs_as_it_is_printed():
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    (loop,) = (
        code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "InstructionSequence(" in code
    )
    seen, played = [], []

    class Agent:
        def act(self, observation: int, instruction: str) -> Any:
            asked = seen.count(instruction)
            seen.append(instruction)
            return SimpleNamespace(answers_by_mention=HELD if 1 <= asked <= 2 else AWAY, actions=observation)

    exec(loop, {"agent": Agent(), "observe": lambda: len(seen), "play": played.append})
    first, second = "put the red mug on the tray", "put the blue ball on the tray"
    assert seen == [first] * 5 + [second] * 5
    assert played == list(range(10))


def test_bad_input_is_refused():
    with pytest.raises(InspireError, match=r"none empty; found \[\]"):
        InstructionSequence()
    with pytest.raises(InspireError, match="none empty"):
        InstructionSequence(FIRST, " ")
    with pytest.raises(InspireError, match="each a text of its own"):
        InstructionSequence([FIRST, SECOND])  # type: ignore[arg-type]
    with pytest.raises(InspireError, match="found 0 and 2"):
        InstructionSequence(FIRST, held=0)
    with pytest.raises(InspireError, match="base model"):
        InstructionSequence(FIRST).update({})
