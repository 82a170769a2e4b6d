"""A client of a policy server of openpi's protocol. Needs only numpy, msgpack and websockets.

    with PolicyClient("ws://127.0.0.1:8000") as client:
        reply = client.infer({"observation/image": image, "observation/state": state, "prompt": "open the drawer"})
        reply.actions               # (horizon, action_dim)
        reply.answers_by_mention    # {"the drawer": "left"}

One request may be in progress at a time. `send` and `receive` are the two halves of `infer`; the robot can move between
them.

An `instruction` stays in force for its `session` until the next one. The server forgets it with the connection, so the
client repeats it with every observation. A reconnection therefore does not bring back the prompt.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.serving import protocol

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class ServerError(InspireError):
    """The server refused a request; the message says why. The next request uses a new connection."""


class NotAccepted(ServerError):
    """The server refuses the connection itself, for instance because of the API key."""


class Unreachable(InspireError):
    """No reply in time: the server is down, the network is broken, or another program listens there."""


class Full(Unreachable):
    """The server is there and takes no further connection: it has its most, or it stops."""


class NoReply(Unreachable):
    """The server took the observation and sent no reply in time."""


@dataclass(frozen=True)
class Reply:
    """A server's reply. It has the fields of a Decision; tuples run parallel to `mentions`.

    Attributes:
        actions: (horizon, action_dim), in the units of the demonstrations. None if the model's tokens stand for no
            action; only our server sends that, and only if asked with `undecodable=True`.
        timing: milliseconds; `infer_ms` of the server, and `round_trip_ms` measured here.
        message: the whole message.
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
        return dict(zip(self.mentions, self.answers, strict=True))

    @classmethod
    def of(cls, message: Any, round_trip_ms: float = 0.0) -> "Reply":
        """Read a server's message. Raises ServerError if it holds no finite actions (H, D) and no nil."""
        if not isinstance(message, dict) or "actions" not in message:
            raise ServerError("The reply has no `actions`. Is this a policy server?")
        actions = message["actions"]
        if actions is not None:
            try:
                actions = np.array(actions)
            except ValueError as error:
                raise ServerError(
                    f"The server sent rows of different lengths as actions: {reason_of(error)}."
                ) from error
            if actions.ndim != 2 or actions.dtype.kind not in "fiu":
                raise ServerError(f"The server sent actions of shape {actions.shape}, dtype {actions.dtype}.")
            if not np.isfinite(actions).all():
                raise ServerError("The server sent actions that are NaN or infinite.")
        reasoning, timing = (  # those of other servers may be of another form; they stay in `message`
            given if isinstance(given := message.get(key), Mapping) else {}
            for key in ("reasoning", "server_timing")
        )
        keys = ("mentions", "answers", "confidences", "overridden", "accepted")
        lists = {key: reasoning.get(key, ()) for key in keys}
        passes = reasoning.get("forward_passes", 0)
        if not all(isinstance(values, list | tuple) for values in lists.values()) or type(passes) is not int:
            raise ServerError(f"The server sent a reasoning of another form: {str(reasoning)[:200]}.")
        lists = {key: tuple(values) for key, values in lists.items()}
        if len({len(values) for values in lists.values()}) != 1:
            raise ServerError(f"The server's reasoning has lists of different lengths: {dict(reasoning)}.")
        timing = {**timing, "round_trip_ms": round_trip_ms}
        return cls(actions, **lists, forward_passes=passes, timing=timing, message=message)


