"""`inspire pretrain` finds out what it cannot do before it draws images."""

from pathlib import Path

import pytest

from inspire_vla.cli import main


def test_another_configuration_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    drawn: list[object] = []
    monkeypatch.setattr("inspire_vla.grounding.images.draw_images", lambda *a, **b: drawn.append(a))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert main(["pretrain", "--out", str(tmp_path), "--steps", "4000"]) == 2
    assert "use another --out" in capsys.readouterr().err
    assert drawn == []
