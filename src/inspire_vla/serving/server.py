"""A policy server that speaks openpi's web-socket protocol, so that existing clients and robots work unchanged.

    client                          server
    connect  ─────────────────────▶
             ◀─────────────────────  metadata (binary, once)
    observation (binary)  ────────▶
             ◀─────────────────────  {"actions", "server_timing", "reasoning"} (binary)
             ◀─────────────────────  or: what was wrong (text), then close 1011

`GET /healthz` answers "OK" while the process lives, `/readyz` while it takes requests, `/metrics` what it has counted.
The port opens after the warm-up. Pages in a browser are turned away: see `steering` for one that is meant to.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from inspire_vla.errors import InspireError
from inspire_vla.serving import codec
from inspire_vla.serving.answers import describe, reply_of
from inspire_vla.serving.batching import Batcher, Outcome
from inspire_vla.serving.client_state import ClientState
from inspire_vla.serving.door import Door, peer_of
from inspire_vla.serving.logs import log
from inspire_vla.serving.metrics import Metrics
from inspire_vla.serving.observations import ObservationReader, Request

MAX_REASON = 2000


@dataclass(frozen=True)
class ServerSettings:
    """Where and within what limits. `port` 0 takes a free one; `api_key` None asks for none.

    `requests_per_second` holds back a connection that sends faster (0: no limit); `drain_s` is how long a stop waits
    for answers in progress.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    max_message_bytes: int = codec.MAX_BYTES
    max_connections: int = 64
    requests_per_second: float = 200.0
    max_batch: int = 16
    batch_window_s: float = 0.003
    drain_s: float = 10.0


class Undecodable(InspireError):
    """The model said something that stands for no action."""


