"""An agent whose policy runs on a server, for evaluation and everything else that takes an agent.

Each row of a batch uses a connection of its own, so that the server decides the rows together.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.instruction import Overrides, mentions_of, override_for, overrides_from_json
from inspire_vla.serving.client import PolicyClient, Reply


class RemoteAgent:
    """The policy of a server, as an agent. It keeps nothing of an episode and opens connections as rows need them.

    Args:
        mentions: instruction → objects to ask about, in place of those that the server finds.
        client: options of PolicyClient: url, api_key, timeout_s, connect_timeout_s.
    """

    def __init__(self, mentions: Overrides | None = None, **client: Any) -> None:
        self._options = client
        self._clients = [PolicyClient(**client)]
        self.metadata = self._clients[0].metadata
        if self.metadata.get("policy") != "inspire_vla":
            raise InspireError(
                f"{self._clients[0].url} does not serve an inspire_vla policy; its metadata are "
                f"{str(self.metadata)[:200]}. PolicyClient works with any server of openpi's protocol."
            )
        reasoning = self.metadata["reasoning"]
        keys = ("mode", "frame", "close_threshold_m", "grasped_word", "max_objects")
        self.answer_rule = {key: reasoning[key] for key in keys}
        served = reasoning.get("mention_overrides") or {}
        self.mention_overrides: Overrides = {
            **{text: override_for(names) for text, names in served.items()},
            **(mentions or {}),
        }
        self._mentions = dict(mentions or {})
        self.reasoning_enabled = bool(reasoning["enabled"])
        self.n_action_steps = int(self.metadata["n_action_steps"])
        self.n_obs_steps = int(self.metadata["n_obs_steps"])

    def act(
        self,
        observations: Sequence[Mapping[str, Any]],
        instructions: Sequence[str],
        overrides: Sequence[Mapping[str, str] | None] | None = None,
        drafts: Sequence[Mapping[str, str] | None] | None = None,
        mentions: Sequence[Sequence[Any] | None] | None = None,
    ) -> list[Reply]:
        """Return a reply per row, like `lerobot_plugin.Agent.act`. Raises ServerError or Unreachable."""
        if len(observations) != len(instructions) or not observations:
            raise InspireError(f"{len(observations)} observations for {len(instructions)} instructions.")
        while len(self._clients) < len(observations):
            self._clients.append(PolicyClient(**self._options))
        none: list[Any] = [None] * len(observations)
        rows = zip(
            observations, instructions, overrides or none, drafts or none, mentions or none, strict=True
        )
        waiting: list[PolicyClient] = []
        replies: list[Reply] = []
        try:
            for client, row in zip(self._clients, rows, strict=False):
                client.send(self._message(*row))
                waiting.append(client)
            while waiting:
                replies.append(waiting.pop(0).receive())
        except InspireError:
            for client in waiting:  # their replies must not be taken for the next ones
                client.close()
            raise
        return replies

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()

    def _message(
        self,
        observation: Mapping[str, Any],
        instruction: str,
        overrides: Mapping[str, str] | None,
        drafts: Mapping[str, str] | None,
        mentions: Sequence[Any] | None,
    ) -> dict[str, Any]:
        pixels, cameras = observation["pixels"], self.metadata["cameras"]
        missing = [camera for camera in cameras if camera not in pixels]
        if missing:
            raise InspireError(f"The policy needs camera {missing[0]!r}; found {sorted(pixels)}.")
        message = {key: pixels[camera] for camera, key in cameras.items()}
        message |= {"instruction": instruction, "undecodable": True, "drafts": dict(drafts or {})}
        if self.metadata["state_dim"]:
            message["observation/state"] = observation["agent_pos"]
        if overrides:
            message["overrides"] = dict(overrides)
        given = self._mentions.get(instruction) if mentions is None else override_for(mentions)
        if given is not None:
            message["mentions"] = list(mentions_of(given))
        return message


def connect(
    url: str, api_key_env: str | None = None, mentions: Mapping[str, Any] | None = None
) -> RemoteAgent:
    """Return an agent, in a worker process.

    Args:
        api_key_env: names the environment variable that holds the key.
        mentions: overrides as JSON values, see `instruction.overrides`.
    """
    overrides = overrides_from_json(mentions or {})
    return RemoteAgent(mentions=overrides, url=url, api_key=api_key_from(api_key_env))


def api_key_from(variable: str | None) -> str | None:
    """Return the API key in an environment variable. Raises InspireError if it is not set."""
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise InspireError(f"The environment variable {variable} holds no API key.")
    return key
