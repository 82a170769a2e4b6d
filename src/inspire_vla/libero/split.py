"""Which tasks of LIBERO-90 are held out of training: a fixed rule, and its result as the suites of SPLIT_FILE.

    python -m inspire_vla.libero.split            prints the rule's result
    python -m inspire_vla.libero.split --write    writes SPLIT_FILE; not after a training was begun

The rule goes through the tasks that the scripted expert can do, in the order of the SHA-256 of their names. A task is
held out if

- its scene has at least MIN_IN_SCENE other tasks in training,
- each object that it moves is moved by another task in training, and each destination is that of another one,
- no task in training moves the same object to the same destination,
- all of that stays true for the tasks held out before.

It ends when one in ONE_IN tasks is held out. Objects and destinations are compared by their kinds, such as
"akita_black_bowl" and "wooden_cabinet top_region".

The small experiment trains on SMALL_TRAIN alone. Its held-out tasks are the other ones of libero_90_train in the same
scenes, whose objects and destinations all occur in SMALL_TRAIN. Often it asks for something else in that scene.
"""

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from inspire_vla.files import write_json
from inspire_vla.libero.expert import unsupported_reason
from inspire_vla.libero.tasks import SPLIT_FILE, Problem, instruction_of, read_problem, task_files

ONE_IN = 6
MIN_IN_SCENE = 2
SMALL_TRAIN = (
    "KITCHEN_SCENE1_put_the_black_bowl_on_the_plate",
    "KITCHEN_SCENE2_put_the_black_bowl_at_the_back_on_the_plate",
    "KITCHEN_SCENE2_put_the_middle_black_bowl_on_top_of_the_cabinet",
    "KITCHEN_SCENE2_stack_the_middle_black_bowl_on_the_back_black_bowl",
    "LIVING_ROOM_SCENE1_pick_up_the_tomato_sauce_and_put_it_in_the_basket",
    "LIVING_ROOM_SCENE2_pick_up_the_alphabet_soup_and_put_it_in_the_basket",
    "LIVING_ROOM_SCENE2_pick_up_the_butter_and_put_it_in_the_basket",
    "LIVING_ROOM_SCENE3_pick_up_the_ketchup_and_put_it_in_the_tray",
    "STUDY_SCENE1_pick_up_the_yellow_and_white_mug_and_place_it_to_the_right_of_the_caddy",
    "STUDY_SCENE2_pick_up_the_book_and_place_it_in_the_back_compartment_of_the_caddy",
)
"""The tasks of the pilot in docs/appendix/libero_protocol.md, sorted."""


def goal_kinds(problem: Problem) -> frozenset[tuple[str, str]]:
    """Return the task's goal as (kind of object, kind of destination), one for each predicate."""
    return frozenset(
        (_kind(problem, subject), " ".join([predicate, *(_kind(problem, name) for name in others)]))
        for predicate, subject, *others in problem.goal
    )


def _kind(problem: Problem, name: str) -> str:
    kinds = problem.objects | problem.fixtures
    owner = problem.regions.get(name)
    if owner is None:
        return kinds[name]
    return f"{kinds.get(owner, owner)} {name.removeprefix(owner).strip('_')}"


def scene_of(task: str) -> str:
    """Return the scene in a task's name, such as KITCHEN_SCENE1."""
    match = re.match(r"[A-Z_]+SCENE\d+", task)
    assert match is not None, task
    return match.group()


def held_out(goals: dict[str, frozenset[tuple[str, str]]]) -> list[str]:
    """Apply the rule to {task: goal_kinds}. Returns the names of the held-out tasks, sorted."""
    train, chosen = dict(goals), list[str]()
    for task in sorted(goals, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if len(chosen) >= len(goals) // ONE_IN:
            break
        rest = {name: goal for name, goal in train.items() if name != task}
        if all(_known_in_parts(one, goals[one], rest) for one in (*chosen, task)):
            train, chosen = rest, [*chosen, task]
    return sorted(chosen)


def _known_in_parts(
    task: str, goal: frozenset[tuple[str, str]], train: dict[str, frozenset[tuple[str, str]]]
) -> bool:
    pairs = set().union(*train.values())
    objects, destinations = {one for one, _ in pairs}, {other for _, other in pairs}
    in_scene = sum(scene_of(name) == scene_of(task) for name in train)
    return (
        in_scene >= MIN_IN_SCENE
        and all(one in objects and other in destinations for one, other in goal)
        and not goal & pairs
    )


def small_held_out(
    goals: dict[str, frozenset[tuple[str, str]]], train: Sequence[str] = SMALL_TRAIN
) -> list[str]:
    """Return the held-out tasks of the small experiment, sorted.

    Args:
        goals: {task: goal_kinds} of the tasks to choose from, and of those trained on.
        train: the tasks trained on.
    """
    scenes = {scene_of(task) for task in train}
    pairs = set().union(*(goals[task] for task in train))
    objects, destinations = {one for one, _ in pairs}, {other for _, other in pairs}
    return sorted(
        task
        for task, goal in goals.items()
        if task not in train
        and scene_of(task) in scenes
        and all(one in objects and other in destinations for one, other in goal)
    )


def compute_split() -> dict[str, list[str]]:
    """Return {suite: names of its tasks} by the rules, for the tasks of LIBERO-90 that the expert can do."""
    goals = {
        path.stem: goal_kinds(read_problem(path))
        for path in task_files("libero_90")
        if unsupported_reason(read_problem(path), instruction_of(path)) is None
    }
    chosen = held_out(goals)
    train = {task: goal for task, goal in goals.items() if task not in chosen}
    return {
        "libero_90_train": sorted(train),
        "libero_90_heldout": chosen,
        "libero_90_small_train": list(SMALL_TRAIN),
        "libero_90_small_heldout": small_held_out(train),
    }


def main(arguments: Sequence[str]) -> None:
    """Print the split by the rule; with "--write" among the arguments, write it to SPLIT_FILE too.

    Raises LiberoMissing if LIBERO-90's tasks are not installed.
    """
    split = compute_split()
    for suite, tasks in split.items():
        print(f"{suite}: {len(tasks)} tasks", *tasks, sep="\n  ")
    if "--write" in arguments:
        write_json(Path(SPLIT_FILE), split)


if __name__ == "__main__":
    main(sys.argv[1:])