class PolicyServer:
    """Serves an agent (`act`, `config`) until stopped.

    `keys`: {camera: key under which clients send it}, where it is not the customary one.
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
        self.reader = ObservationReader.of(agent.config, keys)
        self.metrics = Metrics()
        self.metadata = describe(agent, self.reader, about or {})
        self._greeting = codec.pack(self.metadata)
        self.batcher = Batcher(
            agent,
            max_batch=self.settings.max_batch,
            window_s=self.settings.batch_window_s,
            on_batch=self._count_batch,
        )
        self.batcher.expected = lambda: len(self._open)
        self._open: dict[ServerConnection, ClientState] = {}
        self.door = Door(
            self.metrics,
            api_key=self.settings.api_key,
            max_connections=self.settings.max_connections,
            connected=lambda: len(self._open),
            waiting=lambda: self.batcher.waiting,
        )
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, once `start` has returned."""
        if self._server is None:
            raise InspireError("The server has not been started.")
        return next(iter(self._server.sockets)).getsockname()[1]

    async def start(self) -> None:
        """Warm up, then listen. Raises InspireError where the port is taken."""
        began = time.perf_counter()
        await self.batcher.call(self._warm_up)
        log("warm", seconds=round(time.perf_counter() - began, 2))
        self.batcher.start()
        settings = self.settings
        try:
            self._server = await serve(
                self._handle,
                settings.host,
                settings.port,
                origins=[None],  # browsers name an origin; a page from anywhere must not drive the robot
                compression=None,
                max_size=settings.max_message_bytes,
                max_queue=2,
                process_request=self.door,
                ping_interval=20,
                ping_timeout=20,
                close_timeout=2,
            )
        except OSError as error:
            await self.batcher.stop()
            raise InspireError(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}."
            ) from error
        log("ready", host=settings.host, port=self.port, key=settings.api_key is not None)

    async def stop(self) -> None:
        """Take no more requests, finish the answers in progress (at most `drain_s`), close."""
        if self._server is None:
            return
        self.door.stopping = True
        log("stopping", connections=len(self._open))
        deadline = time.monotonic() + self.settings.drain_s
        while any(client.busy for client in self._open.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._server.close()
        await self.batcher.stop()
        await self._server.wait_closed()
        log("stopped")

    async def run(self, on_ready: Callable[[int], None] | None = None) -> None:
        """Start, serve until SIGINT or SIGTERM, stop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        try:
            await self.start()
            if on_ready is not None:
                on_ready(self.port)
            await stop.wait()
        finally:
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(name)
            await self.stop()

    # Connections

    async def _handle(self, connection: ServerConnection) -> None:
        client = ClientState(self.settings.requests_per_second)
        self._open[connection] = client
        self.metrics.connections.set(len(self._open))
        peer = peer_of(connection)
        log("connected", peer=peer)
        try:
            await connection.send(self._greeting)
            async for message in connection:
                client.busy = True
                try:
                    await self._answer(connection, client, message)
                finally:
                    client.busy = False
                if self.door.stopping:
                    await connection.close(1001, "the server stops")
        except ConnectionClosed:
            pass
        except Undecodable as error:
            await self._refuse(connection, str(error), "undecodable", peer)
        except InspireError as error:
            await self._refuse(connection, str(error), "refused", peer)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log("failed", logging.ERROR, peer=peer, error=repr(error))
            logging.getLogger("inspire_vla.serving").debug("traceback", exc_info=error)
            await self._refuse(connection, f"The policy failed: {type(error).__name__}.", "failed", peer)
        finally:
            del self._open[connection]
            self.metrics.connections.set(len(self._open))
            log(
                "disconnected", peer=peer, answered=client.answered, code=connection.close_code,
                seconds=round(time.monotonic() - client.since, 1),
            )  # fmt: skip

    async def _answer(self, connection: ServerConnection, client: ClientState, message: str | bytes) -> None:
        began = time.perf_counter()
        if isinstance(message, str):
            raise codec.MalformedMessage("An observation is a binary msgpack message, found text.")
        found = codec.unpack(message, max_bytes=self.settings.max_message_bytes)
        request = self.reader.read(found, client.instruction)
        if isinstance(found.get("instruction"), str):
            client.instruction = found["instruction"].strip()
        del found, message
        if (pause := client.pause_s()) > 0:
            self.metrics.throttled.inc()
            await asyncio.sleep(pause)
        outcome = await self._decide(connection, client, request)
        if outcome is None:
            self.metrics.requests.labels("gone").inc()
            return
        decision = outcome.decision
        client.remember(request, decision)
        if decision.actions is None and not request.undecodable:
            raise Undecodable("The model said tokens that stand for no action. Ask again with another image.")
        timing = {"infer_ms": outcome.infer_ms, "queue_ms": outcome.queue_ms, "batch": outcome.batch}
        if client.previous_ms is not None:
            timing["prev_total_ms"] = client.previous_ms
        await connection.send(codec.pack(reply_of(decision, timing, request.unused)))
        client.previous_ms = 1000 * (time.perf_counter() - began)
        client.answered += 1
        self._count(decision, client.previous_ms / 1000)

    async def _decide(
        self, connection: ServerConnection, client: ClientState, request: Request
    ) -> Outcome | None:
        """Wait for the decision; None when the client has gone meanwhile."""
        deciding = asyncio.create_task(self.batcher.decide(request, client.guesses(request)))
        leaving = asyncio.create_task(connection.wait_closed())
        try:
            await asyncio.wait((deciding, leaving), return_when=asyncio.FIRST_COMPLETED)
            if deciding.done():
                return deciding.result()
            return None
        finally:
            for task in (deciding, leaving):
                task.cancel()

    async def _refuse(self, connection: ServerConnection, reason: str, outcome: str, peer: str) -> None:
        self.metrics.requests.labels(outcome).inc()
        log("refused", logging.WARNING, peer=peer, reason=reason[:500])
        try:
            await connection.send(reason[:MAX_REASON])
            await connection.close(1011, "refused; the message before says why")
        except ConnectionClosed:
            pass

    # Counting

    def _warm_up(self) -> None:
        example = self.reader.example()
        order = "pick up the red cube"
        for _ in range(2):  # the second time with guesses, which takes another way through the decoder
            (decision,) = self.agent.act([example], [order])
            self.agent.act([example], [order], drafts=[decision.answers_by_mention])

    def _count_batch(self, size: int, seconds: float) -> None:
        self.metrics.batch.observe(size)
        self.metrics.infer.observe(seconds)

    def _count(self, decision: Any, seconds: float) -> None:
        self.metrics.requests.labels("ok" if decision.actions is not None else "undecodable").inc()
        self.metrics.total.observe(seconds)
        self.metrics.guesses.inc(sum(decision.accepted))
        self.metrics.forced.inc(sum(decision.overridden))
        for word in decision.answers:
            self.metrics.answers.labels(word).inc()
