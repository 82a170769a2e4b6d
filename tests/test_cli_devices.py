"""A device that is not here is refused at once, by every command that takes one."""

import pytest
from torch import accelerator

from inspire_vla.cli import main, options
from inspire_vla.cli.options import check_device
from inspire_vla.errors import InspireError


def test_what_is_here_is_allowed_and_the_rest_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "devices", lambda: ["cpu", "cuda", "cuda:0"])
    for device in (None, "cpu", "cuda", "cuda:0"):
        check_device(device)
    with pytest.raises(InspireError, match="--device gpu cannot be used here"):
        check_device("gpu")
    with pytest.raises(InspireError, match=r"Possible: \['cpu', 'cuda', 'cuda:0'\]"):
        check_device("cuda:1")


def test_the_processor_is_always_there() -> None:
    assert options.devices()[0] == "cpu"
    assert (len(options.devices()) > 1) == accelerator.is_available()


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
    monkeypatch.setattr(options, "devices", lambda: ["cpu"])
    assert main([*command.split(), "--device", "cuda"]) == 2
    assert "--device cuda cannot be used here" in capsys.readouterr().err


def test_a_cluster_may_have_what_this_machine_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(options, "devices", lambda: ["cpu"])
    line = "evaluate --policy nano_base --out x --device cuda --ray auto --suite no_such"
    assert main(line.split()) == 2
    assert "no_such" in capsys.readouterr().err
