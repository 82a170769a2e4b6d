"""Policies as agents: a checkpoint, or a policy on a server, with what a run records about it."""

import asyncio
import contextlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inspire_vla.dialogue import AnswerRule
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.evaluation import Factory, PolicyDescription, PolicyInputs, PolicyShapes
from inspire_vla.files import file_sha256, read_json
from inspire_vla.instruction import Overrides, mentions_of, overrides_from_json, overrides_to_json
from inspire_vla.lerobot_plugin import checkpoints
from inspire_vla.lerobot_plugin.checkpoint_schema import read_config
from inspire_vla.lerobot_plugin.checkpoints import find, settings_sha256, tokenizer_settings, weights
from inspire_vla.lerobot_plugin.dataset_origin import Suites, suites_in
from inspire_vla.lerobot_plugin.observation_forms import camera_of

IDENTITY = ("name", "checkpoint", "sha256", "settings_sha256", "backbone", "action_tokenizer")
"""The part of a description that a policy server sends to its clients."""


def describe(checkpoint: str | Path, name: str | None = None) -> PolicyDescription:
    """Return what identifies a checkpoint, read from its config.json and its weights. Nothing is loaded.

    Args:
        checkpoint: a folder, the name of an included checkpoint, or "user/name" on the hub.
        name: the policy's name in tables; by default InSpire or base.

    Raises:
        InspireError: no such checkpoint, or a checkpoint of another policy type.
    """
    folder = find(checkpoint)
    config = read_config(folder)
    reasoning = config["reasoning"]
    return {
        "name": name or ("InSpire" if reasoning.get("enabled") else "base"),
        "checkpoint": _checkpoint_name(checkpoint, folder),
        "sha256": file_sha256(weights(folder)),
        "settings_sha256": settings_sha256(folder),
        "backbone": config.get("backbone"),
        # None: a flow expert acts, also where codes are trained beside it
        "action_tokenizer": None if config.get("action_head") == "flow" else config.get("action_tokenizer"),
        "reasoning": reasoning,
        **inputs(checkpoint),
    }


def as_begun(policy: PolicyDescription, checkpoint: str | Path | None, run: str | Path) -> PolicyDescription:
    """Return a checkpoint's description as the run in a folder recorded it, where only the version differs.

    Earlier versions counted the path of `pretrained_init` as a setting.
    """
    info = read_json(Path(run, "run.json"), dict[str, Any]) if Path(run, "run.json").is_file() else {}
    recorded = info.get("policy", {}).get("settings_sha256")
    if checkpoint is None or recorded != settings_sha256(find(checkpoint), counts_init=True):
        return policy
    return {**policy, "settings_sha256": recorded}


def check_attention(policy: PolicyDescription) -> None:
    """Raise InspireError for a described policy whose attention cannot be drawn."""
    checkpoints.check_attention(
        has_codes=policy["action_tokenizer"] is not None,
        asks_apart=bool(policy["reasoning"].get("separate_questions")),
        name=f"{policy['name']} ({policy['checkpoint']})",
    )


def inputs(checkpoint: str | Path) -> PolicyShapes:
    """Return what a policy takes and gives: cameras with the sizes of their images, numbers of state and action.

    Only config.json is read, so this answers at once also for a large checkpoint.

    Raises:
        InspireError: no such checkpoint, or one without an action.
    """
    folder = find(checkpoint)
    config = read_config(folder)
    if "action" not in config["output_features"]:
        raise InspireError(
            f"{folder} has no `action` among its outputs: {sorted(config['output_features'])}."
        )
    features = config["input_features"]
    images = {camera_of(key): feature for key, feature in features.items() if feature["type"] == "VISUAL"}
    state = features.get("observation.state")
    return _shapes(
        {camera: feature["shape"][-2:] for camera, feature in images.items()},
        0 if state is None else state["shape"][0],
        config["output_features"]["action"]["shape"][0],
    )


def configured(checkpoint: str | Path) -> dict[str, Any]:
    """Return a checkpoint's config.json, such as {"chunk_size": 4, "n_obs_steps": 1, …}. Nothing is loaded."""
    return read_config(find(checkpoint))


