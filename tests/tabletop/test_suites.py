"""The suites as data: counts, names, mentions, and what is unseen about the unseen."""

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.tabletop.benchmark import TabletopBenchmark, find_task
from inspire_vla.tabletop.suites import GROUPS, SUITES
from inspire_vla.tabletop.tasks import All, In, On

TASKS = [task for tasks in SUITES.values() for task in tasks]
SEEN = SUITES["tabletop_seen"]


def _moves(task):
    goals = task.goal.goals if isinstance(task.goal, All) else (task.goal,)
    return [(goal.obj, goal.receptacle) for goal in goals if isinstance(goal, On | In)]


def test_as_many_tasks_and_scenes_as_promised():
    assert len(SEEN) >= 24
    assert len({task.scene.name for task in SEEN}) >= 6
    for suite in ("spatial", "object", "goal", "long"):
        assert len(SUITES[f"tabletop_{suite}"]) >= 6
    assert len(SUITES["tabletop_validation"]) == len(SEEN)


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
    moved = {obj for task in SEEN for obj, _ in _moves(task)}
    assert not moved & {obj for task in SUITES["tabletop_object"] for obj, _ in _moves(task)}


def test_goal_suite_pairs_known_objects_and_receptacles_anew():
    pairs = {(task.scene, pair) for task in SEEN for pair in _moves(task)}
    objects = {obj for task in SEEN for obj, _ in _moves(task)}
    receptacles = {receptacle for task in SEEN for _, receptacle in _moves(task)}
    for task in SUITES["tabletop_goal"]:
        for obj, receptacle in _moves(task):
            assert (task.scene, (obj, receptacle)) not in pairs
            assert obj in objects
            assert receptacle in receptacles


def test_spatial_and_validation_scenes_are_not_trained_on():
    trained = {task.scene for task in SEEN}
    for suite in ("tabletop_spatial", "tabletop_validation"):
        assert not trained & {task.scene for task in SUITES[suite]}


def test_spatial_tasks_have_a_duplicate_as_distractor():
    for task in SUITES["tabletop_spatial"]:
        ((obj, _),) = _moves(task)
        stem = obj.rsplit("_", 1)[0]
        assert sum(name.startswith(stem) for name in task.scene.objects) == 2


def test_long_tasks_have_two_steps_and_twice_the_time():
    for task in SUITES["tabletop_long"]:
        assert len(task.goal.goals) == 2
        assert task.max_steps == 2 * SEEN[0].max_steps


def test_unknown_names_are_answered_with_the_possible_ones():
    benchmark = TabletopBenchmark()
    with pytest.raises(InspireError, match="Did you mean 'tabletop_seen'"):
        benchmark.tasks("tabletop_sen")
    with pytest.raises(InspireError, match="Possible"):
        benchmark.make("tabletop_seen", "fly")
    assert find_task("tabletop_seen", SEEN[0].name) is SEEN[0]
    assert find_task("tabletop_seen", SEEN[0].instruction) is SEEN[0]


def test_every_suite_has_a_role_in_the_protocol():
    assert set(GROUPS) == set(SUITES)
    assert [suite for suite, group in GROUPS.items() if group != "unseen"] == [
        "tabletop_seen",
        "tabletop_validation",
    ]
