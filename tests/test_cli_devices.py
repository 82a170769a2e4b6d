"""A device that is not here is refused at once, by every command that takes one."""

import pytest
from torch import accelerator

from inspire_vla.cli import devices, main
from inspire_vla.cli.devices import check_device
from inspire_vla.errors import InspireError


def test_what_is_here_is_allowed_and_the_rest_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "devices", lambda: ["cpu", "cuda", "cuda:0"])
    for device in (None, "cpu", "cuda", "cuda:0"):
        check_device(device)
    with pytest.raises(InspireError, match="--device gpu cannot be used here"):
        check_device("gpu")
    with pytest.raises(InspireError, match=r"Possible: \['cpu', 'cuda', 'cuda:0'\]"):
        check_device("cuda:1")


def test_the_processor_is_always_there() -> None:
    assert devices.devices()[0] == "cpu"
    assert (len(devices.devices()) > 1) == accelerator.is_available()


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
    monkeypatch.setattr(f"inspire_vla.cli.arguments.{command.split()[0]}", lambda _: 7, raising=False)
    monkeypatch.setattr("inspire_vla.cli.commands.evaluate", lambda _: 7)
    assert main([*command.split(), "--device", "cuda"]) == 2
    assert "--device cuda cannot be used here" in capsys.readouterr().err
    assert main([*command.split(), "--device", "cpu"]) == 7


def test_a_cluster_may_have_what_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "devices", lambda: ["cpu"])
    monkeypatch.setattr("inspire_vla.cli.commands.evaluate", lambda _: 7)
    line = "evaluate --policy nano_base --out x --device cuda --ray auto"
    assert main(line.split()) == 7
