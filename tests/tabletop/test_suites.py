"""The suites as data: counts, names, mentions, and what is unseen about the unseen."""

import re
from collections import Counter

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.tabletop.benchmark import TabletopBenchmark, find_task
from inspire_vla.tabletop.collection import MAX_OBJECTS
from inspire_vla.tabletop.places import mirrored
from inspire_vla.tabletop.scenes import SCENES
from inspire_vla.tabletop.suites import GROUPS, SUITES
from inspire_vla.tabletop.tasks import All, Beside, On, mention, move_beside

TASKS = [task for tasks in SUITES.values() for task in tasks]
SEEN = SUITES["tabletop_seen"]


def _goals(task):
    return task.goal.goals if isinstance(task.goal, All) else (task.goal,)


def _moves(task):
    """(object, where it goes) of each step that moves one."""
    return [
        (goal.obj, (goal.side, goal.reference) if isinstance(goal, Beside) else goal.receptacle)
        for goal in _goals(task) if isinstance(goal, On | Beside)
    ]  # fmt: skip


def _look(name):
    return "_".join(name.split("_")[:2])


def test_as_many_tasks_and_scenes_as_promised():
    assert len(SEEN) >= 40
    assert len({task.scene.name for task in SEEN}) >= 15
    for suite in ("spatial", "object", "goal", "long"):
        assert len(SUITES[f"tabletop_{suite}"]) >= 8
    assert len(SUITES["tabletop_validation"]) == len(SEEN)
    assert max(len(task.mentions) for task in TASKS) == MAX_OBJECTS


@pytest.mark.parametrize("suite", SUITES)
def test_names_are_unique_and_carry_their_suite(suite):
    tasks = SUITES[suite]
    assert len({task.name for task in tasks}) == len(tasks)
    assert {task.suite for task in tasks} == {suite}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.suite}-{task.name}")
def test_mentions_are_what_the_instruction_names(task):
    assert task.mentions == find_mentions(task.instruction)
    for target in task.targets:
        assert target.removesuffix("_handle") in task.scene.objects


def test_object_suite_moves_what_no_seen_task_moves():
    moved = {_look(obj) for task in SEEN for obj, _ in _moves(task)}
    trained = {task.scene for task in SEEN}
    for task in SUITES["tabletop_object"]:
        assert task.scene in trained
        assert not moved & {_look(obj) for obj, _ in _moves(task)}


def test_goal_suite_pairs_known_objects_and_places_anew():
    pairs = {(task.scene, pair) for task in SEEN for pair in _moves(task)}
    objects = {(task.scene, obj) for task in SEEN for obj, _ in _moves(task)}
    places = {(task.scene, place) for task in SEEN for _, place in _moves(task)}
    for task in SUITES["tabletop_goal"]:
        for obj, place in _moves(task):
            assert (task.scene, (obj, place)) not in pairs
            assert (task.scene, obj) in objects
            assert (task.scene, place) in places


def test_spatial_and_validation_scenes_are_not_trained_on():
    trained = {task.scene for task in SEEN}
    for suite in ("spatial", "validation", "validation_spatial", "validation_long"):
        assert not trained & {task.scene for task in SUITES[f"tabletop_{suite}"]}


@pytest.mark.parametrize("suite", ["tabletop_spatial", "tabletop_validation_spatial"])
def test_spatial_tasks_tell_duplicates_apart_in_words_that_no_seen_task_has(suite):
    trained = {words for task in SEEN for words in task.mentions}
    for task in SUITES[suite]:
        ((obj, to),) = _moves(task)
        (mention,) = [words for words, name in task.grounding if task.scene.equals(name)]
        assert mention in (task.mentions[0] if task.scene.equals(obj) else task.mentions[1])
        assert len(task.scene.equals(obj) or task.scene.equals(to)) == 1
        assert mention not in trained


