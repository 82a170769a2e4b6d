"""Load and malformed messages against a server. Tests run this briefly; `make soak` in full, with measurements.

python -m tests.serving.stress      `inspire serve` in a process of its own, 8 clients
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgpack
import numpy as np
import pytest
from tests.serving.toy_server import observation
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from inspire_vla.evaluation import provenance
from inspire_vla.serving.client import PolicyClient, Reply
from inspire_vla.serving.protocol import pack, unpack


def malformed(rng: random.Random, size: int = 16) -> bytes | str:
    """Return a message that is malformed in one of many ways, and sometimes is valid."""
    kind = rng.randrange(9)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return "text " * rng.randrange(20)
    if kind == 2:
        data = bytearray(pack(observation(size=size)))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if kind == 3:
        data = pack(observation(size=size))
        return data[: rng.randrange(len(data))]
    if kind == 4:
        array = {b"__ndarray__": True, b"data": b"x" * rng.randrange(9)}
        array |= {b"dtype": rng.choice(["|O", "<c8", "<f4", "V3"]), b"shape": [rng.randrange(2**40)]}
        return msgpack.packb({"observation/image": array, "prompt": "go"})
    message = observation(value=rng.randrange(256), size=size)
    key = rng.choice(
        ["observation/image", "observation/state", "prompt", "overrides", "instruction", "session"]
    )
    values = [
        None,
        3,
        "x" * 5000,
        [1, [2]],
        {"a": 1},
        np.zeros(3),
        np.full((size, size, 3), np.nan),
        np.zeros((2,) * 8),
    ]
    if kind == 5:
        message.pop(key, None)
    elif kind == 6:
        message[key] = rng.choice(values)
    elif kind == 7:
        message["observation/image"] = rng.choice(
            [
                np.zeros((size, size, 3), np.int64),
                np.zeros((1, 4000, 3), np.uint8),
                np.zeros((3, 3), np.float16),
            ]
        )
    else:
        message = {rng.choice([b"k", "k"]): rng.choice(values) for _ in range(3)}
    return pack(message)


def fuzz(url: str, times: int, seed: int, *, chunk: tuple[int, int], size: int = 16) -> dict[str, int]:
    """Send malformed messages and count the outcomes: an error and a close, or actions."""
    rng = random.Random(seed)
    outcomes = {"accepted": 0, "refused": 0}
    socket: ClientConnection | None = None
    for _ in range(times):
        if socket is None:
            socket = connect(url, compression=None, proxy=None)
            assert isinstance(socket.recv(timeout=60), bytes)
        socket.send(malformed(rng, size))
        answer = socket.recv(timeout=60)
        if isinstance(answer, bytes):
            assert unpack(answer)["actions"].shape == chunk
            outcomes["accepted"] += 1
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


def soak(
    url: str, requests: int, clients: int, *, size: int = 16, expected: Callable[[Reply], Any] | None = None
) -> list[float]:
    """Send `requests` from `clients` threads at once. Returns the round trip of each, in ms.

    expected: reply → value of its image, to check that each client gets the replies to its own observations.
    """
    wrong: list[object] = []
    took: list[float] = []

    def ask(who: int) -> None:
        try:
            with PolicyClient(url) as client:
                for turn in range(requests // clients):
                    value = (who * 37 + turn) % 256
                    reply = client.infer(observation(value, size=size, undecodable=True))
                    took.append(reply.timing["round_trip_ms"])
                    if expected is not None and expected(reply) != value:
                        wrong.append((who, turn))
                if client.reconnections:
                    wrong.append(f"{client.reconnections} reconnections")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    return took


@contextmanager
def served(policy: str) -> Iterator[tuple[str, int]]:
    """Run `inspire serve` in a process and yield (url, process id). The process must end on SIGTERM."""
    command = [sys.executable, "-m", "inspire_vla", "serve", "--policy", policy, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--requests-per-second", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"ws://\S+", process.stdout.readline())
        assert found is not None, "the server did not start"
        yield found[0], process.pid
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()


def resident_mib(process: int) -> float:
    """Return the resident memory of a process (Linux only)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def counted(url: str, name: str) -> float:
    """Return a value of the server's /metrics."""
    page = urlopen(url.replace("ws://", "http://") + "/metrics").read().decode()
    return float(re.search(rf"^{re.escape(name)} (\S+)", page, re.M)[1])  # type: ignore[index]


def measure(policy: str, requests: int, malformed_messages: int, clients: int) -> dict[str, Any]:
    """Serve a checkpoint; send many requests, then malformed messages while one good client continues."""
    with served(policy) as (url, process):
        with PolicyClient(url) as client:
            size = client.metadata["image_size"][0]
            chunk = (client.metadata["chunk_size"], client.metadata["action_dim"])
        soak(url, 50 * clients, clients, size=size)  # caches fill before the measurement
        before, began = resident_mib(process), time.monotonic()
        passes = counted(url, "inspire_batch_size_count")
        took = np.array(soak(url, requests, clients, size=size))
        seconds, after = time.monotonic() - began, resident_mib(process)
        passes = counted(url, "inspire_batch_size_count") - passes
        soaked = {
            "requests": len(took), "clients": clients, "seconds": round(seconds, 1),
            "requests_per_second": round(len(took) / seconds, 1), "requests_a_batch": round(len(took) / passes, 2),
            "round_trip_ms": {f"p{p}": round(float(np.percentile(took, p)), 1) for p in (50, 95, 99, 100)},
            "memory_mib": [round(before, 1), round(after, 1)],
        }  # fmt: skip
        good: list[float] = []
        stop = threading.Event()

        def steady() -> None:
            with PolicyClient(url) as client:
                while not stop.is_set():
                    good.append(
                        client.infer(observation(size=size, undecodable=True)).timing["round_trip_ms"]
                    )
                    time.sleep(0.02)
                assert client.reconnections == 0

        thread = threading.Thread(target=steady)
        thread.start()
        began = time.monotonic()
        outcomes = fuzz(url, malformed_messages, 0, chunk=chunk, size=size)
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        assert len(good) > 10, "the good client was not served"
        fuzzed = {
            "messages": malformed_messages, **outcomes, "seconds": round(time.monotonic() - began, 1),
            "good_client_requests": len(good), "good_client_p99_ms": round(float(np.percentile(good, 99)), 1),
            "memory_mib": [round(after, 1), round(resident_mib(process), 1)],
            "connections_left": int(counted(url, "inspire_connections")),
        }  # fmt: skip
    return {"policy": policy, "soak": soaked, "fuzz": fuzzed}


def main() -> None:
    parser = argparse.ArgumentParser(description="Soak and fuzz a policy server and write the measurements.")
    parser.add_argument("--policy", default="nano_inspire")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--malformed", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options.policy, options.requests, options.malformed, options.clients)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = json.dumps({**found, "cores_used": cores, "provenance": provenance()}, indent=1)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
