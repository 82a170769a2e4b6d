"""What torch computes on here."""

import logging

from inspire_vla.errors import InspireError, did_you_mean

log = logging.getLogger(__name__)


def check_device(device: str | None) -> None:
    """Raise InspireError for a device that torch does not have here. For None and "cpu", torch is not imported."""
    if device in (None, "cpu"):
        return
    possible = devices()
    if device not in possible:
        raise InspireError(f"The device {device!r} cannot be used here.{did_you_mean(str(device), possible)}")


def devices() -> list[str]:
    """The devices that torch computes on here: cpu, and an accelerator by its kind and by its numbers."""
    from torch import accelerator

    gpu = accelerator.current_accelerator() if accelerator.is_available() else None
    if gpu is None:
        return ["cpu"]
    return ["cpu", gpu.type, *(f"{gpu.type}:{i}" for i in range(accelerator.device_count()))]


X86_BFLOAT16 = ("avx512_bf16", "amx_bf16", "avx10_2")
"""torch's names of what makes bfloat16 fast on a CPU of x86."""
ARM_BFLOAT16 = ("bf16", "sve_bf16")
"""Those of ARM, where it was not measured: there is no warning, and "auto" is float32."""

AUTO = "auto"
"""Stands for the dtype that a training is fast in, see `fast_dtype`."""


def fast_dtype(device: str | None) -> str:
    """Return the dtype that a training on `device` is fast in: bfloat16 on CUDA and x86 with instructions for it."""
    import torch

    if device is None or device == "cpu":
        return "bfloat16" if any(_cpu_abilities().get(name) for name in X86_BFLOAT16) else "float32"
    on_cuda = device.startswith("cuda") and torch.cuda.is_available()
    return "bfloat16" if on_cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def is_slow_in_bfloat16(device: str | None, dtype: str) -> bool:
    """Whether `dtype` is bfloat16 on a CPU without instructions for it. False where torch does not know the CPU."""
    if device != "cpu" or dtype != "bfloat16":
        return False
    abilities = _cpu_abilities()
    return bool(abilities) and not any(abilities.get(name) for name in (*X86_BFLOAT16, *ARM_BFLOAT16))


def _cpu_abilities() -> dict[str, bool]:
    """What the CPU has, by torch's names. Empty where torch does not know."""
    from torch import cpu

    return cpu.get_capabilities() if hasattr(cpu, "get_capabilities") else {}


def warn_of_slow_bfloat16(device: str | None, dtype: str) -> None:
    """Log a warning where a training in `dtype` would be slow on this CPU."""
    if is_slow_in_bfloat16(device, dtype):
        log.warning(
            "This CPU has no instructions for bfloat16 (avx512_bf16 or amx_bf16), so training in bfloat16 is slower "
            "than in float32, perhaps many times. Policies: --policy.dtype=auto. Pre-training: the recipe's `dtype`."
        )
