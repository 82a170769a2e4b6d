"""inspire attention: the shipped pair looks at one state, and what it writes goes into the report."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inspire_vla import policies
from inspire_vla.cli import main
from inspire_vla.cli.attention import count_states, measure_attention
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.checkpoints import SHIPPED
from inspire_vla.reports import read_attention
from inspire_vla.tabletop.benchmark import TabletopBenchmark


class OneTask:
    """A benchmark of one task of the tabletop in one suite."""

    def __init__(self) -> None:
        self.inner = TabletopBenchmark()
        self.groups = self.inner.groups

    def tasks(self, suite: str) -> tuple[str, ...]:
        return self.inner.tasks(suite)[:1]

    def make(self, suite: str, task: str):
        return self.inner.make(suite, task)


@pytest.mark.parametrize("method", ["rollout", "gradient"])
def test_base_and_inspire_look_at_the_same_states(method: str) -> None:
    agents = [(name, policies.agent_factory(name)()) for name in ("nano_base", "nano_inspire")]
    found = measure_attention(agents, OneTask(), ("tabletop_seen",), episodes=1, method=method)
    (row,) = found.examples
    asked = len(row.tiles) - 3
    assert asked >= 1
    assert [tile.policy for tile in row.tiles] == ["", "nano_base", "nano_inspire", *["nano_inspire"] * asked]
    assert [m.doing for m in found.measured] == ["acting", *["answering"] * asked, "acting"]
    assert all(0 <= m.share <= 1 and 0 < m.area < 0.5 for m in found.measured)
    acting = [m for m in found.measured if m.doing == "acting"]
    assert acting[0].area == acting[1].area
    assert acting[0].area >= max(m.area for m in found.measured if m.mention)  # all objects together
    assert {tile.image.size for tile in row.tiles} == {(288, 288)}


def test_two_policies_need_two_names() -> None:
    with pytest.raises(InspireError, match="a name of its own"):
        measure_attention([("a", None), ("a", None)], OneTask(), ("tabletop_seen",), episodes=1)


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


def test_states_are_counted() -> None:
    benchmark = OneTask()
    assert count_states(benchmark, ("tabletop_seen", "tabletop_goal"), episodes=3, examples=1) == 6
    assert count_states(benchmark, ("tabletop_seen",), episodes=0, examples=4) == 1


def test_a_figure_is_drawn_and_nothing_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["attention", "--figure", "--policy", "nano_base"]) == 2
    assert "--figure needs --out" in capsys.readouterr().err
    arguments = ["attention", "--figure", "--policy", "nano_inspire", "--suite", "tabletop_goal"]
    assert main([*arguments, "--out", str(tmp_path / "looks")]) == 0
    assert (tmp_path / "looks" / "figure.png").read_bytes().startswith(b"\x89PNG")
    attention = read_attention(tmp_path / "looks")
    assert attention.measured == ()
    assert attention.about["policies"][0]["checkpoint"] == "nano_inspire"
