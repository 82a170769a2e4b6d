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


BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16")
"""torch's names of what makes bfloat16 fast on a CPU: three of x86, two of ARM."""


def is_slow_in_bfloat16(device: str | None, dtype: str) -> bool:
    """Whether `dtype` is bfloat16 on a CPU without instructions for it. False where torch does not know the CPU."""
    if device != "cpu" or dtype != "bfloat16":
        return False
    from torch import cpu

    abilities = cpu.get_capabilities() if hasattr(cpu, "get_capabilities") else {}
    return bool(abilities) and not any(abilities.get(name) for name in BFLOAT16_INSTRUCTIONS)


def warn_of_slow_bfloat16(device: str | None, dtype: str) -> None:
    """Log a warning where a training in `dtype` would be slow on this CPU."""
    if is_slow_in_bfloat16(device, dtype):
        log.warning(
            "This CPU has no instructions for bfloat16 (avx512_bf16 or amx_bf16), so training in bfloat16 is slower "
            "than in float32, perhaps many times. Policies: --policy.dtype=float32. Pre-training: the recipe's `dtype`."
        )