def check_overrides(policy: PolicyDescription, overrides: Mapping[str, str]) -> None:
    """Raise InspireError for answers, by mention, that a described policy cannot be given."""
    if not overrides:
        return
    reasoning = policy["reasoning"]
    if not reasoning.get("enabled") or reasoning.get("separate_questions"):
        raise InspireError(
            f"{policy['name']} ({policy['checkpoint']}) acts without answers, so none can be overridden; found "
            f"{dict(overrides)}. Possible with a policy that is asked questions before it acts."
        )
    words = AnswerRule.of_reasoning(reasoning).words()
    for word in overrides.values():
        if word not in words:
            raise InspireError(f"{word!r} is no answer of {policy['checkpoint']}.{did_you_mean(word, words)}")


def _shapes(sizes: Mapping[str, Sequence[int]], state_dim: int, action_dim: int) -> PolicyShapes:
    sides = {side for size in sizes.values() for side in size}
    return {
        "cameras": sorted(sizes),
        "image_sizes": {camera: list(sizes[camera]) for camera in sorted(sizes)},
        "image_size": sides.pop() if len(sides) == 1 else None,
        "state_dim": state_dim,
        "action_dim": action_dim,
    }


def check_mentions(policy: PolicyDescription, mentions: Overrides | None) -> None:
    """Raise InspireError if mention overrides are given for a described policy that asks no questions."""
    if mentions and not policy["reasoning"].get("enabled"):
        raise InspireError(
            f"{policy['name']} ({policy['checkpoint']}) asks no questions; leave out the mention overrides."
        )


def agent_factory(
    checkpoint: str | Path, device: str | None = None, mentions: Overrides | None = None
) -> Factory:
    """Return the factory of a checkpoint's agent. Worker processes call it. `mentions`: see `load_policy`."""
    arguments: dict[str, Any] = {"path": str(find(checkpoint).resolve()), "device": device}
    if mentions:
        arguments["mentions"] = overrides_to_json(mentions)
    return Factory("inspire_vla.policies:load_agent", arguments)


def load_agent(path: str, device: str | None = None, mentions: Mapping[str, Any] | None = None) -> Any:
    """Load a checkpoint as an agent, without the messages that LeRobot prints. `mentions`: as JSON values.

    nano is too small for several threads: beside another program they wait for each other
    (benchmarks/waiting_threads.py). So PyTorch computes with one in this process, unless OMP_NUM_THREADS is set.
    """
    import torch

    from inspire_vla.lerobot_plugin.agent import load_policy

    with contextlib.redirect_stdout(io.StringIO()):
        agent = load_policy(path, device=device, mentions=overrides_from_json(mentions or {}))
    if agent.config.backbone == "nano" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return agent


def remote(
    url: str,
    api_key_env: str | None = None,
    name: str | None = None,
    mentions: Overrides | None = None,
    *,
    patient: bool = False,
) -> tuple[PolicyDescription, Factory]:
    """Connect to a policy server; return the description of its policy and the factory of an agent.

    The agent refuses another policy than this one. patient: it waits for a server that is away.

    Raises:
        InspireError: no server there, or one of another kind of policy.
    """
    from inspire_vla.serving.remote_agent import connect, identity_of

    arguments: dict[str, Any] = {"url": url, "api_key_env": api_key_env}
    if mentions:
        arguments["mentions"] = overrides_to_json(mentions)
    agent = connect(**arguments)
    metadata = agent.metadata
    agent.close()
    policy: PolicyDescription = {
        "name": name or metadata.get("name") or "remote",
        "checkpoint": metadata.get("checkpoint"),
        "sha256": metadata.get("sha256"),
        "settings_sha256": metadata.get("settings_sha256"),
        "backbone": metadata.get("backbone"),
        "action_tokenizer": metadata.get("action_tokenizer"),
        "reasoning": metadata["reasoning"],
        **_shapes(metadata["image_sizes"], metadata["state_dim"], metadata["action_dim"]),
    }
    arguments |= {"expected": identity_of(metadata), "patient": patient}
    return policy, Factory("inspire_vla.serving.remote_agent:connect", arguments)


