"""A fault on one connection affects no other and leaks no memory. Short here; at full length in `make e2e`."""

import contextlib
import gc
import logging
import resource
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from urllib.request import urlopen

import pytest
from tests.serving.stress import fuzz, soak
from tests.serving.toy_server import Running, ToyAgent, observation, until
from websockets.sync.client import connect

from inspire_vla.serving import runtime
from inspire_vla.serving.client import PolicyClient
from inspire_vla.serving.protocol import pack


def check_fuzz(server: Running, times: int) -> None:
    """A good client is served all the while."""
    stop = threading.Event()
    answered: list[float] = []
    failures: list[Exception] = []

    def steady() -> None:
        try:
            with PolicyClient(server.url) as client:
                while not stop.is_set():
                    assert client.infer(observation(11)).actions[0, 0] == 11
                    answered.append(time.monotonic())
                    time.sleep(0.005)
                assert client.reconnections == 0
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=steady)
    thread.start()
    outcomes = fuzz(server.url, times, seed=times, chunk=(4, 7))
    stop.set()
    thread.join(20)
    assert failures == []
    assert len(answered) > 10
    assert outcomes["refused"] > times // 2


def check_soak(server: Running, requests: int) -> None:
    assert len(soak(server.url, requests, clients=8, expected=lambda reply: reply.actions[0, 0])) == requests
    assert server.server.metrics.requests.labels("ok")._value.get() == requests


def test_fuzz(running) -> None:
    check_fuzz(running(), 500)


def test_soak(running) -> None:
    check_soak(running(), 400)


@pytest.mark.e2e
def test_fuzz_at_full_length(running) -> None:
    check_fuzz(running(), 10_000)


@pytest.mark.e2e
def test_soak_at_full_length(running) -> None:
    check_soak(running(requests_per_second=0), 10_000)


@pytest.mark.parametrize("rounds", [150, pytest.param(3000, marks=pytest.mark.e2e)])
def test_memory_does_not_grow(running, rounds: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(
        logging.WARNING
    )  # after LeRobot's tests all is logged, and pytest would keep every frame
    agent = ToyAgent(size=64)
    server = running(agent)

    def play(times: int) -> None:
        for turn in range(times):
            with PolicyClient(server.url) as client:
                client.infer(
                    observation(size=64, session=str(turn), instruction=f"pick up the red cube {turn % 7}")
                )
                if turn % 3 == 0:
                    client.send(observation(size=64))  # and gone

    play(50)
    agent.batches.clear()
    agent.drafts.clear()
    gc.collect()
    tracemalloc.start()
    play(rounds)
    agent.batches.clear()
    agent.drafts.clear()
    time.sleep(0.1)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 600_000  # an image is 12 kB; 50 kept would show
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20


def test_a_disconnection_during_inference_affects_no_other_client(running) -> None:
    agent = ToyAgent()
    server = running(agent, batch_window_s=0.0)
    stayer = PolicyClient(server.url)
    leavers = [PolicyClient(server.url) for _ in range(4)]
    agent.batches.clear()
    goes_on, act = threading.Event(), agent.act
    agent.act = lambda *rows, **more: (goes_on.wait(30), act(*rows, **more))[
        1
    ]  # the test decides how long a batch takes
    leavers[0].send(observation(1))
    until(lambda: any(state.busy for state in server.server._open.values()))
    for leaver in leavers[1:]:
        leaver.send(observation(2))  # these wait for the batch in progress …
    until(lambda: server.server.batcher.waiting == 3)
    for leaver in leavers:
        leaver.close()  # … and disconnect before theirs starts
    until(lambda: len(server.server._open) == 1)
    goes_on.set()
    assert stayer.infer(observation(3)).actions[0, 0] == 3
    assert sum(agent.batches) == 2  # the one in progress, and the stayer
    deadline = time.monotonic() + 30
    while server.server.metrics.requests.labels("gone")._value.get() < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.server.metrics.requests.labels("gone")._value.get() == 4
    stayer.close()


def test_a_lost_network_is_a_disconnection(running) -> None:
    server = running()
    socket = connect(server.url, compression=None, proxy=None)
    socket.recv()
    socket.send(pack(observation()))
    socket.socket.close()  # no closing handshake
    with PolicyClient(server.url) as client:
        assert client.infer(observation()).decodable
    deadline = time.monotonic() + 30
    while server.server._open and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.server._open


def test_two_clients_of_the_same_name_are_two(running) -> None:
    server = running()
    with PolicyClient(server.url) as one, PolicyClient(server.url) as two:
        one.infer(observation(session="robot", instruction="open the drawer"))
        assert two.infer(observation(session="robot")).mentions == ("the red cube",)
        assert one.infer(observation(session="robot")).mentions == ("the drawer",)


@contextlib.contextmanager
def handshaken(port: int):
    """Yield a plain TCP socket after the web-socket handshake."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect(("127.0.0.1", port))
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b"101 Switching" in raw.recv(1000)
        yield raw


def flood(raw: socket.socket, data: bytes, *, reads: bool, then: Callable[[], object]) -> int:
    """Send `data` again and again until the server drops the connection. Returns the number of bytes sent."""
    for times in range(1000):
        try:
            raw.sendall(data)
            if reads:
                raw.recv(2**16)
        except (ConnectionResetError, BrokenPipeError):
            return times * len(data)
        then()
    raise AssertionError("the server did not drop the connection")


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("payload", [b"", b"x" * 125])
def test_a_ping_flood_is_cut_off_and_delays_nobody(running, reads: bool, payload: bytes) -> None:
    server = running()
    ping = bytes([0x89, 0x80 | len(payload), 0, 0, 0, 0]) + payload  # RFC 6455, masked with zeros
    seconds = [0.0]

    def check_health() -> None:
        started = time.monotonic()
        assert urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=20).status == 200
        seconds.append(time.monotonic() - started)

    with handshaken(server.port) as raw:
        flood(raw, ping * (2**16 // len(ping)), reads=reads, then=check_health)
    assert max(seconds) < 5
    with PolicyClient(server.url) as client:
        assert client.infer(observation()).decodable


def test_a_client_that_does_not_read_is_dropped(running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the limit of pings per second, too."""
    monkeypatch.setattr(runtime, "MAX_PINGS_PER_SECOND", 10**9)
    ping = bytes([0x89, 0x80 | 125, 0, 0, 0, 0]) + b"x" * 125
    with handshaken(running().port) as raw:
        assert flood(raw, ping * 500, reads=False, then=lambda: None) < 32 * 2**20
