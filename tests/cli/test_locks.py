"""Every command that writes a folder, or a file, holds it alone."""

from pathlib import Path

import pytest

from inspire_vla.cli import COMMANDS, main
from inspire_vla.files import folder_lock

WRITERS = {
    "card": ["nano_base"],
    "collect": ["--episodes", "1"],
    "compare": ["run"],
    "convert": ["weights", "--from", "openvla"],
    "demo": [],
    "label": ["data"],
    "pretrain": [],
    "report": ["run"],
    "reproduce": ["--preset", "smoke"],
    "train": ["--dataset", "data"],
    "attention": ["--policy", "nano_base"],
}
ELSEWHERE = {"evaluate"}
"""Held in tests/evaluation/test_runner.py."""


@pytest.mark.parametrize("command", WRITERS)
def test_a_folder_that_another_process_writes_is_left_alone(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    option = "--to" if command == "convert" else "--out"
    with folder_lock(tmp_path / "out"):
        before = sorted(tmp_path.rglob("*"))
        assert main([command, *WRITERS[command], option, str(tmp_path / "out")]) == 2
        assert sorted(tmp_path.rglob("*")) == before
    assert "Another process is" in capsys.readouterr().err


def test_these_are_all_commands_with_an_output() -> None:
    from inspire_vla.cli import _module

    with_output = {
        name for name in COMMANDS if "out" in getattr(_module(name).Arguments, "__annotations__", {})
    }
    assert with_output == {*WRITERS, *ELSEWHERE}