def serve(
    checkpoint: str | Path,
    *,
    name: str | None = None,
    device: str | None = None,
    mentions: Overrides | None = None,
    keys: Mapping[str, str] | None = None,
    on_ready: Callable[[str], None] = print,
    **settings: Any,
) -> None:
    """Serve a checkpoint to robots over openpi's web-socket protocol until interrupted.

    Args:
        name: the policy's name, sent to clients.
        mentions: instruction → objects to ask about, besides those that the checkpoint holds.
        keys: camera → key of its image in a client's message; by default observation/CAMERA.
        on_ready: called with a line that names the policy and its URL, once clients can connect.
        settings: fields of `serving.server.ServerSettings`, such as host, port and api_key.

    Raises:
        InspireError: no such checkpoint, or settings that cannot be used.
    """
    from inspire_vla.serving.observations import check_cameras
    from inspire_vla.serving.runtime import check_port, log
    from inspire_vla.serving.server import PolicyServer, ServerSettings

    options = ServerSettings(**settings)
    about = describe(checkpoint, name)
    check_mentions(about, mentions)
    check_cameras(keys or {}, about["cameras"])
    check_port(options.host, options.port)
    log("loading", checkpoint=about["checkpoint"])
    agent = agent_factory(checkpoint, device, mentions)()
    identity = {key: value for key, value in about.items() if key in IDENTITY}
    server = PolicyServer(agent, options, keys=dict(keys or {}), about=identity)
    asyncio.run(server.run(lambda port: on_ready(f"{about['name']} at ws://{options.host}:{port}")))


def trained_on(checkpoint: str | Path | None) -> Suites:
    """Return the suites and tasks that a checkpoint was trained on; None if unknown, as for a policy on a server."""
    return None if checkpoint is None else suites_in(tokenizer_settings(find(checkpoint)))


def training_data(checkpoint: str | Path | None) -> list[dict[str, Any]]:
    """Return the datasets that a checkpoint was trained on, with the episodes that were held out; [] if unknown."""
    return [] if checkpoint is None else list(tokenizer_settings(find(checkpoint)).get("training_data", ()))


def playback_inputs(
    policy: PolicyDescription,
    columns: Mapping[str, str],
    *,
    checkpoint: str | Path | None = None,
    mentions: Overrides | None = None,
) -> PolicyInputs:
    """Return what a described policy takes, for playback of recorded episodes.

    Args:
        columns: camera of the policy → camera of the dataset, where their names differ.
        checkpoint: the policy's, whose mention overrides are read; None for a policy on a server.
        mentions: further mention overrides.
    """
    return PolicyInputs(
        {camera: (height, width) for camera, (height, width) in policy["image_sizes"].items()},
        policy["state_dim"],
        policy["action_dim"],
        answer_rule(policy, checkpoint=checkpoint, mentions=mentions),
        columns,
    )


def answer_rule(
    policy: PolicyDescription, *, checkpoint: str | Path | None = None, mentions: Overrides | None = None
) -> AnswerRule | None:
    """Return how a described policy's answers are made, with its mention overrides; None for one that is asked nothing.

    checkpoint, mentions: see `playback_inputs`.
    """
    reasoning = policy["reasoning"]
    if not reasoning.get("enabled"):
        return None
    served = overrides_from_json(reasoning.get("mention_overrides") or {})
    overrides = {**(served if checkpoint is None else stored_overrides(checkpoint)), **(mentions or {})}
    by_text = {text: mentions_of(roles) for text, roles in overrides.items()}
    return replace(AnswerRule.of_reasoning(reasoning), overrides=by_text)


def stored_overrides(checkpoint: str | Path) -> Overrides:
    """Return the mention overrides that a checkpoint holds."""
    return overrides_from_json(tokenizer_settings(find(checkpoint)).get("mention_overrides", {}))


def _checkpoint_name(checkpoint: str | Path, folder: Path) -> str:
    """The name a checkpoint is included or published under, or that of its folder or of its training's folder."""
    if not Path(checkpoint).is_dir():
        return str(checkpoint)
    return folder.name if folder.name != "pretrained_model" else folder.parent.parent.parent.name
