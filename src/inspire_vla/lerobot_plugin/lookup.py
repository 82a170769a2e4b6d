"""Which folder the name of a checkpoint means: one here, one that a training wrote, a shipped one, one of the hub."""

from pathlib import Path

import inspire_vla
from inspire_vla.errors import InspireError, did_you_mean

SHIPPED = Path(inspire_vla.__file__).parent / "checkpoints"
INSIDE = ("", "pretrained_model", "checkpoints/last/pretrained_model")
"""Where a config.json may lie in a folder that `inspire train` or LeRobot wrote."""
WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
"""A whole checkpoint's, or those of a LoRA, which names the checkpoint that it was trained on."""


def shipped() -> list[str]:
    """Names of the checkpoints in this package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def find(policy: str | Path) -> Path:
    """The folder that holds config.json and the weights, or those of a LoRA.

    Args:
        policy: a folder, or one that a training wrote; the name of a shipped checkpoint; or "user/name" of the hub,
            which is asked only where there is no folder "user" here.

    Raises:
        InspireError: a folder without a checkpoint, or a name that is none of these.
    """
    given = Path(policy)
    for folder in (given, SHIPPED / given) if len(given.parts) == 1 else (given,):
        for inside in INSIDE:
            if (folder / inside / "config.json").is_file():
                weights(folder / inside)
                return folder / inside
    if not given.is_dir():
        given = of_hub(policy)
        if (given / "config.json").is_file():
            weights(given)
            return given
    raise InspireError(
        f"{policy} is no checkpoint: there is no config.json in it, nor in {list(INSIDE[1:])}. "
        f"Found: {sorted(p.name for p in given.iterdir())[:20]}."
    )


def weights(folder: Path) -> Path:
    """The file of a checkpoint's weights. Raises InspireError where it is missing."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InspireError(f"{folder} is not a whole checkpoint: {WEIGHTS[0]} is missing.")


def of_hub(name: str | Path, revision: str | None = None) -> Path:
    """The folder into which a repository of the hub is downloaded, or was before.

    Raises InspireError for what can be no name there, or begins with a folder that is here, and for a repository that
    cannot be had.
    """
    path = Path(name)
    user = path.parts[0] if len(path.parts) == 2 else "."
    if path.is_absolute() or user in (".", "..", "~") or Path(user).is_dir():
        raise InspireError(
            f"unknown checkpoint {str(name)!r}: neither a folder here nor a hub name 'user/name'."
            f"{did_you_mean(str(name), _possible(path))}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), revision=revision))
    except (OSError, ValueError) as error:  # the hub's own errors are such
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InspireError(
            f"unknown checkpoint {str(name)!r}: neither a folder here nor reachable on the hub "
            f"({why}).{did_you_mean(str(name), _possible(path))}"
        ) from error


def _possible(path: Path) -> list[str]:
    """Shipped checkpoints, and those that lie where this one should."""
    beside = path.parent.iterdir() if len(path.parts) > 1 and path.parent.is_dir() else ()
    here = [str(p) for p in beside if any((p / inside / "config.json").is_file() for inside in INSIDE)]
    return [*shipped(), *here]
