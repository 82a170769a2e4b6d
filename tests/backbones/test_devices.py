"""A device that is not here is refused before anything is loaded onto it."""

import pytest
from torch import accelerator, cpu, cuda

from inspire_vla.backbones import devices
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig


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
    for name in (*devices.X86_BFLOAT16, *devices.ARM_BFLOAT16):
        assert not of("cpu", "bfloat16", avx2=True, **{name: True})
    assert not of("cpu", "float32", avx2=True)
    assert not of("cuda", "bfloat16", avx2=True)
    assert not of("cpu", "bfloat16")  # not known


@pytest.mark.parametrize(
    ("device", "capabilities", "dtype"),
    [
        ("cpu", {"avx2": True}, "float32"),
        (None, {"avx2": True, "avx512_bf16": True}, "bfloat16"),
        ("cpu", {"sve_bf16": True}, "float32"),  # ARM, not measured
        ("cpu", {}, "float32"),  # not known
        ("mps", {"avx512_bf16": True}, "float32"),
    ],
)
def test_the_fast_dtype_is_bfloat16_where_there_are_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, device: str | None, capabilities: dict[str, bool], dtype: str
) -> None:
    monkeypatch.setattr(cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert devices.fast_dtype(device) == dtype


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_asked_for_its_own_bfloat16(monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "is_bf16_supported", lambda including_emulation: fast)
    assert devices.fast_dtype("cuda:1") == dtype


def test_a_policy_of_dtype_auto_holds_the_dtype_that_it_became(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, dtype in (({"avx2": True}, "float32"), ({"amx_bf16": True}, "bfloat16")):
        monkeypatch.setattr(cpu, "get_capabilities", lambda made=capabilities: made, raising=False)
        assert InspireVLAConfig(device="cpu", dtype="auto").dtype == dtype


def test_a_training_that_would_be_slow_in_bfloat16_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    devices.warn_of_slow_bfloat16("cpu", "float32")
    assert not caplog.records
    devices.warn_of_slow_bfloat16("cpu", "bfloat16")
    assert "no instructions for bfloat16" in caplog.text
