"""The script behind a section of docs/results.md."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from inspire_vla.instruction import split_steps
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.suites import SUITES
from inspire_vla.tabletop.tasks import All

SCRIPT = Path(__file__).parents[2] / "scripts" / "one_step_at_a_time.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("one_step_at_a_time", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_steps_together_are_the_task(script: ModuleType) -> None:
    seen = {(task.scene.name, task.goal) for task in SUITES["tabletop_seen"]}
    done_alone = 0
    for task in SUITES["tabletop_long"]:
        steps = script.steps_of(task)
        assert All(tuple(step.goal for step in steps)) == task.goal
        assert tuple(step.instruction for step in steps) == split_steps(task.instruction)
        done_alone += sum((step.scene.name, step.goal) in seen for step in steps)
    assert done_alone >= 18  # of 20


@pytest.mark.parametrize("switch", ["truth", "gripper"])
@pytest.mark.parametrize("number", [0, 3, 8, 9])
def test_the_instruction_changes_when_the_first_step_is_done(
    script: ModuleType, switch: str, number: int
) -> None:
    """Played by the expert: put both, two steps, open and put in, put in and close."""
    task = SUITES["tabletop_long"][number]
    env = script.OneStepAtATime(task, switch=switch, cameras=())
    _, info = env.reset(seed=3)
    first, second = (step.instruction for step in env.parts)
    expert, instructions, goals = Expert(env), [info["task"]], [info["goals"]]
    assert info["mentions"] == env.parts[0].mentions
    while not info["is_success"]:
        *_, truncated, info = env.step(expert.action())
        assert not truncated
        instructions.append(info["task"])
        goals.append(info["goals"])
    changed = instructions.index(second)
    assert set(instructions[:changed]) == {first}
    assert set(instructions[changed:]) == {second}
    assert goals[changed][0]
    assert not goals[changed][1]
    assert info["mentions"] == env.parts[1].mentions
