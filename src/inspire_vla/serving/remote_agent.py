"""An agent whose policy runs on a server, for evaluation and everything else that takes an agent.

Each row of a batch uses a connection of its own, so that the server decides the rows together. Where the server takes
no more connections, rows share those that there are, one after another.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from pydantic import TypeAdapter, ValidationError

from inspire_vla.dialogue import AnswerRule
from inspire_vla.errors import InspireError, PolicyLost, counted
from inspire_vla.files import describe
from inspire_vla.instruction import Overrides, mentions_of, override_for, overrides_from_json
from inspire_vla.serving.client import Full, NoReply, NotAccepted, PolicyClient, Reply, Unreachable

RECONNECT_S, PAUSE_S = 2.0, 1.0
"""A patient agent tries to connect for so long, then pauses."""
MAX_UNANSWERED = 5
"""So many observations without a reply in time, one after another, end the waiting."""


class _Reasoning(TypedDict):
    enabled: bool
    mode: str
    frame: str
    close_threshold_m: float | None
    grasped_word: bool
    max_objects: int
    separate_questions: NotRequired[bool]
    mention_overrides: NotRequired[dict[str, list[str]]]


class _Metadata(TypedDict):
    """What is read of a server's metadata."""

    cameras: dict[str, str]
    image_sizes: dict[str, tuple[int, int]]
    state_dim: int
    action_dim: int
    n_action_steps: int
    n_obs_steps: int
    reasoning: _Reasoning


