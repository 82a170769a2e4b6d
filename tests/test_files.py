"""Atomic writes, locks and schemas."""

import errno
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import (
    append_json_line,
    atomic_path,
    folder_lock,
    media_sha256,
    open_arrays,
    read_json,
    read_json_lines,
    write_json,
    write_text,
)


@dataclass(frozen=True)
class Settings:
    steps: int
    name: str = "x"


def test_an_interrupted_write_leaves_the_old_content_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def write_half():
        with atomic_path(tmp_path / "a.txt") as path:
            path.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_when_the_new_one_is_complete(tmp_path):
    for text in ("one", "two"):
        with atomic_path(tmp_path / "folder") as path:
            path.mkdir()
            (path / text).write_text(text, encoding="utf-8")
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_file_never_replaces_a_folder(tmp_path):
    write_text(tmp_path / "runs" / "run.json", "{}")
    with pytest.raises(InspireError, match="runs: Is a directory"):
        write_text(tmp_path / "runs", "<html>")
    assert (tmp_path / "runs" / "run.json").read_text(encoding="utf-8") == "{}"
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_json_is_read_as_its_schema(tmp_path):
    write_json(tmp_path / "s.json", {"steps": 3})
    assert read_json(tmp_path / "s.json", Settings) == Settings(3)


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"steps": "many"}', "steps"), ("{}", "steps"), ("[1]", "whole file"), ('{"steps": ', "JSON")],
)
def test_other_json_is_refused_by_file_and_field(tmp_path, content, message):
    (tmp_path / "s.json").write_text(content, encoding="utf-8")
    with pytest.raises(InspireError, match=r"s\.json") as error:
        read_json(tmp_path / "s.json", Settings)
    assert message in str(error.value)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), MemoryError("no")])
def test_a_file_that_the_machine_cannot_read_is_not_damaged(tmp_path, monkeypatch, error):
    def failing(*_, **__):
        raise error

    monkeypatch.setattr(Path, "read_bytes", failing)
    monkeypatch.setattr("numpy.load", failing)
    with pytest.raises(MachineFault, match=r"s\.json cannot be read: .*run the same command"):
        read_json(tmp_path / "s.json", Settings)
    with pytest.raises(MachineFault, match=r"a\.npz cannot be read"), open_arrays(tmp_path / "a.npz"):
        pass


def test_json_lines_are_read_as_they_were_appended_but_for_a_line_that_a_kill_cut(tmp_path):
    log = tmp_path / "new" / "log.jsonl"
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "name": "räum auf\nnow"}]
    for row in rows:
        append_json_line(log, row)
    assert read_json_lines(log) == rows
    with log.open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "lo')
    assert read_json_lines(log) == rows
    with log.open("ab") as file:
        file.write("ä".encode()[:1])
    assert read_json_lines(log) == rows
    append_json_line(log, rows[0])
    assert read_json_lines(log) == [*rows, rows[0]]


def test_a_first_line_that_a_kill_cut_is_removed_too(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"st', encoding="utf-8")
    assert read_json_lines(log) == []
    append_json_line(log, {"step": 1})
    assert read_json_lines(log) == [{"step": 1}]


@pytest.mark.parametrize("content", ["{}\n[1]\n", "{}\n{\n", "\n"])
def test_other_json_lines_are_refused(tmp_path, content):
    (tmp_path / "log.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(InspireError, match=r"log\.jsonl"):
        read_json_lines(tmp_path / "log.jsonl")
    with pytest.raises(InspireError, match=r"none\.jsonl cannot be read"):
        read_json_lines(tmp_path / "none.jsonl")


def test_a_missing_file_and_a_path_that_cannot_be_written_are_clear_errors(tmp_path):
    with pytest.raises(InspireError, match="cannot be read"):
        read_json(tmp_path / "none.json", Settings)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InspireError, match="Cannot write"):
        write_text(tmp_path / "file" / "below.txt", "")


def test_a_folder_is_held_by_one_process_and_free_when_that_is_killed(tmp_path):
    code = (
        "import sys, time; from inspire_vla.files import folder_lock\n"
        "with folder_lock(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InspireError, match="Another process"), folder_lock(tmp_path / "out"):
        pass
    other.kill()
    other.wait()
    with folder_lock(tmp_path / "out"):
        pass


def test_a_video_of_another_size_beginning_or_end_is_another(tmp_path):
    video = tmp_path / "video.mp4"
    hashes = set()
    for content in (b"a" * 50, b"a" * 51, b"b" + b"a" * 49, b"a" * 49 + b"b"):
        video.write_bytes(content)
        hashes.add(media_sha256(video, part=8))
    assert len(hashes) == 4
