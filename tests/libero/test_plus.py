"""LIBERO-Plus's names against a stand-in of its suites: LIBERO-Plus itself is not here."""

from types import SimpleNamespace

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.libero import plus
from inspire_vla.libero.bddl import LiberoMissing
from inspire_vla.libero.plus import PLUS_SUITES, plain_task_file, plus_tasks


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A suite of one plain task and twelve changed ones, where LeRobot would look it up."""
    names = [
        "put_the_bowl_on_the_plate",
        *(f"put_the_bowl_on_the_plate_view_0_{i}_initstate_0" for i in range(12)),
    ]
    found = SimpleNamespace(tasks=[SimpleNamespace(bddl_file=f"{name}.bddl") for name in names])
    (tmp_path / "libero_goal").mkdir()
    for stem in (
        "put_the_bowl_on_the_plate",
        "put_the_bowl_on_the_plate_view_0_1_initstate_0",
        "put_the_bowl",
    ):
        (tmp_path / "libero_goal" / f"{stem}.bddl").write_text("")
    (tmp_path / "libero_goal" / "put_the_bowl.bddl").unlink()
    libero = pytest.importorskip("lerobot.envs.libero", reason="the extra `libero` is not installed")
    monkeypatch.setattr(libero, "_get_suite", lambda name: found)
    monkeypatch.setattr(plus, "require_libero", lambda: None)
    monkeypatch.setattr(plus, "bddl_folder", lambda: tmp_path)
    return found


def test_changed_tasks_are_found_with_what_they_were_made_of(installed):
    tasks = plus_tasks("libero_plus_goal")
    assert len(tasks) == 13
    for task in tasks:
        assert plain_task_file("libero_goal", task).stem == "put_the_bowl_on_the_plate"
    with pytest.raises(InspireError, match="begins with the name of no task"):
        plain_task_file("libero_goal", "fly_view_0")


def test_a_plain_libero_is_told_apart(installed):
    installed.tasks = installed.tasks[:10]
    with pytest.raises(LiberoMissing, match="needs LIBERO-Plus"):
        plus_tasks("libero_plus_spatial")


def test_unknown_suites_are_said():
    assert set(PLUS_SUITES.values()) == {"libero_spatial", "libero_object", "libero_goal", "libero_10"}
    with pytest.raises(InspireError, match="Did you mean"):
        plus_tasks("libero_plus_gaol")
