"""`inspire convert` writes a whole checkpoint or none."""

import json

import pytest

from inspire_vla.cli import main
from inspire_vla.lerobot_plugin import convert as package
from inspire_vla.lerobot_plugin.convert import Report


def stand_in(monkeypatch, error=None):
    """Writes as `convert` does, and ends in the middle with an error."""

    def convert(kind, path, out, **_):
        out.mkdir()
        (out / "config.json").write_text("{}", encoding="utf-8")
        if error is not None:
            raise error
        (out / "conversion.json").write_text(json.dumps({"out": str(out), "kind": kind}), encoding="utf-8")
        return Report(kind, str(out), 1, (), (), (), ())

    monkeypatch.setattr(package, "convert", convert)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "full"), 2)])
def test_what_is_interrupted_leaves_no_folder(tmp_path, monkeypatch, error, code):
    words = ["convert", "weights", "--from", "pi05", "--to", str(tmp_path / "policy")]
    stand_in(monkeypatch, error)
    assert main(words) == code
    assert not list(tmp_path.iterdir())
    stand_in(monkeypatch)
    assert main(words) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_the_folder_is_called_what_it_is_called(tmp_path, monkeypatch, capsys):
    stand_in(monkeypatch)
    out = tmp_path / "policy"
    out.mkdir()
    assert main(["convert", "weights", "--from", "pi05", "--to", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"Checkpoint: {out}\n")
    assert json.loads((out / "conversion.json").read_text(encoding="utf-8")) == {
        "out": str(out),
        "kind": "pi05",
    }


def test_a_folder_that_holds_something_is_never_replaced(tmp_path, monkeypatch, capsys):
    stand_in(monkeypatch)
    (tmp_path / "mine").touch()
    assert main(["convert", "weights", "--from", "pi05", "--to", str(tmp_path)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert main(["convert", "weights", "--from", "pi05", "--to", str(tmp_path / "mine")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
