"""LIBERO-Plus's names, against a stand-in of its suites with the names of its repository."""

from types import SimpleNamespace

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.libero import simulation
from inspire_vla.libero import tasks as module
from inspire_vla.libero.installation import LiberoMissing
from inspire_vla.libero.tasks import (
    PLUS_SUITES,
    original_name,
    plus_instruction,
    plus_task_file,
    plus_tasks,
    task_files,
)

PLAIN = "put_the_bowl_on_the_plate"
VIEW = "_view_15_0_100_0_0_initstate_3"
FILES = [
    "",
    "_table_1",
    "_tb_2",
    "_light_17",
    "_add_4",
    "_moved_level5_sample3",
    "_level1_sample2",
    "_language_26",
]
CHANGED = [*FILES[1:-1], f"_language_26{VIEW}", VIEW, f"{VIEW}_noise_7"]
ASKED = "For dinner always put the bowl on the plate"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A suite of LIBERO-Plus, where LeRobot would look it up, with its files."""
    names = [PLAIN + change for change in CHANGED] * 2
    found = SimpleNamespace(tasks=[SimpleNamespace(bddl_file=f"{name}.bddl") for name in names])
    (tmp_path / "libero_goal").mkdir()
    for change in [*FILES, " copy 2"]:
        said = ASKED if "language" in change else "Put the bowl on the plate"
        (tmp_path / "libero_goal" / f"{PLAIN}{change}.bddl").write_text(
            f"(define (problem P) (:language {said}) (:objects a - b) (:goal (And (On a b))))"
        )
    libero = pytest.importorskip("lerobot.envs.libero", reason="the extra `libero` is not installed")
    monkeypatch.setattr(libero, "_get_suite", lambda name: found)
    monkeypatch.setattr(simulation, "require_libero", lambda: None)
    monkeypatch.setattr(module, "bddl_folder", lambda: tmp_path)
    return found


def test_changed_tasks_have_their_files_and_what_is_meant(installed):
    tasks = plus_tasks("libero_plus_goal")
    assert len(tasks) == 2 * len(CHANGED)
    for task in tasks:
        assert original_name(task) == PLAIN
        asked = ASKED.lower() if "language" in task else "put the bowl on the plate"
        assert plus_instruction("libero_goal", task) == asked
    names = {task: plus_task_file("libero_goal", task).stem for task in tasks}
    assert names[f"{PLAIN}_language_26{VIEW}"] == f"{PLAIN}_language_26"
    assert names[f"{PLAIN}{VIEW}_noise_7"] == PLAIN
    assert names[f"{PLAIN}_add_4"] == f"{PLAIN}_add_4"
    with pytest.raises(InspireError, match=r"no file fly\.bddl"):
        plus_task_file("libero_goal", "fly_view_0_0_100_0_0_initstate_0")


def test_its_files_are_no_plain_tasks(installed):
    assert [path.stem for path in task_files("libero_goal")] == [PLAIN]
    assert (
        original_name("pick_up_the_black_bowl_from_table_center")
        == "pick_up_the_black_bowl_from_table_center"
    )


def test_a_plain_libero_is_told_apart(installed):
    installed.tasks = installed.tasks[:10]
    with pytest.raises(LiberoMissing, match="needs LIBERO-Plus"):
        plus_tasks("libero_plus_spatial")


def test_unknown_suites_are_said():
    assert set(PLUS_SUITES.values()) == {"libero_spatial", "libero_object", "libero_goal", "libero_10"}
    with pytest.raises(InspireError, match="Did you mean"):
        plus_tasks("libero_plus_gaol")