def test_what_spatial_and_long_need_is_trained_with_other_objects():
    """Every way to tell duplicates apart, and every form of a sentence with two steps."""
    forms = lambda suite: {form for task in SUITES[suite] for form in _forms(task)}  # noqa: E731
    assert forms("tabletop_spatial") <= forms("tabletop_seen")
    assert forms("tabletop_long") <= forms("tabletop_seen")


def _forms(task):
    """Words of an instruction that are no names of objects."""
    text = task.instruction
    for name in sorted(task.scene.objects, key=len, reverse=True):
        text = text.replace(" ".join(name.split("_")[:2]), "X")
    words = re.findall(r"next to|at the \w+|on the (?:left|right)|(?<=the )(?:left|right|middle)", text)
    steps = re.findall(r"both|and close it|and put X? ?.*it$|X and put the X", text)
    return [*words, *steps]


def test_long_tasks_are_known_steps_never_seen_together():
    alone = {(task.scene.name, goal) for task in SEEN for goal in _goals(task)}
    together = {(task.scene.name, task.goal) for task in SEEN}
    steps = [(task.scene.name, goal) for task in SUITES["tabletop_long"] for goal in _goals(task)]
    unknown = [step for step in steps if step not in alone]
    assert [goal.obj for _, goal in unknown] == ["red_cube"]  # into a drawer that another object was put into
    for task in SUITES["tabletop_long"]:
        assert len(task.goal.goals) == 2
        assert task.max_steps == 2 * SEEN[0].max_steps
        assert (task.scene.name, task.goal) not in together


def test_reversed_long_tasks_ask_the_same_with_the_steps_named_in_the_other_order():
    by_goals = {(task.scene, frozenset(task.goal.goals)): task for task in SUITES["tabletop_long"]}
    assert len(SUITES["tabletop_long_reversed"]) == 8
    for task in SUITES["tabletop_long_reversed"]:
        original = by_goals[task.scene, frozenset(task.goal.goals)]
        assert task.goal.goals == original.goal.goals[::-1]
        assert sorted(task.mentions) == sorted(original.mentions)
        assert task.instruction != original.instruction


def test_mirrored_instructions_are_true_of_the_mirrored_scenes():
    """The same tasks with left and right exchanged, in the words as in the layouts."""
    exchanged = Counter()
    for task, flipped in zip(SEEN, SUITES["tabletop_validation"], strict=True):
        assert flipped.scene == task.scene.mirrored(flipped.scene.name)
        assert flipped.targets == task.targets
        assert re.sub("left|right", lambda m: mirrored(m[0]), task.instruction) == flipped.instruction
        exchanged[task.instruction != flipped.instruction] += 1
    assert exchanged[True] >= 8


def test_duplicates_have_no_mention_without_a_place():
    scene = SCENES["cubes"]
    assert mention(scene, "green_cube_1") == "the right green cube"
    assert mention(scene, "green_cube_1", noun_first=True) == "the green cube on the right"
    with pytest.raises(InspireError, match="no neighbour"):
        mention(scene, "green_cube_1", by="neighbour")
    with pytest.raises(InspireError, match="no spot free"):
        move_beside(scene, "black_mug", "back", "yellow_plate")


def test_unknown_names_are_answered_with_the_possible_ones():
    benchmark = TabletopBenchmark()
    with pytest.raises(InspireError, match="Did you mean 'tabletop_seen'"):
        benchmark.tasks("tabletop_sen")
    with pytest.raises(InspireError, match="Possible"):
        benchmark.make("tabletop_seen", "fly")
    assert find_task("tabletop_seen", SEEN[0].name) is SEEN[0]
    assert find_task("tabletop_seen", SEEN[0].instruction) is SEEN[0]


def test_every_suite_that_is_reported_has_a_role_in_the_protocol():
    assert set(SUITES) - set(GROUPS) == {"tabletop_long_reversed"}  # for analysis
    assert GROUPS["tabletop_seen"] == "seen"
    assert {suite for suite, group in GROUPS.items() if group == "unseen"} == {
        f"tabletop_{name}" for name in ("spatial", "object", "goal", "long")
    }
