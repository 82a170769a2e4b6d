"""A client of a policy server: ours or any that speaks openpi's protocol. Needs numpy, msgpack and websockets only.

    with PolicyClient("ws://127.0.0.1:8000") as client:
        reply = client.infer({"observation/image": image, "observation/state": state, "prompt": "open the drawer"})
        reply.actions          # (horizon, action_dim)
        reply.answers_by_mention # {"the drawer": "left"}

One observation may be on the way at a time. `send` and `receive` are the two halves of `infer`: between them the
robot can go on moving.

An `instruction` holds until another. The server forgets it with the connection, so the client repeats the last one
with every observation, one that was refused too: a robot that was told to do something new never goes back silently.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from inspire_vla.errors import InspireError
from inspire_vla.serving import codec

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class ServerError(InspireError):
    """The server refused a request and said why. The next request goes over a new connection."""


class Unreachable(InspireError):
    """No answer within the time allowed: server down, network gone, or another program at that port."""


@dataclass(frozen=True)
class Reply:
    """What a server answered; has the fields of a Decision. Tuples run parallel to `mentions`.

    Attributes:
        actions: (horizon, action_dim), in the units of the demonstrations; None where the model said something that
            stands for no action (only from a server of ours, asked with `undecodable=True`).
        timing: milliseconds, at least infer_ms; round_trip_ms is measured here.
        message: all that the server sent.
    """

    actions: np.ndarray | None
    mentions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    overridden: tuple[bool, ...] = ()
    accepted: tuple[bool, ...] = ()
    forward_passes: int = 0
    timing: Mapping[str, float] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def decodable(self) -> bool:
        return self.actions is not None

    @property
    def answers_by_mention(self) -> dict[str, str]:
        """{mention: answer}"""
        return dict(zip(self.mentions, self.answers, strict=True))

    @classmethod
    def of(cls, message: Any, round_trip_ms: float = 0.0) -> "Reply":
        """Read a server's answer. Raises ServerError where it holds no actions (H, D)."""
        if not isinstance(message, dict) or "actions" not in message:
            raise ServerError("The server answered without `actions`: is it a policy server?")
        actions = message["actions"]
        if actions is not None:
            try:
                actions = np.array(actions)
            except ValueError as error:
                raise ServerError(f"The server sent uneven actions: {error}.") from error
            if actions.ndim != 2 or actions.dtype.kind not in "fiu":
                raise ServerError(f"The server sent actions of shape {actions.shape}, dtype {actions.dtype}.")
        said = message.get("reasoning") or {}
        keys = ("mentions", "answers", "confidences", "overridden", "accepted")
        told = {key: tuple(said.get(key, ())) for key in keys}
        if len({len(values) for values in told.values()}) != 1:
            raise ServerError(f"The server's reasoning is uneven: {dict(said)}.")
        timing = {**(message.get("server_timing") or {}), "round_trip_ms": round_trip_ms}
        passes = int(said.get("forward_passes", 0))
        return cls(actions, *told.values(), forward_passes=passes, timing=timing, message=message)


