"""openpi's client and server, if installed; and the bytes that its client sends, always.

data/openpi_observation.msgpack was packed by openpi-client 0.1.0 (openpi's commit 15a9616) from `OBSERVATION`.
"""

import asyncio
import contextlib
import threading
from pathlib import Path

import msgpack
import numpy as np
import pytest
from tests.serving.test_server import raw
from tests.serving.toy_server import ToyAgent, observation

from inspire_vla.serving.client import PolicyClient, ServerError
from inspire_vla.serving.protocol import pack, unpack

SENT = Path(__file__).parent / "data" / "openpi_observation.msgpack"
OBSERVATION = {
    "observation/image": np.arange(768, dtype=np.uint8).reshape(16, 16, 3),
    "observation/wrist_image": np.full((16, 16, 3), 7, dtype=np.uint8),
    "observation/state": np.linspace(-1, 1, 8),
    "prompt": "pick up the red cube",
    "session_time": np.float32(0.5),
}


def test_our_bytes_equal_those_of_openpis_client() -> None:
    data = SENT.read_bytes()
    assert pack(OBSERVATION) == data
    for key, value in unpack(data).items():
        np.testing.assert_array_equal(value, OBSERVATION[key])


def test_the_reply_has_openpis_format(running) -> None:
    """Read as its client reads: plain msgpack, an array is a map with byte keys."""
    server = running(ToyAgent(cameras=("image", "wrist_image")))
    with raw(server) as socket:
        assert isinstance(msgpack.unpackb(socket.recv()), dict)
        socket.send(SENT.read_bytes())
        answer = msgpack.unpackb(socket.recv())
    said = answer["actions"]
    assert set(said) == {b"__ndarray__", b"data", b"dtype", b"shape"}
    actions = np.frombuffer(said[b"data"], np.dtype(said[b"dtype"])).reshape(said[b"shape"])
    assert actions.shape == (4, 7)
    np.testing.assert_allclose(actions[0, :2], [OBSERVATION["observation/image"].mean(), 7])
    np.testing.assert_allclose(actions[1], np.linspace(-1, 1, 8)[:7], rtol=1e-6)
    assert {"infer_ms"} <= set(answer["server_timing"])


def test_its_client_and_our_server(running) -> None:
    policy = pytest.importorskip("openpi_client.websocket_client_policy").WebsocketClientPolicy
    server = running(api_key="secret")
    client = policy("127.0.0.1", server.port, api_key="secret")
    assert client.get_server_metadata()["action_dim"] == 7
    for value in (3, 200):
        answer = client.infer(observation(value))
        assert answer["actions"].shape == (4, 7)
        assert answer["actions"][0, 0] == value
        assert answer["reasoning"]["answers"] == ["left"]
    assert answer["server_timing"]["prev_total_ms"] > 0
    client.reset()
    with pytest.raises(RuntimeError, match="observation/image"):
        client.infer({"prompt": "pick up the red cube"})


def test_its_packer_makes_the_fixture() -> None:
    packer = pytest.importorskip("openpi_client.msgpack_numpy").Packer()
    assert packer.pack(OBSERVATION) == SENT.read_bytes()


def test_our_client_and_its_server() -> None:
    its = pytest.importorskip("openpi.serving.websocket_policy_server")

    class Policy:
        def infer(self, seen: dict) -> dict:
            if seen["prompt"] == "crash":
                raise RuntimeError("no")
            return {"actions": np.full((5, 7), seen["observation/image"].mean())}

    loop = asyncio.new_event_loop()
    server = its.WebsocketPolicyServer(Policy(), "127.0.0.1", 8917, {"mine": 1})

    task = loop.create_task(server.run())

    def serve() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with PolicyClient("ws://127.0.0.1:8917") as client:
        assert client.metadata == {"mine": 1}
        reply = client.infer(observation(9))
        assert reply.actions.shape == (5, 7)
        assert reply.actions[0, 0] == 9
        assert reply.mentions == ()
        with pytest.raises(ServerError, match="RuntimeError"):
            client.infer(observation(prompt="crash"))
        assert client.infer(observation(4)).actions[0, 0] == 4
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
    loop.close()
