"""What both servers need to run: log lines, metrics, and a clean end on SIGINT or SIGTERM."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import Opcode

from inspire_vla.dialogue import NOT_ASKED
from inspire_vla.errors import InspireError, reason_of

LOG = logging.getLogger("inspire_vla.serving")
MAX_UNREAD_BYTES = 2**20
"""Bytes that wait for a client that does not read. A reply or a state of the steering page takes less."""
MAX_PINGS_PER_SECOND = 100
SLICE_BYTES = 2**15
"""Limits are checked after so many bytes. The socket delivers up to 2**18 at once, room for 40,000 pings."""
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields; `JsonFormatter` writes both as one line of JSON."""
    LOG.log(level, event, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: {"time", "level", "event", …}."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at that moment. A reader that has gone away stops no server."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # a broken pipe, a closed file
            print(self.format(record), file=sys.stderr, flush=True)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write JSON lines to stderr: ours from `level` on, those of the websockets library from WARNING on."""
    handler = _Stderr()
    handler.setFormatter(JsonFormatter())
    levels = ((LOG, level), (NOT_ASKED, level), (logging.getLogger("websockets"), logging.WARNING))
    for logger, its_level in levels:
        logger.handlers[:] = [handler]
        logger.setLevel(its_level)
        logger.propagate = False


def check_port(host: str, port: int) -> None:
    """Raise InspireError where no server can listen. A policy may take minutes to load, so this comes before it.

    host: a name or an address; "" stands for all addresses. port: 0 takes a free one.
    """
    try:
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            try:
                tried = socket.socket(family, kind, protocol)
            except OSError:  # asyncio, too, passes over a family that this machine lacks
                continue
            with tried:
                if os.name == "posix":  # as asyncio listens: connections that have just ended do not count
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
                tried.bind(address)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None


def _cannot_listen(host: str, port: int, error: OSError) -> InspireError:
    return InspireError(
        f"Cannot listen on {host}:{port}: {reason_of(error)}. Choose another --port, or end what listens there."
    )


class Metrics:
    """The Prometheus metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        gauge, counter = partial(Gauge, registry=self.registry), partial(Counter, registry=self.registry)
        seconds = partial(Histogram, registry=self.registry, buckets=SECONDS)
        self.requests = counter("inspire_requests", "Observations answered, by outcome", ["outcome"])
        for outcome in ("ok", "undecodable", "refused", "failed", "gone"):
            self.requests.labels(outcome)
        self.refused_connections = counter(
            "inspire_connections_refused", "Connections refused, by reason", ["reason"]
        )
        for reason in ("key", "full", "stopping"):
            self.refused_connections.labels(reason)
        self.connections = gauge("inspire_connections", "Open connections")
        self.waiting = gauge("inspire_requests_waiting", "Observations not yet started")
        self.infer = seconds("inspire_infer_seconds", "One call of the policy")
        self.batch = Histogram(
            "inspire_batch_size",
            "Observations per call",
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )
        self.total = seconds("inspire_request_seconds", "From observation to reply")
        self.answers = counter("inspire_answers", "Answers, by word", ["word"])
        self.accepted = counter("inspire_drafts_accepted", "Draft answers that the model confirmed")
        self.overridden = counter("inspire_answers_overridden", "Answers replaced by a client")
        self.throttled = counter("inspire_throttled", "Observations delayed by the rate limit")


class BoundedConnection(ServerConnection):
    """A connection that is dropped if the client sends many pings or does not read the replies to them.

    The websockets library replies to every ping at once and without a limit of the outgoing buffer.
    """

    _pings, _window_start = 0, 0.0

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            super().data_received(data[start : start + SLICE_BYTES])
            if self.transport.is_closing():
                return
            if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
                self._drop("the client does not read")

    def process_event(self, event: Any) -> None:
        super().process_event(event)
        if getattr(event, "opcode", None) is not Opcode.PING:
            return
        now = self.loop.time()
        if now - self._window_start > 1:
            self._pings, self._window_start = 0, now
        self._pings += 1
        if self._pings > MAX_PINGS_PER_SECOND:
            self._drop("too many pings")

    def _drop(self, reason: str) -> None:
        if not self.transport.is_closing():
            log("dropped", logging.WARNING, peer=peer_of(self), reason=reason)
            self.transport.abort()


def peer_of(connection: ServerConnection) -> str:
    """Return address and port of the client, for logs."""
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "?"


class WebSocketService:
    """A web-socket server with a start, a stop, and a clean end on SIGINT or SIGTERM. Subclasses start and stop."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self._requested_port = host, port
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port that the server listens on. Raises InspireError before the start."""
        if self._server is None:
            raise InspireError("The server has not been started.")
        return next(iter(self._server.sockets)).getsockname()[1]

    async def start(self) -> None:
        """Listen on host and port. Raises InspireError if the port is taken."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the connections and stop to listen."""
        raise NotImplementedError

    async def run(self, on_ready: Callable[[int], None]) -> None:
        """Start, call `on_ready(port)`, and stop on SIGINT or SIGTERM."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        try:
            await self.start()
            try:
                on_ready(self.port)
                await stop.wait()
            finally:
                await self.stop()
        finally:
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(name)

    async def _listen(self, handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> None:
        """Accept connections. Raises InspireError if the port is taken."""
        try:
            self._server = await serve(
                handler,
                self.host,
                self._requested_port,
                compression=None,
                create_connection=BoundedConnection,
                **options,
            )
        except OSError as error:
            raise _cannot_listen(self.host, self._requested_port, error) from error
