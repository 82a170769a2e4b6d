"""What torch computes on here."""

from inspire_vla.errors import InspireError, did_you_mean


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
    return [
        "cpu",
        gpu.type,
        *(f"{gpu.type}:{i}" for i in range(accelerator.device_count())),
    ]
