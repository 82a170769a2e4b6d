"""The split of LIBERO-90: the file holds what the rule says, and the rule does what it says."""

import pytest

from inspire_vla.files import read_json
from inspire_vla.libero.expert import unsupported_reason
from inspire_vla.libero.installation import LiberoMissing
from inspire_vla.libero.split import (
    MIN_IN_SCENE,
    ONE_IN,
    SMALL_TRAIN,
    goal_kinds,
    held_out,
    scene_of,
    small_held_out,
)
from inspire_vla.libero.tasks import SPLIT_FILE, instruction_of, read_problem, task_files

SPLIT = read_json(SPLIT_FILE, dict[str, list[str]])
TRAIN, HELD_OUT = SPLIT["libero_90_train"], SPLIT["libero_90_heldout"]


@pytest.fixture(scope="module")
def goals():
    try:
        files = {path.stem: path for path in task_files("libero_90")}
    except LiberoMissing as error:
        pytest.skip(str(error))
    return {task: goal_kinds(read_problem(files[task])) for task in (*TRAIN, *HELD_OUT)}


def test_the_file_holds_one_task_in_six():
    assert not set(TRAIN) & set(HELD_OUT)
    assert len(HELD_OUT) == (len(TRAIN) + len(HELD_OUT)) // ONE_IN


def test_every_held_out_task_is_known_in_parts_and_new_as_a_whole(goals):
    pairs = set().union(*(goals[task] for task in TRAIN))
    for task in HELD_OUT:
        assert sum(scene_of(task) == scene_of(other) for other in TRAIN) >= MIN_IN_SCENE, task
        for moved, destination in goals[task]:
            assert moved in {one for one, _ in pairs}, task
            assert destination in {other for _, other in pairs}, task
            assert (moved, destination) not in pairs, task


def test_the_file_is_what_the_rule_says(goals):
    assert held_out(goals) == HELD_OUT
    assert held_out(dict(reversed(goals.items()))) == HELD_OUT, "the order of the tasks does not matter"


def test_the_small_experiment_is_a_part_of_the_training_tasks(goals):
    """So it tells nothing about the tasks that the large experiment holds out."""
    small_train, small = SPLIT["libero_90_small_train"], SPLIT["libero_90_small_heldout"]
    assert tuple(small_train) == SMALL_TRAIN
    assert small == small_held_out({task: goals[task] for task in TRAIN})
    assert not set(small) & set(small_train)
    assert set(small) | set(small_train) <= set(TRAIN)


def test_a_held_out_task_of_the_small_experiment_is_in_a_known_scene_and_known_in_parts():
    a, b, c = "KITCHEN_SCENE1_a", "KITCHEN_SCENE1_b", "STUDY_SCENE1_c"
    goals = {
        a: frozenset({("bowl", "on plate")}),
        c: frozenset({("mug", "in basket")}),
        b: frozenset({("mug", "on plate")}),
        "KITCHEN_SCENE1_new_destination": frozenset({("mug", "on stove")}),
        "KITCHEN_SCENE1_new_object": frozenset({("book", "on plate")}),
        "KITCHEN_SCENE2_new_scene": frozenset({("mug", "on plate")}),
    }
    assert small_held_out(goals, [a, c]) == [b]


def test_the_suites_are_parts_of_libero_90_that_the_expert_can_do(goals):
    for suite, names in SPLIT.items():
        files = task_files(suite)
        assert [path.stem for path in files] == sorted(names)
        for path in files:
            assert unsupported_reason(read_problem(path), instruction_of(path)) is None


def test_a_task_that_is_the_only_one_of_its_kind_is_never_held_out():
    goals = {
        f"KITCHEN_SCENE1_{i}": frozenset({(thing, "on plate"), (thing, "on stove")})
        for i, thing in enumerate("abcdef")
    }
    assert held_out(goals) == [], "each object is moved by one task alone"
