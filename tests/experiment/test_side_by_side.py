"""Stages side by side: each on its own cores, none before what it needs."""

import json
import os
from pathlib import Path

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.experiment import PRESETS, Stage, read_preset, stages
from inspire_vla.experiment.runner import run_stages

needs_two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="one core, or no affinity",
)


pytestmark = pytest.mark.usefixtures("_commands_are_python")


def meets(tmp_path, own: str, other: str) -> str:
    """Code that ends only if the other stage runs at the same time."""
    return (
        "import os, pathlib, time\n"
        f"own, other = (pathlib.Path({str(tmp_path)!r}) / n for n in ({own!r}, {other!r}))\n"
        "own.write_text(' '.join(map(str, sorted(os.sched_getaffinity(0)))))\n"
        "until = time.monotonic() + 30\n"
        "while not other.exists():\n"
        "    assert time.monotonic() < until\n"
        "    time.sleep(0.01)\n"
    )


@needs_two_cores
def test_two_commands_run_at_once_each_on_its_own_cores(tmp_path):
    plan = [
        Stage(a, (meets(tmp_path, a, b),), tmp_path / f"{a}.done")
        for a, b in (("left", "right"), ("right", "left"))
    ]
    assert run_stages(plan, tmp_path, jobs=2).finished
    left, right = (set((tmp_path / name).read_text(encoding="utf-8").split()) for name in ("left", "right"))
    assert left
    assert right
    assert not left & right
    assert left | right <= set(map(str, os.sched_getaffinity(0)))


@needs_two_cores
def test_a_command_that_no_other_can_run_beside_has_all_cores(tmp_path):
    note = "import os, pathlib; pathlib.Path({!r}).write_text(str(len(os.sched_getaffinity(0))))"
    plan = [
        Stage("data", (note.format(str(tmp_path / "data")),), tmp_path / "data.done"),
        *(
            Stage(name, (note.format(str(tmp_path / name)),), tmp_path / f"{name}.done", needs=needs)
            for name, needs in (("left", (tmp_path / "data.done",)), ("right", (tmp_path / "data.done",)))
        ),
    ]
    assert run_stages(plan, tmp_path, jobs=2).finished
    cores = {name: int((tmp_path / name).read_text(encoding="utf-8")) for name in ("data", "left", "right")}
    usable = len(os.sched_getaffinity(0))
    assert cores["data"] == usable
    assert cores["left"] + cores["right"] == usable


@needs_two_cores
def test_a_stage_waits_for_what_it_needs_while_later_ones_go_on(tmp_path):
    order = tmp_path / "order"

    def note(name: str, wait: str = "") -> str:
        return f"import os, time, pathlib\n{wait}\nopen({str(order)!r}, 'a').write('{name} ')"

    until_c = f"while not os.path.exists({str(tmp_path / 'c.done')!r}): time.sleep(0.01)"
    plan = [
        Stage("a", (note("a", until_c),), tmp_path / "a.done"),
        Stage("b", (note("b"),), tmp_path / "b.done", needs=(tmp_path / "a.done",)),
        Stage("c", (note("c"),), tmp_path / "c.done"),
    ]
    assert run_stages(plan, tmp_path, jobs=2).finished
    assert order.read_text(encoding="utf-8") == "c a b "


@needs_two_cores
def test_a_failure_interrupts_what_runs_beside_it(tmp_path):
    plan = [
        Stage("bad", ("raise SystemExit('no')",), tmp_path / "bad.done"),
        Stage("slow", ("import time; time.sleep(60)",), tmp_path / "slow.done"),
    ]
    with pytest.raises(InspireError, match="bad failed"):
        run_stages(plan, tmp_path, jobs=2)
    noted = [
        json.loads(line) for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [(line["stage"], line["outcome"]) for line in noted] == [
        ("bad", "exit status 1"),
        ("slow", "interrupted"),
    ]


def test_more_commands_than_cores_are_refused(tmp_path):
    with pytest.raises(InspireError, match="need as many cores"):
        run_stages([], tmp_path, jobs=10_000)


def test_a_need_that_nothing_makes_is_named(tmp_path):
    plan = [Stage("a", ("",), tmp_path / "a.done", needs=(tmp_path / "nowhere",))]
    with pytest.raises(InspireError, match="nowhere"):
        run_stages(plan, tmp_path)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_need_of_a_preset_is_what_an_earlier_stage_makes(name):
    plan = stages(read_preset(name), Path("out"))
    made: set[Path] = set()
    for stage in plan:
        if stage.name != "pre-training" and not stage.name.startswith("demonstrations"):
            assert stage.needs, stage.name
        for need in stage.needs:  # the mark of a finished stage, or a checkpoint beside it
            assert need in made or need.parents[2] / "finished" in made, stage.name
        made.add(stage.done)
