"""Laws of staged work: pieces survive, settings do not mix, two calls do not meet, the folder is whole or absent."""

import json
import math
from functools import partial

import pytest

from inspire_vla.errors import InspireError
from inspire_vla.staging import Staging, in_processes


def make(staging: Staging, number: int) -> int:
    staging.piece(number).write_text(str(number * number))
    return number


def assemble(staging: Staging, count: int, folder) -> int:
    folder.mkdir()
    whole = [staging.piece(number).read_text() for number in range(count)]
    (folder / "whole.json").write_text(json.dumps(whole))
    return len(whole)


@pytest.fixture
def staging(tmp_path):
    return Staging(tmp_path / "out", {"seed": 1, "names": ("a", "b")}, "importing")


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_every_number_is_worked_on_once(processes):
    assert sorted(in_processes(math.factorial, [3, 1, 4], processes)) == [1, 6, 24]


def test_pieces_become_one_folder_and_go(staging, tmp_path):
    with staging.begun():
        assert list(in_processes(partial(make, staging), staging.missing(3), 1)) == [0, 1, 2]
        assert staging.finish(partial(assemble, staging, 3)) == 3
    assert json.loads((tmp_path / "out/whole.json").read_text()) == ["0", "1", "4"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_an_interrupted_call_made_is_kept(staging):
    with staging.begun():
        make(staging, 1)
    (staging.folder / ".half.tmp").write_text("torn")
    with staging.begun():
        assert staging.missing(3) == [0, 2]
        assert not (staging.folder / ".half.tmp").exists()
    with staging.begun(resume=False):
        assert staging.missing(3) == [0, 1, 2]


def test_other_settings_are_refused_or_begin_anew(staging):
    with staging.begun():
        make(staging, 0)
    other = Staging(staging.out, {"seed": 2, "names": ("a", "b")}, "importing")
    with pytest.raises(InspireError, match=r"had another seed"), other.begun():
        pass
    with other.begun(anew_if_other=True):
        assert other.missing(1) == [0]
    with other.begun():
        pass


def test_two_calls_do_not_meet(staging):
    with staging.begun(), pytest.raises(InspireError, match="Another call is importing"), staging.begun():
        pass


def test_a_failed_assembly_leaves_no_folder(staging, tmp_path):
    def broken(folder):
        folder.mkdir()
        raise InspireError("no")

    with staging.begun():
        make(staging, 0)
        with pytest.raises(InspireError, match="no"):
            staging.finish(broken)
    assert not (tmp_path / "out").exists()
    with staging.begun():
        assert staging.missing(1) == []
        assert staging.finish(partial(assemble, staging, 1)) == 1