def identity_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a served policy the same: its weights' hash and what it takes and answers, not its name."""
    if metadata.get("sha256") is None:
        return dict(metadata)
    return {key: value for key, value in metadata.items() if key not in ("name", "checkpoint")}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class RemoteAgent:
    """The policy of a server, as an agent. It keeps nothing of an episode and opens connections as rows need them.

    Raises PolicyLost where another policy answers than at first: after a restart of the server, or behind one address.

    Args:
        expected: `identity_of` the policy that it must be; None: the one that answers first.
        patient: wait for a server that is away, instead of raising Unreachable.
        mentions: instruction → objects to ask about, in place of those that the server finds.
        client: options of PolicyClient: url, api_key, timeout_s, connect_timeout_s.
    """

    def __init__(
        self,
        mentions: Overrides | None = None,
        *,
        expected: Mapping[str, Any] | None = None,
        patient: bool = False,
        **client: Any,
    ) -> None:
        self.patient = patient
        self._options = client | ({"connect_timeout_s": RECONNECT_S} if patient else {})
        self._clients: list[PolicyClient] = []
        self._full = False
        self._patiently(lambda: self._clients.append(PolicyClient(**self._options)))
        self.url, self.metadata = self._clients[0].url, self._clients[0].metadata
        if self.metadata.get("policy") != "inspire_vla":
            raise InspireError(
                f"{self.url} does not serve an inspire_vla policy; its metadata are "
                f"{str(self.metadata)[:200]}. PolicyClient works with any server of openpi's protocol."
            )
        try:
            TypeAdapter(_Metadata).validate_python(self.metadata)
        except ValidationError as error:
            raise InspireError(
                f"{self.url} is served by another version of inspire_vla; what it says of its policy {describe(error)} "
                "Install one version on both sides."
            ) from None
        self._expected = dict(expected or identity_of(self.metadata))
        self._check_identity(self._clients[0])
        reasoning = self.metadata["reasoning"]
        self.answer_rule = AnswerRule.of_reasoning(reasoning)
        served = reasoning.get("mention_overrides") or {}
        self.mention_overrides: Overrides = {
            **{text: override_for(names) for text, names in served.items()},
            **(mentions or {}),
        }
        self._mentions = dict(mentions or {})
        self.reasoning_enabled = bool(reasoning["enabled"])
        self.answers_precede_action = not reasoning.get("separate_questions", False)
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
        """Return a reply per row, like `lerobot_plugin.Agent.act`.

        Raises ServerError, PolicyLost, or Unreachable; a patient agent waits instead of Unreachable.
        """
        if len(observations) != len(instructions) or not observations:
            raise InspireError(
                f"{counted(len(observations), 'observation')} for {counted(len(instructions), 'instruction')}."
            )
        none: list[Any] = [None] * len(observations)
        rows = list(
            zip(observations, instructions, overrides or none, drafts or none, mentions or none, strict=True)
        )
        return self._patiently(lambda: self._act(rows))

    def _patiently[T](self, ask: Callable[[], T]) -> T:
        """Call `ask`; a patient agent calls it again while the server is away."""
        if not self.patient:
            return ask()
        since, unanswered = time.monotonic(), 0
        announced = False
        while True:
            try:
                result = ask()
            except NotAccepted as error:
                raise PolicyLost(str(error)) from error
            except Unreachable as error:
                unanswered = unanswered + 1 if isinstance(error, NoReply) else 0
                if unanswered >= MAX_UNANSWERED:
                    raise PolicyLost(
                        f"{error} That was {unanswered} times in a row. Finished episodes are kept. Is the policy too "
                        "slow for its machine? Fewer --slots and --workers help."
                    ) from error
                if not announced:
                    _say(f"{error} Waiting for the server; finished episodes are kept, and Ctrl-C stops.")
                announced = True
                time.sleep(PAUSE_S)
            else:
                if announced:
                    _say(f"The server is back after {time.monotonic() - since:.0f} s.")
                return result

    def _act(self, rows: Sequence[Any]) -> list[Reply]:
        while len(self._clients) < len(rows) and not self._full:
            try:
                self._clients.append(PolicyClient(**self._options))
            except Full as error:  # to wait for more, as others may do as well, would block all of them
                self._full = True
                _say(f"{error} {counted(len(rows), 'row')} of a batch share {len(self._clients)}.")
            else:
                self._check_identity(self._clients[-1])
        together = len(self._clients)
        parts = [rows[start : start + together] for start in range(0, len(rows), together)]
        return [reply for part in parts for reply in self._act_together(part)]

    def _act_together(self, rows: Sequence[Any]) -> list[Reply]:
        waiting: list[PolicyClient] = []
        replies: list[Reply] = []
        try:
            for client, row in zip(self._clients, rows, strict=False):
                client.send(self._message(*row))
                waiting.append(client)
            while waiting:
                client = waiting.pop(0)
                reply = client.receive()
                self._check_identity(client)  # it may have reconnected, and to another policy
                replies.append(reply)
        except BaseException:  # also of an observation that lacks something, and of Ctrl-C
            for client in waiting:  # their replies must not be taken for the next ones
                client.close()
            raise
        return replies

    def _check_identity(self, client: PolicyClient) -> None:
        identity = identity_of(client.metadata)
        if identity == self._expected:
            return
        changed = sorted(
            key for key in self._expected | identity if self._expected.get(key) != identity.get(key)
        )
        if "sha256" in changed:
            changed = ["sha256"]  # says enough
        shown = [
            f"{key}: before {str(self._expected.get(key))[:80]}, now {str(identity.get(key))[:80]}"
            for key in changed
        ]
        raise PolicyLost(
            f"{self.url} serves another policy than at the start ({'; '.join(shown)}). Finished episodes are those of "
            "the first policy and are kept. Serve that one again and repeat the command, or evaluate the new one into "
            "another folder."
        )

    def close(self) -> None:
        """Close the connections."""
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
            if "agent_pos" not in observation:
                raise InspireError(f"The policy needs 'agent_pos'; found {sorted(map(str, observation))}.")
            message["observation/state"] = observation["agent_pos"]
        if overrides:
            message["overrides"] = dict(overrides)
        given = self._mentions.get(instruction) if mentions is None else override_for(mentions)
        if given is not None:
            message["mentions"] = list(mentions_of(given))
        return message


def connect(
    url: str,
    api_key_env: str | None = None,
    mentions: Mapping[str, Any] | None = None,
    expected: Mapping[str, Any] | None = None,
    patient: bool = False,
) -> RemoteAgent:
    """Return an agent, in a worker process.

    Args:
        expected, patient: see RemoteAgent.
        api_key_env: names the environment variable that holds the key.
        mentions: overrides as JSON values, see `instruction.overrides`.
    """
    overrides = overrides_from_json(mentions or {})
    key = api_key_from(api_key_env)
    return RemoteAgent(mentions=overrides, expected=expected, patient=patient, url=url, api_key=key)


def api_key_from(variable: str | None) -> str | None:
    """Return the API key in an environment variable, without the line end of a file that it was read from.

    Raises InspireError if it is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InspireError(f"The environment variable {variable} holds no API key.")
    return key
