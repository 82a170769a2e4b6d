"""What a run records about a policy. Made by `policies.describe`, read by whoever checks whether a policy fits."""

from collections.abc import Mapping
from typing import Any, TypedDict


class PolicyShapes(TypedDict):
    """What a policy takes and gives.

    cameras: names of its cameras. image_sizes: {camera: (height, width)} in pixels. image_size: the side of all images
    where they are square and of one size, else None. state_dim: 0 without a state. action_dim: numbers of an action.
    """

    cameras: list[str]
    image_sizes: dict[str, list[int]]
    image_size: int | None
    state_dim: int
    action_dim: int


class PolicyDescription(PolicyShapes):
    """What identifies a policy, and what it is asked. A policy on a server may leave out what identifies it.

    name: in tables. checkpoint: the name it is included or published under, or that of its folder. sha256: of its
    weights; settings_sha256: of what else changes its actions. action_tokenizer: None where a flow expert acts.
    reasoning: its settings, as in the checkpoint's config.
    """

    name: str
    checkpoint: str | None
    sha256: str | None
    settings_sha256: str | None
    backbone: str | None
    action_tokenizer: str | None
    reasoning: Mapping[str, Any]
