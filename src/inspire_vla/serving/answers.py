"""What a server says: of its policy when a client connects, and of every decision."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inspire_vla.serving.observations import ObservationReader
from inspire_vla.spatial import answer_words, says_close


def reply_of(decision: Any, timing: Mapping[str, float], unused: tuple[str, ...]) -> dict[str, Any]:
    """Return a decision as it is sent. `unused`: keys of the observation that the policy has no use for."""
    reply: dict[str, Any] = {
        "actions": None if decision.actions is None else np.ascontiguousarray(decision.actions),
        "server_timing": dict(timing),
        "reasoning": reasoning_of(decision),
    }
    if unused:
        reply["unused"] = list(unused[:20])
    return reply


def reasoning_of(decision: Any) -> dict[str, Any]:
    """A decision's reasoning: lists that run parallel to `mentions`."""
    return {
        "mentions": list(decision.mentions),
        "answers": list(decision.answers),
        "confidences": [float(confidence) for confidence in decision.confidences],
        "overridden": [bool(overridden) for overridden in decision.overridden],
        "accepted": [bool(accepted) for accepted in decision.accepted],
        "forward_passes": int(decision.forward_passes),
    }


def describe(agent: Any, reader: ObservationReader, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a server says of its policy; `about` adds to it."""
    config = agent.config
    reasoning = config.reasoning
    close = says_close(reasoning.mode, reasoning.close_threshold_m)
    words = answer_words(reasoning.mode, grasped_word=reasoning.grasped_word, close_word=close)
    return {
        "policy": "inspire_vla",
        **about,
        "cameras": reader.keys(),
        "image_size": list(next(iter(reader.sizes.values()))),
        "image_sizes": {camera: list(size) for camera, size in reader.sizes.items()},
        "n_obs_steps": reader.n_obs_steps,
        "state_dim": reader.state_dim,
        "action_dim": int(config.action_feature.shape[0]),
        "chunk_size": int(config.chunk_size),
        "n_action_steps": int(config.n_action_steps),
        "reasoning": {
            "enabled": bool(reasoning.enabled),
            "mode": reasoning.mode,
            "frame": str(reasoning.frame),
            "close_threshold_m": reasoning.close_threshold_m,
            "grasped_word": bool(reasoning.grasped_word),
            "max_objects": int(reasoning.max_objects),
            "words": list(words),
        },
    }
