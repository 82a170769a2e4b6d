"""An agent whose policy runs elsewhere: `act` over the network, for evaluation and anything else that takes an agent.

Each row of a batch has a connection of its own, so that the server decides the rows together.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.serving.client import PolicyClient, Reply


class RemoteAgent:
    """The policy of a server, as an agent. Holds no state of episodes; connections open as rows need them.

    Args:
        client: options of PolicyClient: url, api_key, timeout_s, connect_timeout_s.
    """

    def __init__(self, **client: Any) -> None:
        self._options = client
        self._clients = [PolicyClient(**client)]
        self.metadata = self._clients[0].metadata
        if self.metadata.get("policy") != "inspire_vla":
            raise InspireError(
                f"{self._clients[0].url} serves no policy of ours; it says {str(self.metadata)[:200]}. "
                "PolicyClient talks to any server of openpi's protocol."
            )
        reasoning = self.metadata["reasoning"]
        self.answer_rule = {
            key: reasoning[key]
            for key in ("mode", "frame", "close_threshold_m", "grasped_word", "max_objects")
        }
        self.reasoning_enabled = bool(reasoning["enabled"])
        self.n_action_steps = int(self.metadata["n_action_steps"])
        self.n_obs_steps = int(self.metadata.get("n_obs_steps", 1))

    def act(
        self,
        observations: Sequence[Mapping[str, Any]],
        instructions: Sequence[str],
        overrides: Sequence[Mapping[str, str] | None] | None = None,
        drafts: Sequence[Mapping[str, str] | None] | None = None,
    ) -> list[Reply]:
        """As `lerobot_plugin.loading.Agent.act`. Raises ServerError or Unreachable."""
        if len(observations) != len(instructions) or not observations:
            raise InspireError(f"{len(observations)} observations for {len(instructions)} instructions.")
        while len(self._clients) < len(observations):
            self._clients.append(PolicyClient(**self._options))
        nothing: list[Mapping[str, str] | None] = [None] * len(observations)
        rows = zip(observations, instructions, overrides or nothing, drafts or nothing, strict=True)
        asked: list[PolicyClient] = []
        replies: list[Reply] = []
        try:
            for client, (observation, instruction, forced, likely) in zip(self._clients, rows, strict=False):
                client.send(self._message(observation, instruction, forced, likely))
                asked.append(client)
            while asked:
                replies.append(asked.pop(0).receive())
        except InspireError:
            for client in asked:  # their answers would be taken for those of the next question
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
        forced: Mapping[str, str] | None,
        likely: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        pixels = observation["pixels"]
        missing = [camera for camera in self.metadata["cameras"] if camera not in pixels]
        if missing:
            raise InspireError(f"The policy looks through {missing[0]!r}; found {sorted(pixels)}.")
        message = {key: pixels[camera] for camera, key in self.metadata["cameras"].items()}
        message |= {"instruction": instruction, "undecodable": True, "drafts": dict(likely or {})}
        if self.metadata["state_dim"]:
            message["observation/state"] = observation["agent_pos"]
        if forced:
            message["overrides"] = dict(forced)
        return message


def connect(url: str, api_key_env: str | None = None) -> RemoteAgent:
    """Make the agent in a worker process; the key comes from an environment variable, not from a run's file."""
    return RemoteAgent(url=url, api_key=api_key_from(api_key_env))


def api_key_from(variable: str | None) -> str | None:
    """Return the API key that an environment variable holds. Raises InspireError where it holds none."""
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise InspireError(f"The environment variable {variable} holds no API key.")
    return key
