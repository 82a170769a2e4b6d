"""A device that is not here is refused at once, by every command that takes one."""

import pytest

from inspire_vla.backbones import devices
from inspire_vla.cli import main


@pytest.mark.parametrize(
    "command",
    [
        "serve --policy nano_base",
        "steer",
        "attention",
        "evaluate --policy nano_base --out x",
        "pretrain --out x",
    ],
)
def test_every_command_asks_first(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(devices, "devices", lambda: ["cpu"])
    assert main([*command.split(), "--device", "cuda"]) == 2
    assert "The device 'cuda' cannot be used here" in capsys.readouterr().err


def test_a_cluster_may_have_what_this_machine_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(devices, "devices", lambda: ["cpu"])
    line = "evaluate --policy nano_base --out x --device cuda --ray auto --suite no_such"
    assert main(line.split()) == 2
    assert "no_such" in capsys.readouterr().err