class PolicyClient:
    """A connection to a policy server that reconnects by itself.

    Args:
        url: ws://host:port, or wss://host behind a TLS proxy.
        api_key: sent as `Authorization: Api-Key …`.
        timeout_s: for one reply.
        connect_timeout_s: how long to try to connect. A server may still be loading.
        max_message_bytes: largest reply.

    Attributes:
        metadata: what the server sent about its policy.
        reconnections: how often the connection was lost and made again.

    Raises Unreachable if the server cannot be reached.
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 20.0,
        max_message_bytes: int = protocol.MAX_BYTES,
    ) -> None:
        self.url, self.timeout_s, self.connect_timeout_s = url, timeout_s, connect_timeout_s
        key = (api_key or "").strip()  # a header holds no line end
        self._headers = {"Authorization": f"Api-Key {key}"} if key else None
        self._max_bytes = max_message_bytes
        self._connection: ClientConnection | None = None
        self._sent: bytes | None = None
        self._sent_at = 0.0
        self._instructions: dict[str, str] = {}
        self.reconnections = 0
        self.metadata: dict[str, Any] = {}
        self._connect()

    def infer(self, observation: Mapping[str, Any]) -> Reply:
        """Send an observation and return the reply. Reconnects if the connection is broken.

        Raises ServerError if the server refuses the request, or Unreachable.
        """
        self.send(observation)
        return self.receive()

    def send(self, observation: Mapping[str, Any]) -> None:
        """Send an observation without waiting. Call `receive` before the next `send`.

        Raises InspireError if a reply is still due, or Unreachable.
        """
        if self._sent is not None:
            raise InspireError("A reply is still due: call receive() before the next send().")
        message, session = dict(observation), str(observation.get("session", ""))
        if instruction := self._instructions.get(session):
            message.setdefault("instruction", instruction)
        data = protocol.pack(message)
        if isinstance(message.get("instruction"), str):
            self._instructions[session] = message["instruction"]
        self._sent_at = time.monotonic()
        with self._dropped_if_interrupted():
            self._deliver(data)
            self._sent = data

    def receive(self) -> Reply:
        """Return the reply. If the connection breaks, reconnect and send the observation once more."""
        if self._sent is None:
            raise InspireError("No reply is due: call send() first.")
        data, self._sent = self._sent, None
        with self._dropped_if_interrupted():
            reply = self._reply_to(data)
        if isinstance(reply, str):  # an error; the server closes the connection
            self._drop()
            raise ServerError(reply)
        message = protocol.unpack(reply, max_bytes=self._max_bytes)
        return Reply.of(message, 1000 * (time.monotonic() - self._sent_at))

    def close(self) -> None:
        """Close the connection. The next `infer` opens another."""
        if self._connection is not None:
            self._connection.close()
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _dropped_if_interrupted(self) -> Iterator[None]:
        """Drop the connection where a conversation is cut short, as by Ctrl-C: its reply may still be on the way, and
        must not be taken for that of the next observation."""
        try:
            yield
        except BaseException:
            self._drop()
            raise

    def _reply_to(self, data: bytes) -> str | bytes:
        """Wait for the reply to what was sent; where the connection breaks, send it once more."""
        try:
            return self._wait(self._sent_at + self.timeout_s)
        except ConnectionClosed:
            self._drop()
            self._deliver(data)
        try:
            return self._wait(time.monotonic() + self.timeout_s)
        except ConnectionClosed as error:
            raise self._closed_twice(error, data) from error

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
                    raise self._closed_twice(error, data) from error

    def _wait(self, deadline: float) -> str | bytes:
        assert self._connection is not None
        try:
            return self._connection.recv(timeout=max(0.001, deadline - time.monotonic()))
        except TimeoutError as error:
            raise NoReply(f"{self.url} sent no reply within {self.timeout_s:g} s.") from error

    def _closed_twice(self, error: ConnectionClosed, data: bytes) -> InspireError:
        if error.rcvd is not None and error.rcvd.code == CloseCode.MESSAGE_TOO_BIG:
            return ServerError(
                f"{self.url} does not take a message of {len(data):,} bytes. Send smaller images, or start the server "
                "with a larger --max-message-mb."
            )
        return Unreachable(f"{self.url} closed the connection twice: {reason_of(error)}.")

    def _drop(self) -> None:
        connection, self._connection, self._sent = self._connection, None, None
        if connection is not None:
            connection.close_timeout = 0.2
            with contextlib.suppress(Exception):  # it is closed either way
                connection.close()

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
                    raise NotAccepted(f"{self.url}: HTTP {error.response.status_code} {body}") from error
                reason: Exception = error
            except InvalidURI as error:
                raise InspireError(f"{self.url!r} is no URL of a server; write ws://host:port.") from error
            except (OSError, InvalidHandshake, ConnectionClosed) as error:  # TimeoutError is an OSError
                reason = error
            if time.monotonic() + pause > deadline:
                if isinstance(reason, InvalidStatus):
                    raise Full(
                        f"{self.url} took no further connection within {self.connect_timeout_s:g} s: it stops, or has "
                        "as many as --max-connections of `inspire serve` allows."
                    ) from reason
                raise Unreachable(
                    f"No policy server at {self.url} within {self.connect_timeout_s:g} s ({reason_of(reason)})."
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
            proxy=None,  # robots and their servers are on one network
        )
        try:
            message = connection.recv(timeout=min(10.0, timeout_s))
            if isinstance(message, str):
                raise ServerError(message)
            metadata = protocol.unpack(message, max_bytes=self._max_bytes)
        except BaseException:
            connection.close_timeout = 0.2
            connection.close()
            raise
        self.metadata = metadata if isinstance(metadata, dict) else {}
        return connection
