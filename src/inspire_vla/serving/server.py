"""A policy server for openpi's web-socket protocol. Existing openpi clients and robots work unchanged.

    client                          server
    connect  ─────────────────────▶
             ◀─────────────────────  metadata (binary, once)
    observation (binary)  ────────▶
             ◀─────────────────────  {"actions", "server_timing", "reasoning"} (binary)
             ◀─────────────────────  or: the error message (text), then close 1011

`GET /healthz` answers "OK" while the process lives, `/readyz` while it takes requests, `/metrics` gives Prometheus
metrics. The port opens after the warm-up. Connections from web pages are refused; `steering` serves its own page.
"""

import asyncio
import hmac
import http
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import generate_latest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from inspire_vla.dialogue import AnswerRule
from inspire_vla.errors import InspireError
from inspire_vla.instruction import mentions_of
from inspire_vla.serving import protocol
from inspire_vla.serving.batching import Batcher, Outcome
from inspire_vla.serving.observations import EXAMPLE_INSTRUCTION, ObservationReader, Options, Request
from inspire_vla.serving.runtime import LOG, Metrics, WebSocketService, log, peer_of

MAX_REASON = 2000
MAX_SESSIONS = 64
"""Sessions of one connection. The least recently used is dropped."""


@dataclass(frozen=True)
class ServerSettings:
    """Address and limits.

    Attributes:
        port: 0 takes a free one.
        api_key: required as `Authorization: Api-Key …`; None requires none.
        requests_per_second: of one connection; faster ones are delayed. 0 sets no limit.
        batch_window_s: how long a request waits for others to share its batch.
        drain_s: how long a stop waits for replies in progress.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    max_message_bytes: int = protocol.MAX_BYTES
    max_connections: int = 64
    requests_per_second: float = 200.0
    max_batch: int = 16
    batch_window_s: float = 0.003
    drain_s: float = 10.0


class Undecodable(InspireError):
    """The model's tokens stand for no action."""


@dataclass
class Session:
    """What the server keeps of one robot: the instruction that replaces its prompt, and the model's last answers."""

    instruction: str = ""
    answers: dict[str, str] | None = None

    def drafts(self, request: Request) -> dict[str, str] | None:
        """Return the client's drafts; without any, the last answers."""
        drafts = request.options.drafts
        if drafts is None:
            return self.answers
        return {mention: word for mention, word in drafts.items() if word is not None}

    def remember(self, decision: Any) -> None:
        """Keep the model's own answers as the next drafts. Overridden answers do not predict the model."""
        answers = zip(decision.mentions, decision.answers, decision.overridden, strict=True)
        self.answers = {mention: word for mention, word, overridden in answers if not overridden}


class ConnectionState:
    """What the server keeps of one connection: its rate limit and its sessions."""

    def __init__(self, requests_per_second: float = 0.0) -> None:
        self.rate = self.tokens = requests_per_second
        self.opened_at = self.refilled_at = time.monotonic()
        self.busy = self.reported_unused = False
        self.replies = 0
        self.previous_ms: float | None = None
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def session(self, name: str) -> Session:
        """Return the session of this name, a new one if there is none."""
        session = self._sessions.setdefault(name, Session())
        self._sessions.move_to_end(name)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def delay_s(self) -> float:
        """Take one token from the token bucket and return how long to wait for it.

        The bucket refills at `rate` and holds one second's worth.
        """
        if self.rate <= 0:
            return 0.0
        now = time.monotonic()
        refilled = self.tokens + (now - self.refilled_at) * self.rate
        self.tokens, self.refilled_at = min(max(1.0, self.rate), refilled) - 1, now
        return max(0.0, -self.tokens / self.rate)


