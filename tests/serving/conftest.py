"""Fixtures of the serving tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.serving.toy_server import Running, serve


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    """Start servers that are stopped after the test."""
    servers: list[Running] = []

    def start(agent: Any = None, **settings: Any) -> Running:
        servers.append(serve(agent, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
