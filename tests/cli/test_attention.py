"""inspire attention: what it refuses, and what it writes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inspire_vla import policies
from inspire_vla.cli import main
from inspire_vla.lerobot_plugin.checkpoints import SHIPPED
from inspire_vla.reports.attention_files import read_attention


@pytest.mark.parametrize(("changes", "told"), [
    ({"action_head": "flow", "action_tokenizer": None}, "acts by a flow expert"),
    ({"reasoning": {"enabled": True, "separate_questions": True}}, "sequence of their own"),
])  # fmt: skip
@pytest.mark.parametrize("command", ["attention --policy", "demo --out demo --base"])
def test_a_policy_without_attention_maps_is_refused_before_it_is_loaded(
    command: str, changes: dict[str, Any], told: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    mine = tmp_path / "mine"
    shutil.copytree(SHIPPED / "nano_base", mine)
    config = json.loads((mine / "config.json").read_text(encoding="utf-8"))
    (mine / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policies, "load_agent", lambda **_: pytest.fail("a policy was loaded"))
    assert main([*command.split(), "mine"]) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_suites_without_masks_are_refused(capsys: pytest.CaptureFixture) -> None:
    assert main(["attention", "--suite", "libero_goal"]) == 2
    assert "measured on the tabletop" in capsys.readouterr().err


def test_a_figure_is_drawn_and_nothing_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["attention", "--figure", "--policy", "nano_base"]) == 2
    assert "--figure needs --out" in capsys.readouterr().err
    arguments = ["attention", "--figure", "--policy", "nano_inspire", "--suite", "tabletop_goal"]
    assert main([*arguments, "--out", str(tmp_path / "maps")]) == 0
    assert (tmp_path / "maps" / "figure.png").read_bytes().startswith(b"\x89PNG")
    attention = read_attention(tmp_path / "maps")
    assert attention.measured == ()
    assert attention.about["policies"][0]["checkpoint"] == "nano_inspire"
