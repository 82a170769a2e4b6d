"""The suites as data: counts, names, mentions, and what is unseen about the unseen."""

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.tabletop.benchmark import TabletopBenchmark
from inspire_vla.tabletop.predicates import All, In, On
from inspire_vla.tabletop.suites import SUITES

TASKS = [task for tasks in SUITES.values() for task in tasks]
SEEN = SUITES["tabletop_seen"]


def _moves(task):
    goals = task.goal.goals if isinstance(task.goal, All) else (task.goal,)
    return [(g.thing, g.on if isinstance(g, On) else g.inside) for g in goals if isinstance(g, On | In)]


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
    assert task.words == find_mentions(task.instruction)
    for target in task.targets:
        thing = target.removesuffix("_handle")
        assert thing in task.scene.things


def test_object_suite_moves_what_no_seen_task_moves():
    moved = {thing for task in SEEN for thing, _ in _moves(task)}
    assert not moved & {thing for task in SUITES["tabletop_object"] for thing, _ in _moves(task)}


def test_goal_suite_pairs_known_things_and_places_anew():
    pairs = {(task.scene, pair) for task in SEEN for pair in _moves(task)}
    things = {thing for task in SEEN for thing, _ in _moves(task)}
    places = {place for task in SEEN for _, place in _moves(task)}
    for task in SUITES["tabletop_goal"]:
        for thing, place in _moves(task):
            assert (task.scene, (thing, place)) not in pairs
            assert thing in things
            assert place in places


def test_spatial_and_validation_scenes_are_not_trained_on():
    trained = {task.scene for task in SEEN}
    for suite in ("tabletop_spatial", "tabletop_validation"):
        assert not trained & {task.scene for task in SUITES[suite]}


def test_spatial_tasks_have_a_twin_to_mistake():
    for task in SUITES["tabletop_spatial"]:
        ((thing, _),) = _moves(task)
        stem = thing.rsplit("_", 1)[0]
        assert sum(name.startswith(stem) for name in task.scene.things) == 2


def test_long_tasks_have_two_steps_and_twice_the_time():
    for task in SUITES["tabletop_long"]:
        assert len(task.goal.goals) == 2
        assert task.max_steps == 2 * SEEN[0].max_steps


def test_unknown_names_are_answered_with_the_possible_ones():
    benchmark = TabletopBenchmark()
    with pytest.raises(InspireError, match="Did you mean 'tabletop_seen'"):
        benchmark.tasks("tabletop_sen")
    with pytest.raises(InspireError, match="Possible"):
        benchmark.task("tabletop_seen", "fly")
    assert benchmark.task("tabletop_seen", SEEN[0].name) is SEEN[0]
    assert benchmark.task("tabletop_seen", SEEN[0].instruction) is SEEN[0]