class PolicyClient:
    """A connection to a policy server that mends itself.

    Args:
        url: ws://host:port, or wss:// behind a proxy that holds the certificate.
        api_key: sent as `Authorization: Api-Key …` where given.
        timeout_s: for one answer.
        connect_timeout_s: how long to go on trying to connect before Unreachable; a server may still be loading.
        max_message_bytes: of an answer.

    Raises Unreachable when the server cannot be reached. `metadata` is what the server says of itself.
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 20.0,
        max_message_bytes: int = codec.MAX_BYTES,
    ) -> None:
        self.url, self.timeout_s, self.connect_timeout_s = url, timeout_s, connect_timeout_s
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._max_bytes = max_message_bytes
        self._connection: ClientConnection | None = None
        self._sent: bytes | None = None
        self._sent_at = 0.0
        self._instruction = ""
        self.reconnections = 0
        self.metadata: dict[str, Any] = {}
        self._connect()

    def infer(self, observation: Mapping[str, Any]) -> Reply:
        """Send an observation and wait for the answer; over a new connection where the old one has broken.

        Raises ServerError (the request was refused) or Unreachable.
        """
        self.send(observation)
        return self.receive()

    def send(self, observation: Mapping[str, Any]) -> None:
        """Send an observation without waiting. One at a time: `receive` its answer before the next.

        Raises InspireError when an answer is still due, Unreachable when there is no way to send.
        """
        if self._sent is not None:
            raise InspireError("An answer is still due: call receive() before the next send().")
        message = (
            {"instruction": self._instruction, **observation} if self._instruction else dict(observation)
        )
        data = codec.pack(message)
        if isinstance(message.get("instruction"), str):
            self._instruction = message["instruction"]
        self._sent_at = time.monotonic()
        self._deliver(data)
        self._sent = data

    def receive(self) -> Reply:
        """Wait for the answer. A connection that breaks meanwhile is made anew and the observation sent once more."""
        if self._sent is None:
            raise InspireError("No answer is due: call send() first.")
        data, self._sent = self._sent, None
        deadline = self._sent_at + self.timeout_s
        try:
            answer = self._wait(deadline)
        except ConnectionClosed:
            self._drop()
            self._deliver(data)
            deadline = time.monotonic() + self.timeout_s
            try:
                answer = self._wait(deadline)
            except ConnectionClosed as error:
                self._drop()
                raise Unreachable(f"{self.url} closed the connection twice: {error}.") from error
        if isinstance(answer, str):  # an error frame; the server closes next
            self._drop()
            raise ServerError(answer)
        message = codec.unpack(answer, max_bytes=self._max_bytes)
        return Reply.of(message, 1000 * (time.monotonic() - self._sent_at))

    def close(self) -> None:
        """Close the connection; the next `infer` would open another."""
        if self._connection is not None:
            self._connection.close()
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self, data: bytes) -> None:
        for attempt in (1, 2):
            if self._connection is None:
                self._connect()
                self.reconnections += 1
            assert self._connection is not None
            try:
                self._connection.send(data)
                return
            except ConnectionClosed as error:
                self._drop()
                if attempt == 2:
                    raise Unreachable(f"{self.url} closed the connection twice: {error}.") from error

    def _wait(self, deadline: float) -> str | bytes:
        assert self._connection is not None
        try:
            return self._connection.recv(timeout=max(0.001, deadline - time.monotonic()))
        except TimeoutError as error:
            self._drop()  # a late answer must not be taken for that of the next question
            raise Unreachable(f"{self.url} gave no answer within {self.timeout_s:g} s.") from error

    def _drop(self) -> None:
        connection, self._connection, self._sent = self._connection, None, None
        if connection is not None:
            try:
                connection.close_timeout = 0.2
                connection.close()
            except Exception:  # it is gone either way
                pass

    def _connect(self) -> None:
        deadline = time.monotonic() + self.connect_timeout_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                self._connection = self._open(max(0.1, deadline - time.monotonic()))
                return
            except InvalidStatus as error:
                if error.response.status_code != 503:  # 503: starting, stopping or full
                    body = (error.response.body or b"").decode("utf-8", "replace").strip()
                    raise ServerError(f"{self.url}: HTTP {error.response.status_code} {body}") from error
                reason: Exception = error
            except InvalidURI as error:
                raise InspireError(f"{self.url!r} is no address; write ws://host:port.") from error
            except (OSError, InvalidHandshake, ConnectionClosed) as error:  # TimeoutError is an OSError
                reason = error
            if time.monotonic() + pause > deadline:
                raise Unreachable(
                    f"No policy server at {self.url} within {self.connect_timeout_s:g} s ({reason})."
                ) from reason
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _open(self, timeout_s: float) -> ClientConnection:
        connection = connect(
            self.url,
            additional_headers=self._headers,
            compression=None,
            max_size=self._max_bytes,
            open_timeout=min(10.0, timeout_s),
            close_timeout=2.0,
            proxy=None,  # robots and their servers share a network
        )
        try:
            greeting = connection.recv(timeout=min(10.0, timeout_s))
            if isinstance(greeting, str):
                raise ServerError(greeting)
            metadata = codec.unpack(greeting, max_bytes=self._max_bytes)
        except BaseException:
            connection.close_timeout = 0.2
            connection.close()
            raise
        self.metadata = metadata if isinstance(metadata, dict) else {}
        return connection
