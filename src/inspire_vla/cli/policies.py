"""Checkpoints by folder or by shipped name, and what a run says of them."""

import contextlib
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import inspire_vla
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.evaluation import Factory

SHIPPED = Path(inspire_vla.__file__).parent / "checkpoints"
INSIDE = ("", "pretrained_model", "checkpoints/last/pretrained_model")
"""Where a config.json may lie in a folder that `inspire train` or LeRobot wrote."""
WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
"""A whole checkpoint's, or those of a LoRA, which names the checkpoint that it was trained on."""


def shipped() -> list[str]:
    """Names of the checkpoints in this package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def find(policy: str | Path) -> Path:
    """Return the folder that holds config.json and the weights, or those of a LoRA.

    Raises InspireError for a folder without them, or a name that is neither a folder nor shipped.
    """
    given = Path(policy)
    for folder in (given, SHIPPED / given) if len(given.parts) == 1 else (given,):
        for inside in INSIDE:
            if (folder / inside / "config.json").is_file():
                found = folder / inside
                weights(found)
                return found
    if given.is_dir():
        raise InspireError(
            f"{policy} is no checkpoint: there is no config.json in it, nor in {list(INSIDE[1:])}. "
            f"Found: {sorted(p.name for p in given.iterdir())[:20]}."
        )
    raise InspireError(
        f"unknown checkpoint {str(policy)!r}: no such folder.{did_you_mean(str(policy), shipped())}"
    )


def weights(folder: Path) -> Path:
    """Return the file of a checkpoint's weights. Raises InspireError where it is missing."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InspireError(f"{folder} is not a whole checkpoint: {WEIGHTS[0]} is missing.")


def describe(policy: str | Path, name: str | None = None) -> dict[str, Any]:
    """Return what identifies a checkpoint, from its config.json and the hash of its weights."""
    folder = find(policy)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise InspireError(f"{folder / 'config.json'} cannot be read: {error}.") from error
    if config.get("type") != "inspire_vla":
        raise InspireError(f"{folder} is a policy of type {config.get('type')!r}, not 'inspire_vla'.")
    reasoning = config.get("reasoning") or {}
    prefix = "observation.images."
    pictures = {
        k.removeprefix(prefix): v for k, v in config["input_features"].items() if k.startswith(prefix)
    }
    sizes = {tuple(feature["shape"])[-1] for feature in pictures.values()}
    if len(sizes) != 1:
        raise InspireError(f"{folder}: all pictures must have one size, found {sorted(sizes)}.")
    return {
        "name": name or ("InSpire" if reasoning.get("enabled") else "base"),
        "checkpoint": folder.name if folder.name != "pretrained_model" else folder.parent.parent.parent.name,
        "sha256": sha256(weights(folder)),
        "backbone": config.get("backbone"),
        "action_tokenizer": config.get("action_tokenizer"),
        "reasoning": reasoning,
        "cameras": sorted(pictures),
        "image_size": sizes.pop(),
    }


def trained_on(policy: str | Path | None) -> list[str] | None:
    """Suites that a checkpoint has seen in training; None is unknown, as of a policy that is not here."""
    from inspire_vla.lerobot_plugin.trained_on import load_trained_on

    suites = None if policy is None else load_trained_on(find(policy))
    return None if suites is None else list(suites)


def sha256(path: Path) -> str:
    """Return the hash of a file, to say which weights made a number."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def agent_for(policy: str | Path, device: str | None = None) -> Factory:
    """Return the factory of a checkpoint's agent, to be called in every worker."""
    return Factory("inspire_vla.cli.policies:load", {"path": str(find(policy).resolve()), "device": device})


def load(path: str, device: str | None = None) -> Any:
    """Load the agent, after which its imports count: LeRobot and torch."""
    from inspire_vla.lerobot_plugin.loading import load_policy

    with contextlib.redirect_stdout(io.StringIO()):  # LeRobot announces every load
        return load_policy(path, device=device)
