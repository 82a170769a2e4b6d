"""Who may connect, and what plain HTTP is answered: health, readiness, metrics."""

import hmac
import http
import logging
from collections.abc import Callable

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from inspire_vla.serving.logs import log
from inspire_vla.serving.metrics import Metrics

BUSY = (http.HTTPStatus.SERVICE_UNAVAILABLE, "Full or stopping; try again.\n")


class Door:
    """Answers every HTTP request before it becomes a connection.

    Args:
        api_key: asked for as `Authorization: Api-Key …`; None asks for none. Health and readiness need no key.
        max_connections: further ones are turned away with 503.
        connected: how many there are now.
        waiting: how many observations have not been begun.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        api_key: str | None,
        max_connections: int,
        connected: Callable[[], int],
        waiting: Callable[[], int],
    ) -> None:
        self.metrics, self.max_connections = metrics, max_connections
        self._wanted = None if api_key is None else f"Api-Key {api_key}".encode()
        self._connected, self._waiting = connected, waiting
        self.stopping = False

    def __call__(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Return the answer, or None to let the web-socket handshake go on."""
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if path == "/readyz":
            return connection.respond(*(BUSY if self.stopping else (http.HTTPStatus.OK, "OK\n")))
        if not self._allowed(request.headers):
            self.metrics.refused_connections.labels("key").inc()
            log("refused", logging.WARNING, reason="key", peer=peer_of(connection))
            return connection.respond(
                http.HTTPStatus.UNAUTHORIZED, "Send the header 'Authorization: Api-Key …'.\n"
            )
        if path == "/metrics":
            self.metrics.waiting.set(self._waiting())
            response = connection.respond(http.HTTPStatus.OK, self.metrics.text().decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
            return response
        if self.stopping or self._connected() >= self.max_connections:
            self.metrics.refused_connections.labels("stopping" if self.stopping else "full").inc()
            return connection.respond(*BUSY)
        return None

    def _allowed(self, headers: Headers) -> bool:
        if self._wanted is None:
            return True
        given = headers.get_all("Authorization")
        # In constant time: how long a refusal takes must not tell how much of a key was right.
        return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "replace"), self._wanted)


def peer_of(connection: ServerConnection) -> str:
    """Address and port of the other side, for logs."""
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "?"
