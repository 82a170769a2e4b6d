"""`inspire suites` lists suites and tasks, without a policy and without a folder."""

import re

import pytest

from inspire_vla.cli import main
from inspire_vla.libero import installation, tasks
from inspire_vla.libero.installation import LiberoMissing
from inspire_vla.tabletop.suites import SUITES


@pytest.fixture
def _no_libero(monkeypatch):
    def missing():
        raise LiberoMissing("LIBERO is not installed. Install it with `make libero`.")

    for module in (installation, tasks):
        monkeypatch.setattr(module, "bddl_folder", missing)


@pytest.mark.usefixtures("_no_libero")
def test_suites_are_listed_with_their_number_of_tasks_also_without_libero(capsys):
    assert main(["suites"]) == 0
    tabletop, libero = capsys.readouterr().out.split("libero\n")
    for suite, of_suite in SUITES.items():
        assert re.search(rf"^  {suite} +{len(of_suite)} tasks", tabletop, re.MULTILINE)
    assert "seen" in tabletop.splitlines()[1]
    assert libero == "  LIBERO is not installed. Install it with `make libero`.\n"
    assert main(["suites", "libero_goal"]) == 2
    assert "Install it with `make libero`" in capsys.readouterr().err


def test_tasks_are_listed_with_their_instructions(capsys):
    assert main(["suites", "seen", "tabletop_goal"]) == 0
    out = capsys.readouterr().out
    for suite in ("tabletop_seen", "tabletop_goal"):
        count = len(SUITES[suite])
        assert f"{suite}: {count} tasks; the scripted expert can do {count}\n" in out
        for task in SUITES[suite]:
            assert re.search(rf"^  {task.name} +{task.instruction}$", out, re.MULTILINE)


def test_an_unknown_suite_is_answered_with_the_nearest(capsys):
    assert main(["suites", "tabletop_gaol"]) == 2
    assert "Unknown suite 'tabletop_gaol'. Did you mean 'tabletop_goal'?" in capsys.readouterr().err
    assert main(["suites", "libero_gaol"]) == 2
    assert "Did you mean 'libero_goal'?" in capsys.readouterr().err


@pytest.mark.libero
def test_of_libero_it_says_what_the_expert_cannot_do(capsys):
    try:
        tasks.task_files("libero_goal")
    except LiberoMissing as error:
        pytest.skip(str(error))
    assert main(["suites", "libero_goal"]) == 0
    out = capsys.readouterr().out
    assert "libero_goal: 10 tasks; the scripted expert can do " in out
    assert re.search(r"^  put_the_bowl_on_the_plate +put the bowl on the plate$", out, re.MULTILINE)
    assert re.search(
        r"^  push_the_plate\w+ +push the plate .* \(no expert: it cannot push objects\)$", out, re.MULTILINE
    )