class PolicyServer(WebSocketService):
    """Serves an agent (`act`, `config`) until stopped.

    Args:
        keys: {camera: key under which clients send it}, where it is not the default key.
        about: further entries of the metadata.
    """

    def __init__(
        self,
        agent: Any,
        settings: ServerSettings | None = None,
        *,
        keys: Mapping[str, str] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.agent, self.settings = agent, settings or ServerSettings()
        super().__init__(self.settings.host, self.settings.port)
        if self.settings.api_key is not None and not self.settings.api_key.strip():
            raise InspireError("The API key is empty. Give one, or None to require none.")
        self.reader = ObservationReader.of(agent.config, keys)
        self.metrics = Metrics()
        self.metadata = metadata_of(agent.config, self.reader, about or {})
        given = getattr(agent, "mention_overrides", None) or {}
        if given:
            names = {text: list(mentions_of(roles)) for text, roles in given.items()}
            self.metadata["reasoning"]["mention_overrides"] = names
        self.stopping = False
        self._metadata_message = protocol.pack(self.metadata)
        self._open: dict[ServerConnection, ConnectionState] = {}
        self.batcher = Batcher(
            agent,
            max_batch=self.settings.max_batch,
            window_s=self.settings.batch_window_s,
            expected=lambda: len(self._open),
            on_batch=self._count_batch,
        )

    async def start(self) -> None:
        """Warm up, then listen. Raises InspireError if the port is taken."""
        started = time.perf_counter()
        await self.batcher.call(self._warm_up)
        log("warm", seconds=round(time.perf_counter() - started, 2))
        self.batcher.start()
        try:
            await self._listen(
                self._handle,
                origins=[None],  # browsers send an Origin; no web page may control the robot
                max_size=self.settings.max_message_bytes,
                max_queue=2,
                process_request=self._handle_http,
                ping_interval=20,
                ping_timeout=20,
                close_timeout=2,
            )
        except InspireError:
            await self.batcher.stop()
            raise
        log("ready", host=self.host, port=self.port, key=self.settings.api_key is not None)

    async def stop(self) -> None:
        """Take no more requests, finish the replies in progress (at most `drain_s`), and close."""
        if self._server is None:
            return
        self.stopping = True
        log("stopping", connections=len(self._open))
        deadline = time.monotonic() + self.settings.drain_s
        while any(state.busy for state in self._open.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._server.close()
        await self.batcher.stop()
        await self._server.wait_closed()
        log("stopped")

    # HTTP

    def _handle_http(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer health, readiness and metrics, and check the API key. None continues the web-socket handshake."""
        busy = (http.HTTPStatus.SERVICE_UNAVAILABLE, "Full or stopping; try again.\n")
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if path == "/readyz":
            return connection.respond(*(busy if self.stopping else (http.HTTPStatus.OK, "OK\n")))
        if not self._is_authorized(request):
            self.metrics.refused_connections.labels("key").inc()
            log("refused", logging.WARNING, reason="key", peer=peer_of(connection))
            return connection.respond(
                http.HTTPStatus.UNAUTHORIZED, "Send the header 'Authorization: Api-Key …'.\n"
            )
        if path == "/metrics":
            self.metrics.waiting.set(self.batcher.waiting)
            response = connection.respond(http.HTTPStatus.OK, generate_latest(self.metrics.registry).decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
            return response
        if self.stopping or len(self._open) >= self.settings.max_connections:
            self.metrics.refused_connections.labels("stopping" if self.stopping else "full").inc()
            return connection.respond(*busy)
        return None

    def _is_authorized(self, request: HttpRequest) -> bool:
        if self.settings.api_key is None:
            return True
        sent = request.headers.get_all("Authorization")
        expected = f"Api-Key {self.settings.api_key.strip()}".encode()
        # Constant time: the duration of a refusal must not reveal how much of the key was right.
        return len(sent) == 1 and hmac.compare_digest(sent[0].encode("utf-8", "replace"), expected)

    # Web-socket connections

    async def _handle(self, connection: ServerConnection) -> None:
        state = ConnectionState(self.settings.requests_per_second)
        self._open[connection] = state
        self.metrics.connections.set(len(self._open))
        peer = peer_of(connection)
        log("connected", peer=peer)
        try:
            await connection.send(self._metadata_message)
            async for message in connection:
                state.busy = True
                try:
                    await self._reply(connection, state, message)
                finally:
                    state.busy = False
                if self.stopping:
                    await connection.close(1001, "the server stops")
        except ConnectionClosed:
            pass
        except InspireError as error:
            outcome = "undecodable" if isinstance(error, Undecodable) else "refused"
            await self._refuse(connection, str(error), outcome, peer)
        except Exception as error:
            log("failed", logging.ERROR, peer=peer, error=repr(error))
            LOG.debug("traceback", exc_info=error)
            await self._refuse(connection, f"The policy failed: {type(error).__name__}.", "failed", peer)
        finally:
            del self._open[connection]
            self.metrics.connections.set(len(self._open))
            log(
                "disconnected", peer=peer, replies=state.replies, code=connection.close_code,
                seconds=round(time.monotonic() - state.opened_at, 1),
            )  # fmt: skip

    async def _reply(
        self, connection: ServerConnection, state: ConnectionState, message: str | bytes
    ) -> None:
        started = time.perf_counter()
        if isinstance(message, str):
            raise protocol.MalformedMessage("An observation is a binary msgpack message, found text.")
        data = protocol.unpack(message, max_bytes=self.settings.max_message_bytes)
        options = Options.read(data)
        session = state.session(options.session)
        request = self.reader.read(data, options, session.instruction)
        if options.instruction is not None:
            session.instruction = options.instruction
        if request.unused and not state.reported_unused:
            state.reported_unused = True
            log("unused", peer=peer_of(connection), keys=request.unused[:20])
        del data, message  # the images are large
        if (delay := state.delay_s()) > 0:
            self.metrics.throttled.inc()
            await asyncio.sleep(delay)
        outcome = await self._decide(connection, request, session.drafts(request))
        if outcome is None:
            self.metrics.requests.labels("gone").inc()
            return
        decision = outcome.decision
        session.remember(decision)
        if decision.actions is None and not request.options.undecodable:
            raise Undecodable("The model's tokens stand for no action. Try again with another image.")
        timing = {"infer_ms": outcome.infer_ms, "queue_ms": outcome.queue_ms, "batch": outcome.batch}
        if state.previous_ms is not None:
            timing["prev_total_ms"] = state.previous_ms
        await connection.send(protocol.pack(reply_of(decision, timing, request.unused)))
        state.previous_ms = 1000 * (time.perf_counter() - started)
        state.replies += 1
        self._count_reply(decision, state.previous_ms / 1000)

    async def _decide(
        self, connection: ServerConnection, request: Request, drafts: dict[str, str] | None
    ) -> Outcome | None:
        """Return the outcome, or None if the client disconnects first."""
        deciding = asyncio.create_task(self.batcher.decide(request, drafts))
        leaving = asyncio.create_task(connection.wait_closed())
        try:
            await asyncio.wait((deciding, leaving), return_when=asyncio.FIRST_COMPLETED)
            return deciding.result() if deciding.done() else None
        finally:
            for task in (deciding, leaving):
                task.cancel()

    async def _refuse(self, connection: ServerConnection, reason: str, outcome: str, peer: str) -> None:
        self.metrics.requests.labels(outcome).inc()
        log("refused", logging.WARNING, peer=peer, reason=reason[:500])
        try:
            await connection.send(reason[:MAX_REASON])
            await connection.close(1011, "refused; see the message before")
        except ConnectionClosed:
            pass

    def _warm_up(self) -> None:
        example = self.reader.example()
        for _ in range(2):  # with and without drafts: the decoder takes another path
            (decision,) = self.agent.act([example], [EXAMPLE_INSTRUCTION])
            self.agent.act([example], [EXAMPLE_INSTRUCTION], drafts=[decision.answers_by_mention])

    def _count_batch(self, size: int, seconds: float) -> None:
        self.metrics.batch.observe(size)
        self.metrics.infer.observe(seconds)

    def _count_reply(self, decision: Any, seconds: float) -> None:
        self.metrics.requests.labels("ok" if decision.actions is not None else "undecodable").inc()
        self.metrics.total.observe(seconds)
        self.metrics.accepted.inc(sum(decision.accepted))
        self.metrics.overridden.inc(sum(decision.overridden))
        for word in decision.answers:
            self.metrics.answers.labels(word).inc()


def reply_of(decision: Any, timing: Mapping[str, float], unused: tuple[str, ...]) -> dict[str, Any]:
    """Return the message for a decision. The lists in `reasoning` run parallel to `mentions`.

    unused: keys of the observation that the policy does not use.
    """
    reply: dict[str, Any] = {
        "actions": None if decision.actions is None else np.ascontiguousarray(decision.actions),
        "server_timing": dict(timing),
        "reasoning": {
            "mentions": list(decision.mentions),
            "answers": list(decision.answers),
            "confidences": list(map(float, decision.confidences)),
            "overridden": list(map(bool, decision.overridden)),
            "accepted": list(map(bool, decision.accepted)),
            "forward_passes": int(decision.forward_passes),
        },
    }
    if unused:
        reply["unused"] = list(unused[:20])
    return reply


def metadata_of(config: Any, reader: ObservationReader, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a policy, which the server sends to each new connection. `about` adds to it."""
    reasoning = config.reasoning
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
            "words": list(AnswerRule.of_reasoning(reasoning).words()),
            **({"separate_questions": True} if reasoning.separate_questions else {}),
        },
    }
