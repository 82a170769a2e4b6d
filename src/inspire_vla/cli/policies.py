"""Checkpoints by folder or by name, and what a run says of them."""

import contextlib
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import Factory
from inspire_vla.lerobot_plugin.lookup import find, weights


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
    images = {k.removeprefix(prefix): v for k, v in config["input_features"].items() if k.startswith(prefix)}
    sizes = {tuple(feature["shape"])[-1] for feature in images.values()}
    if len(sizes) != 1:
        raise InspireError(f"{folder}: all images must have one size, found {sorted(sizes)}.")
    return {
        "name": name or ("InSpire" if reasoning.get("enabled") else "base"),
        "checkpoint": _called(policy, folder),
        "sha256": sha256(weights(folder)),
        "backbone": config.get("backbone"),
        "action_tokenizer": config.get("action_tokenizer"),
        "reasoning": reasoning,
        "cameras": sorted(images),
        "image_size": sizes.pop(),
    }


def _called(policy: str | Path, folder: Path) -> str:
    """A checkpoint's name: that of its folder or its training's, or the one it is shipped or found on the hub by."""
    if not Path(policy).is_dir():
        return str(policy)
    return folder.name if folder.name != "pretrained_model" else folder.parent.parent.parent.name


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
