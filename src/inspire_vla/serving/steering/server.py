"""Serves the steering page and its web socket on one port.

    GET /      the page            GET /healthz   "OK"
    WS  /live  out: the metadata (JSON), then view states (JSON), each followed by its image (JPEG, binary); after
               HEARTBEAT_S of silence {"type": "alive"}, by which the page notices that the server is gone
               in:  commands (JSON), see session.py

Only the page of this server may open the web socket. Other origins are refused.
"""

import asyncio
import contextlib
import http
import io
import ipaddress
import json
import logging
import secrets
import socket
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from inspire_vla.errors import InspireError
from inspire_vla.serving.runtime import WebSocketService, log
from inspire_vla.serving.steering.session import SteeringSession

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEARTBEAT_S = 0.5
"""The page takes the connection for lost after four of them."""
ALIVE = json.dumps({"type": "alive"})


class SteeringServer(WebSocketService):
    """Shows one session to any number of viewers. Each may steer."""

    def __init__(
        self, agent: Any, benchmark: Any, *, host: str = "127.0.0.1", port: int = 8080, **session: Any
    ) -> None:
        super().__init__(host, port)
        self.session = SteeringSession(agent, benchmark, self._publish, **session)
        self._viewers: dict[ServerConnection, asyncio.Event] = {}
        self._latest: tuple[str, bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Listen and start the session. Raises InspireError if the port is taken."""
        self._loop = asyncio.get_running_loop()
        await self._listen(
            self._handle, process_request=self._handle_http, max_size=2**14, max_queue=4, close_timeout=1
        )
        self.session.start()

    async def stop(self) -> None:
        """End the server and its connections, then the session, whose last decision may take long."""
        if self._server is not None:
            self._server.close()
        await asyncio.get_running_loop().run_in_executor(None, self.session.stop)
        if self._server is not None:
            await self._server.wait_closed()

    def _publish(self, state: dict[str, Any], image: np.ndarray) -> None:
        """Encode the state in the session's thread, then pass it to the event loop."""
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=88)
        update = (json.dumps(state), file.getvalue())  # ASCII: UTF-8 has no lone surrogates
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._show, update)

    def _show(self, update: tuple[str, bytes]) -> None:
        self._latest = update
        for changed in self._viewers.values():
            changed.set()

    def _handle_http(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        host = request.headers.get("Host", "")
        if not self._is_own_name(host):
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
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Not found.\n")
        nonce = secrets.token_urlsafe(16)
        page = files("inspire_vla.serving.steering").joinpath("page.html").read_text(encoding="utf-8")
        response = connection.respond(http.HTTPStatus.OK, page.replace("{{nonce}}", nonce))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.format(nonce=nonce)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _is_own_name(self, host: str) -> bool:
        """Return whether a Host header names this machine: by address, `localhost`, its host name, or `--host`.

        Any other name may be a web site's that resolves to this machine (DNS rebinding), on every address alike.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            machine = socket.gethostname().lower()
            return name in ("localhost", machine, f"{machine}.local", self.host.lower())
        return True

    async def _handle(self, connection: ServerConnection) -> None:
        changed = self._viewers[connection] = asyncio.Event()
        changed.set()
        sending: asyncio.Task[None] | None = None
        try:
            await connection.send(json.dumps(self.session.metadata()))
            sending = asyncio.create_task(self._send_states(connection, changed))
            async for message in connection:
                try:
                    self.session.command(message)
                except InspireError as error:
                    await connection.send(json.dumps({"type": "refused", "error": str(error)[:300]}))
        except ConnectionClosed:
            pass
        finally:
            if sending is not None:
                sending.cancel()
            del self._viewers[connection]

    async def _send_states(self, connection: ServerConnection, changed: asyncio.Event) -> None:
        """Send the latest state whenever it changes, or else a heartbeat. A slow viewer misses states in between."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
                except TimeoutError:
                    await connection.send(ALIVE)
                    continue
                changed.clear()
                if self._latest is not None:
                    text, image = self._latest
                    await connection.send(text)
                    await connection.send(image)
