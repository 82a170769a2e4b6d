"""Every mention of LIBERO's 130 tasks is grounded in its scene, without LIBERO's code."""

import json

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.libero.grounding import check_mapping, ground, read_mapping
from inspire_vla.libero.installation import LiberoMissing, bddl_folder
from inspire_vla.libero.tasks import SUITES, instruction_of, read_problem, task_files

SMALL = """
(define (problem KITCHEN) (:domain robosuite) (:language put it)
  (:regions (top_region (:target wooden_cabinet_1)) (middle_region (:target wooden_cabinet_1))
            (top_side (:target wooden_cabinet_1)) (plate_right_region (:target main_table) (:ranges ((0 0 1 1)))))
  (:fixtures main_table - table wooden_cabinet_1 - wooden_cabinet)
  (:objects akita_black_bowl_1 akita_black_bowl_2 - akita_black_bowl plate_1 - plate)
  (:obj_of_interest akita_black_bowl_2)
  (:init (On plate_1 main_table_plate_region))
  (:goal (And %s)))
"""


@pytest.fixture
def problem(tmp_path):
    def make(goal):
        path = tmp_path / f"{abs(hash(goal))}.bddl"
        path.write_text(SMALL % goal)
        return read_problem(path)

    return make


@pytest.fixture(scope="module")
def libero_files():
    try:
        bddl_folder()
    except LiberoMissing as error:
        pytest.skip(str(error))
    return [(suite, path) for suite in SUITES for path in task_files(suite)]


@pytest.mark.parametrize(
    ("goal", "instruction", "wanted"),
    [
        ("(On akita_black_bowl_2 plate_1)", "put the black bowl at the back on the plate",
         {"the black bowl at the back": "akita_black_bowl_2", "the plate": "plate_1"}),
        ("(Open wooden_cabinet_1_middle_region)", "open the middle drawer of the cabinet",
         {"the middle drawer of the cabinet": "wooden_cabinet_1_middle_region"}),
        ("(On akita_black_bowl_1 wooden_cabinet_1_top_region)", "open the top drawer and put the bowl inside",
         {"the top drawer": "wooden_cabinet_1_top_region", "the bowl": "akita_black_bowl_1"}),
        ("(On akita_black_bowl_1 wooden_cabinet_1_top_side)", "put the bowl on top of the cabinet",
         {"the bowl": "akita_black_bowl_1", "top of the cabinet": "wooden_cabinet_1_top_side"}),
        ("(On akita_black_bowl_2 main_table_plate_right_region)", "put the bowl to the right of the plate",
         {"the bowl": "akita_black_bowl_2", "the plate": "plate_1"}),
    ],
)  # fmt: skip
def test_the_goal_decides_which(problem, goal, instruction, wanted):
    assert ground(problem(goal), instruction) == {mention: (name,) for mention, name in wanted.items()}


def test_a_mapping_takes_precedence_and_is_checked(problem, tmp_path):
    scene = problem("(On akita_black_bowl_2 plate_1)")
    said = "put the black bowl on the plate"
    assert ground(scene, said, overrides={"the black bowl": "akita_black_bowl_1"})["the black bowl"] == (
        "akita_black_bowl_1",
    )
    with pytest.raises(InspireError, match="Did you mean 'akita_black_bowl_"):
        ground(scene, said, overrides={"the black bowl": "akita_black_bowl"})
    with pytest.raises(InspireError, match=r"'the bowl' is mapped, but .* Did you mean 'the black bowl'"):
        ground(scene, said, overrides={"the bowl": "akita_black_bowl_1"}, skip_unknown=True)
    with pytest.raises(InspireError, match=r"mapped to no name\. Possible: \['akita_black_bowl_1'"):
        ground(scene, said, overrides={"the black bowl": []})
    with pytest.raises(InspireError, match="matches nothing"):
        ground(scene, "put the violin on the plate")
    assert ground(scene, "put the violin on the plate", skip_unknown=True) == {"the plate": ("plate_1",)}
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps({said: {"the plate": "plate_1"}}))
    assert read_mapping(path) == {said: {"the plate": ["plate_1"]}}
    path.write_text("[1]")
    with pytest.raises(InspireError, match="does not fit"):
        read_mapping(path)


def test_what_is_no_task_file_is_refused(tmp_path):
    for text in ("", "(", "(define)", "(define (:goal (And)))", "\x00"):
        path = tmp_path / "bad.bddl"
        path.write_text(text)
        read_problem.cache_clear()
        with pytest.raises(InspireError, match="not a LIBERO task file"):
            read_problem(path)


def test_all_130_tasks_resolve_to_objects_of_their_scenes(libero_files):
    assert len(libero_files) == 130
    for _, path in libero_files:
        problem, instruction = read_problem(path), instruction_of(path)
        found = ground(problem, instruction)
        assert tuple(found) == find_mentions(instruction)
        for mention, names in found.items():
            assert names, (instruction, mention)
            assert set(names) <= set(problem.names()), (instruction, mention)
        named = {name for predicate in problem.goal for name in predicate[1:] if "table" not in name}
        tied = {name for names in found.values() for name in names}
        objects = {problem.regions.get(name, name) for name in tied}
        assert {problem.regions.get(name, name) for name in named} <= objects, (instruction, named, tied)


def test_drawers_of_libero_are_the_drawers_said(libero_files):
    drawers = 0
    for _, path in libero_files:
        for mention, names in ground(read_problem(path), instruction_of(path)).items():
            for which in ("top", "middle", "bottom"):
                if f"{which} drawer" in mention and not mention.startswith(("the black bowl", "the butter")):
                    assert f"{which}_region" in names[0], (path.stem, mention, names)
                    drawers += 1
    assert drawers > 20


def test_duplicates_are_told_apart(libero_files):
    """Two mentions of a task never have the same object."""
    for _, path in libero_files:
        found = ground(read_problem(path), instruction_of(path))
        tied = [name for names in found.values() for name in names]
        assert len(set(tied)) == len(tied), (path.stem, found)


def test_a_mapping_without_effect_is_refused(libero_files):
    """Of a misspelt instruction, mention or name. An instruction of several scenes needs the name in one of them."""
    said = "put the black bowl on the plate"
    assert len([path for _, path in libero_files if instruction_of(path) == said]) > 1
    check_mapping({said: {"the plate": "plate_1"}, "a rephrased one": {"it": "mug"}}, ["a rephrased one"])
    for mapping, message in (
        ({said.upper(): {"the plate": "plate_1"}}, f"no task has. Did you mean '{said}'"),
        ({said: {"plate": "plate_1"}}, "'plate' is mapped, but"),
        ({said: {"the plate": "plate_7"}}, "'the plate' is mapped to 'plate_7', which the scene lacks"),
    ):
        with pytest.raises(InspireError, match=message):
            check_mapping(mapping)
