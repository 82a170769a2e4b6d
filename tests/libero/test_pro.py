"""LIBERO-PRO's suites, against small task files with the names and folders of its data set."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.libero import simulation
from inspire_vla.libero import tasks as module
from inspire_vla.libero.benchmark import MAX_STEPS, LiberoBenchmark
from inspire_vla.libero.installation import LiberoMissing, bddl_folder
from inspire_vla.libero.tasks import PRO_SUITES, SUITES, base_suite, pro_suite

TASK = "open_the_middle_drawer_of_the_cabinet"
ASKED = "Open the bottom drawer of the cabinet"
GOAL = "(And (Open wooden_cabinet_1_bottom_region))"


def write_task(root: Path, folder: str, text: str) -> None:
    for kind, name, content in (("bddl_files", ".bddl", text), ("init_files", ".pruned_init", "states")):
        path = root / kind / folder / f"{TASK}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """LIBERO's folder with the suites of libero_goal that keep the task, change it, or change its words."""
    for change in ("swap", "task", "object", "lan"):
        text = f"(define (problem P) (:language {ASKED}) (:objects a - b) (:goal {GOAL}))"
        write_task(tmp_path, f"libero_goal_{change}", text)
    monkeypatch.setattr(module, "bddl_folder", lambda: tmp_path / "bddl_files")
    return tmp_path


def test_every_suite_changes_one_of_liberos_and_has_its_limits():
    assert len(PRO_SUITES) == 16
    assert {base_suite(suite) for suite in PRO_SUITES} == set(SUITES) - {"libero_90"} <= set(MAX_STEPS)
    assert set(PRO_SUITES) < set(LiberoBenchmark().suites())
    assert LiberoBenchmark.initial_states["libero_pro_10_swap"] == 50
    assert base_suite("libero_plus_goal") == base_suite("libero_goal") == "libero_goal"


@pytest.mark.parametrize(("change", "instruction"), [
    ("swap", "open the middle drawer of the cabinet"),
    ("object", "open the middle drawer of the cabinet"),
    ("task", "open the bottom drawer of the cabinet"),
    ("lan", "open the bottom drawer of the cabinet"),
])  # fmt: skip
def test_the_instruction_is_the_files_where_it_was_changed(installed, change, instruction):
    (task,) = pro_suite(f"libero_pro_goal_{change}").tasks
    assert (task.name, task.language) == (TASK, instruction)
    assert (task.problem_folder, task.bddl_file) == (f"libero_goal_{change}", f"{TASK}.bddl")
    assert LiberoBenchmark().tasks(f"libero_pro_goal_{change}") == (TASK,)
    assert LiberoBenchmark().instructions(f"libero_pro_goal_{change}") == {TASK: instruction}


def test_what_is_not_installed_is_said(installed):
    with pytest.raises(LiberoMissing, match=r"no task files of libero_spatial_swap.*zhouxueyang/LIBERO-Pro"):
        pro_suite("libero_pro_spatial_swap")
    (installed / "init_files/libero_goal_task" / f"{TASK}.pruned_init").write_bytes(b"")
    with pytest.raises(LiberoMissing, match=f"initial states of libero_goal_task/{TASK} are missing"):
        pro_suite("libero_pro_goal_task")
    with pytest.raises(InspireError, match="Did you mean 'libero_pro_goal_swap'"):
        pro_suite("libero_pro_goal_swop")


@pytest.mark.libero
def test_an_environment_plays_the_changed_task_with_its_truth(monkeypatch, tmp_path):
    """LIBERO's own file with another goal and other words, in a folder of LIBERO-PRO."""
    try:
        simulation.require_libero()
    except LiberoMissing as error:
        pytest.skip(str(error))
    from lerobot.envs import libero

    real = bddl_folder()
    text = (real / "libero_goal" / f"{TASK}.bddl").read_text()
    changed = text.replace("wooden_cabinet_1_middle_region", "wooden_cabinet_1_bottom_region")
    changed = changed.replace("Open the middle layer of the drawer", ASKED)
    write_task(tmp_path, "libero_goal_task", changed)
    states = real.parent / "init_files/libero_goal" / f"{TASK}.pruned_init"
    shutil.copy(states, tmp_path / "init_files/libero_goal_task" / states.name)
    monkeypatch.setattr(module, "bddl_folder", lambda: tmp_path / "bddl_files")
    folders = {"bddl_files": "bddl_files", "init_states": "init_files"}
    monkeypatch.setattr(libero, "get_libero_path", lambda name: str(tmp_path / folders[name]))
    env = LiberoBenchmark(image_size=32).make("libero_pro_goal_task", TASK)
    try:
        _, info = env.reset(seed=1_000_003)
        assert info["instruction"] == env.instruction == ASKED.lower()
        assert info["init_state"] == 1_000_003 % 50
        assert info["mentions"] == ("the bottom drawer of the cabinet",)
        region = env._truth.point("wooden_cabinet_1_bottom_region")
        assert env._truth.grounding == {info["mentions"][0]: ("wooden_cabinet_1_bottom_region",)}
        offset = env._truth._base_rotation().T @ (region - env._truth.eef_position())
        assert np.allclose(info["gripper_to_object_m"][0], offset, atol=1e-6)
        assert env.max_episode_steps == MAX_STEPS["libero_goal"]
    finally:
        env.close()
