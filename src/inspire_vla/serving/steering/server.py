"""Serves the steering page and its web socket, from one port: images and state out, a person's wishes in.

    GET /      the page            GET /healthz   "OK"
    WS  /live  out: one JSON text (first `hello`, then states), each state followed by its image (JPEG, binary)
               in:  commands as JSON, see commands.py

Only the page served here may open the web socket: other sites are refused by their Origin.
"""

import asyncio
import contextlib
import http
import io
import json
import logging
import secrets
import signal
from collections.abc import Callable
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from inspire_vla.errors import InspireError
from inspire_vla.serving.logs import log
from inspire_vla.serving.steering.session import SteeringSession

LOCAL = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class SteeringServer:
    """Shows one session to any number of viewers; each may steer."""

    def __init__(
        self, agent: Any, benchmark: Any, *, host: str = "127.0.0.1", port: int = 8080, **session: Any
    ) -> None:
        self.host, self._wanted_port = host, port
        self.session = SteeringSession(agent, benchmark, self._on_state, **session)
        self._viewers: dict[ServerConnection, asyncio.Event] = {}
        self._latest: tuple[str, bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, once `start` has returned."""
        if self._server is None:
            raise InspireError("The server has not been started.")
        return next(iter(self._server.sockets)).getsockname()[1]

    async def start(self) -> None:
        """Begin the session and listen. Raises InspireError where the port is taken."""
        self._loop = asyncio.get_running_loop()
        try:
            self._server = await serve(
                self._live, self.host, self._wanted_port, process_request=self._http, compression=None,
                max_size=2**14, max_queue=4, close_timeout=1,
            )  # fmt: skip
        except OSError as error:
            raise InspireError(
                f"Cannot listen on {self.host}:{self._wanted_port}: {error.strerror}."
            ) from error
        self.session.start()

    async def stop(self) -> None:
        """End the session and close all viewers."""
        await asyncio.get_running_loop().run_in_executor(None, self.session.stop)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def run(self, on_ready: Callable[[int], None] | None = None) -> None:
        """Serve until SIGINT or SIGTERM."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        await self.start()
        try:
            if on_ready is not None:
                on_ready(self.port)
            await stop.wait()
        finally:
            await self.stop()

    def _on_state(self, state: dict[str, Any], image: np.ndarray) -> None:
        """From the session's thread: encode here, show from the event loop."""
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=88)
        update = (json.dumps(state, ensure_ascii=False), file.getvalue())
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._show, update)

    def _show(self, update: tuple[str, bytes]) -> None:
        self._latest = update
        for news in self._viewers.values():
            news.set()

    def _http(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        host = request.headers.get("Host", "")
        name = host.rpartition(":")[0] or host
        if self.host in LOCAL and name not in LOCAL:  # a foreign name that points here
            return connection.respond(http.HTTPStatus.FORBIDDEN, "Open this page by its address.\n")
        if path == "/live":
            origin = request.headers.get("Origin")
            if origin is None or urlsplit(origin).netloc != host:
                log("refused", logging.WARNING, reason="origin", origin=origin)
                return connection.respond(
                    http.HTTPStatus.FORBIDDEN, "Only this server's own page may steer.\n"
                )
            return None
        if path != "/":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Not here.\n")
        nonce = secrets.token_urlsafe(16)
        page = files("inspire_vla.serving.steering").joinpath("page.html").read_text(encoding="utf-8")
        response = connection.respond(http.HTTPStatus.OK, page.replace("{{nonce}}", nonce))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _live(self, connection: ServerConnection) -> None:
        news = self._viewers[connection] = asyncio.Event()
        news.set()
        await connection.send(json.dumps(self.session.hello(), ensure_ascii=False))
        telling = asyncio.create_task(self._tell(connection, news))
        try:
            async for message in connection:
                try:
                    command = json.loads(message)
                    if not isinstance(command, dict):
                        raise InspireError("A command is a JSON object.")
                    self.session.command(command)
                except ValueError as error:  # InspireError, or no JSON
                    await connection.send(json.dumps({"refused": str(error)[:300]}))
        except ConnectionClosed:
            pass
        finally:
            telling.cancel()
            del self._viewers[connection]

    async def _tell(self, connection: ServerConnection, news: asyncio.Event) -> None:
        """Send the latest state whenever there is one; a slow viewer misses what came between."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await news.wait()
                news.clear()
                if self._latest is not None:
                    text, image = self._latest
                    await connection.send(text)
                    await connection.send(image)
