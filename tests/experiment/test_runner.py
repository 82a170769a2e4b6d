"""Stages are run once, in order, within their time; commands are stood in for by a small program."""

import json
import os
import signal
import threading
import time

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.experiment import Stage, runner
from inspire_vla.experiment.runner import run_stages

pytestmark = pytest.mark.usefixtures("_commands_are_python")


def stage(tmp_path, name, code):
    return Stage(name, (code,), tmp_path / f"{name}.done")


def journal(tmp_path):
    return [
        json.loads(line) for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_finished_stages_are_not_run_again(tmp_path):
    count = tmp_path / "count"
    plan = [stage(tmp_path, name, f"open({str(count)!r}, 'a').write('{name} ')") for name in ("a", "b")]
    assert run_stages(plan, tmp_path).finished
    assert run_stages(plan, tmp_path).finished
    assert count.read_text(encoding="utf-8") == "a b "
    assert [line["outcome"] for line in journal(tmp_path)] == ["finished", "finished"]
    assert {line["commit"] for line in journal(tmp_path)} == {None}


def test_a_stage_notes_the_commit_at_which_it_began(tmp_path):
    plan = [stage(tmp_path, name, "") for name in ("a", "b")]
    commits = iter(("first", "second"))
    run_stages(plan, tmp_path, commit=lambda: next(commits))
    assert [line["commit"] for line in journal(tmp_path)] == ["first", "second"]


def test_a_failure_stops_and_shows_its_last_lines(tmp_path):
    plan = [stage(tmp_path, "a", "raise SystemExit('the disk is full')"), stage(tmp_path, "b", "")]
    with pytest.raises(InspireError, match="the disk is full"):
        run_stages(plan, tmp_path)
    assert not plan[0].done.exists()
    assert [line["stage"] for line in journal(tmp_path)] == ["a"]


def test_what_cannot_be_gone_on_with_is_removed_and_what_can_is_kept(tmp_path):
    """A training that was killed before its first checkpoint leaves a folder that a new one refuses."""
    folder = tmp_path / "policy"
    anew = f"import os; os.mkdir({str(folder)!r})"
    on = f"import os; assert os.listdir({str(folder)!r}) == ['0000004']"
    train = Stage("train", (anew,), tmp_path / "done", (on,), folder, folder)
    folder.mkdir()
    (folder / "half").touch()
    assert run_stages([train], tmp_path).finished
    assert list(folder.iterdir()) == []
    train.done.unlink()
    (folder / "0000004").touch()  # LeRobot's link `last` is missing, as in a copy without links
    assert run_stages([train], tmp_path).finished
    assert [line["command"] for line in journal(tmp_path)] == [["inspire", anew], ["inspire", on]]


def test_time_over_interrupts_and_keeps_what_was_done(tmp_path):
    plan = [stage(tmp_path, "quick", ""), stage(tmp_path, "slow", "import time; time.sleep(60)")]
    progress = run_stages(plan, tmp_path, minutes=0.1)
    assert (progress.done, progress.total, progress.finished) == (1, 2, False)
    assert not plan[1].done.exists()
    assert journal(tmp_path)[-1]["outcome"] == "interrupted"


@pytest.mark.parametrize("ignored", [("SIGINT",), ("SIGINT", "SIGTERM")])
def test_a_second_interruption_leaves_no_command_running(tmp_path, monkeypatch, ignored):
    """Theirs ignore Ctrl-C, as one does that saves a checkpoint."""
    monkeypatch.setattr(runner, "_shares", lambda jobs: [None] * jobs)
    monkeypatch.setattr(runner, "_STOPPING", ((signal.SIGINT, 60), (signal.SIGTERM, 1), (signal.SIGKILL, 60)))
    ignore = "".join(f"signal.signal(signal.{name}, signal.SIG_IGN);" for name in ignored)
    code = f"import os, signal, time; {ignore} open({{!r}}, 'w').write(str(os.getpid())); time.sleep(90)"
    files = [tmp_path / name for name in ("a", "b")]
    plan = [Stage(file.name, (code.format(str(file)),), tmp_path / f"{file.name}.done") for file in files]

    def interrupt_twice():
        while not all(file.is_file() and file.read_text(encoding="utf-8") for file in files):
            time.sleep(0.05)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    threading.Thread(target=interrupt_twice, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_stages(plan, tmp_path, jobs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text(encoding="utf-8")), 0)
    assert [line["outcome"] for line in journal(tmp_path)] == ["interrupted"] * 2
