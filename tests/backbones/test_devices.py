"""A device that is not here is refused before anything is loaded onto it."""

import pytest
from torch import accelerator, cpu

from inspire_vla.backbones import devices
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy


def test_what_is_here_is_allowed_and_the_rest_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "devices", lambda: ["cpu", "cuda", "cuda:0"])
    for device in (None, "cpu", "cuda", "cuda:0"):
        devices.check_device(device)
    with pytest.raises(InspireError, match="The device 'gpu' cannot be used here"):
        devices.check_device("gpu")
    with pytest.raises(InspireError, match=r"Possible: \['cpu', 'cuda', 'cuda:0'\]"):
        devices.check_device("cuda:1")


def test_the_processor_is_always_there() -> None:
    assert devices.devices()[0] == "cpu"
    assert (len(devices.devices()) > 1) == accelerator.is_available()


def test_a_policy_is_not_loaded_for_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "devices", lambda: ["cpu"])
    with pytest.raises(InspireError, match="The device 'cuda' cannot be used here"):
        load_policy("no such checkpoint", device="cuda")


def test_bfloat16_is_slow_on_a_cpu_without_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(device: str | None, dtype: str, **capabilities: bool) -> bool:
        monkeypatch.setattr(cpu, "get_capabilities", lambda: capabilities, raising=False)
        return devices.is_slow_in_bfloat16(device, dtype)

    assert of("cpu", "bfloat16", avx2=True, avx512_bf16=False, amx_bf16=False)
    for name in devices.BFLOAT16_INSTRUCTIONS:
        assert not of("cpu", "bfloat16", avx2=True, **{name: True})
    assert not of("cpu", "float32", avx2=True)
    assert not of("cuda", "bfloat16", avx2=True)
    assert not of("cpu", "bfloat16")  # not known


def test_a_training_that_would_be_slow_in_bfloat16_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    devices.warn_of_slow_bfloat16("cpu", "float32")
    assert not caplog.records
    devices.warn_of_slow_bfloat16("cpu", "bfloat16")
    assert "no instructions for bfloat16" in caplog.text
