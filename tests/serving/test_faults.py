"""What goes wrong on one connection stays there, and costs no memory. Short here; at full length with `make e2e`."""

import gc
import random
import resource
import threading
import time
import tracemalloc

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from inspire_vla.serving.client import PolicyClient
from inspire_vla.serving.codec import pack, unpack

from .conftest import Running, ToyAgent, observation


def malformed(dice: random.Random) -> bytes | str:
    """A message that is broken in one of many ways; now and then it is whole after all."""
    kind = dice.randrange(9)
    if kind == 0:
        return dice.randbytes(dice.randrange(200))
    if kind == 1:
        return "text " * dice.randrange(20)
    if kind == 2:
        data = bytearray(pack(observation()))
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        return bytes(data)
    if kind == 3:
        data = pack(observation())
        return data[: dice.randrange(len(data))]
    if kind == 4:
        array = {b"__ndarray__": True, b"data": b"x" * dice.randrange(9)}
        array |= {b"dtype": dice.choice(["|O", "<c8", "<f4", "V3"]), b"shape": [dice.randrange(2**40)]}
        return msgpack.packb({"observation/image": array, "prompt": "go"})
    message = observation(value=dice.randrange(256))
    key = dice.choice(
        ["observation/image", "observation/state", "prompt", "answers", "instruction", "session"]
    )
    values = [
        None,
        3,
        "x" * 5000,
        [1, [2]],
        {"a": 1},
        np.zeros(3),
        np.full((16, 16, 3), np.nan),
        np.zeros((2,) * 8),
    ]
    if kind == 5:
        message.pop(key, None)
    elif kind == 6:
        message[key] = dice.choice(values)
    elif kind == 7:
        message["observation/image"] = dice.choice(
            [np.zeros((16, 16, 3), np.int64), np.zeros((1, 4000, 3), np.uint8), np.zeros((3, 3), np.float16)]
        )
    else:
        message = {dice.choice([b"k", "k"]): dice.choice(values) for _ in range(3)}
    return pack(message)


def fuzz(server: Running, times: int, seed: int) -> dict[str, int]:
    """Send malformed messages; each is answered by an error and a close, or by actions. Returns how often."""
    dice = random.Random(seed)
    outcomes = {"answered": 0, "refused": 0}
    socket: ClientConnection | None = None
    for _ in range(times):
        if socket is None:
            socket = connect(server.url, compression=None, proxy=None)
            assert isinstance(socket.recv(timeout=60), bytes)
        socket.send(malformed(dice))
        answer = socket.recv(timeout=60)
        if isinstance(answer, bytes):
            assert unpack(answer)["actions"].shape == (4, 7)
            outcomes["answered"] += 1
            continue
        assert 0 < len(answer) <= 2000
        assert "Traceback" not in answer
        outcomes["refused"] += 1
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=60)
        assert socket.close_code == 1011
        socket.close()
        socket = None
    if socket is not None:
        socket.close()
    return outcomes


def soak(server: Running, requests: int, clients: int) -> None:
    """`clients` ask at once, `requests` in all; every answer must be its own question's."""
    wrong: list[object] = []

    def ask(who: int) -> None:
        try:
            with PolicyClient(server.url) as client:
                for turn in range(requests // clients):
                    value = (who * 37 + turn) % 256
                    reply = client.infer(observation(value))
                    if reply.actions[0, 0] != value:
                        wrong.append((who, turn))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


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
    outcomes = fuzz(server, times, seed=times)
    stop.set()
    thread.join(20)
    assert failures == []
    assert len(answered) > 10
    assert outcomes["refused"] > times // 2


def check_soak(server: Running, requests: int) -> None:
    soak(server, requests, clients=8)
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
def test_memory_does_not_grow(running, rounds: int) -> None:
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
    agent.guesses.clear()
    gc.collect()
    tracemalloc.start()
    play(rounds)
    agent.batches.clear()
    agent.guesses.clear()
    time.sleep(0.1)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 600_000  # a picture is 12 kB; 50 kept would show
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20


def test_a_client_gone_mid_inference_disturbs_nobody(running) -> None:
    agent = ToyAgent()
    server = running(agent, batch_window_s=0.0)
    agent.delay_s = 0.2
    stayer = PolicyClient(server.url)
    leavers = [PolicyClient(server.url) for _ in range(4)]
    agent.batches.clear()
    leavers[0].send(observation(1))
    time.sleep(0.05)
    for leaver in leavers[1:]:
        leaver.send(observation(2))  # these wait for the batch in progress …
    time.sleep(0.02)
    for leaver in leavers:
        leaver.close()  # … and are gone before theirs begins
    assert stayer.infer(observation(3)).actions[0, 0] == 3
    assert sum(agent.batches) <= 3
    deadline = time.monotonic() + 30
    while server.server.metrics.requests.labels("gone")._value.get() < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.server.metrics.requests.labels("gone")._value.get() == 4
    stayer.close()


def test_an_abrupt_end_of_the_network_is_a_disconnect(running) -> None:
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
