"""The client reconnects, keeps its time limits, and loads quickly."""

import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tests.serving.toy_server import Running, ToyAgent, observation, serve, timed

from inspire_vla.errors import InspireError
from inspire_vla.serving.client import PolicyClient, Reply, ServerError, Unreachable
from inspire_vla.serving.server import PolicyServer, ServerSettings


def test_it_loads_neither_torch_nor_a_server() -> None:
    heavy = "torch lerobot mujoco prometheus_client websockets.asyncio jaxtyping PIL gymnasium".split()
    code = f"import inspire_vla.serving.client, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "[]"


def test_a_missing_server_is_reported_in_time() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with timed(10), pytest.raises(Unreachable, match="No policy server at"):
        PolicyClient(f"ws://127.0.0.1:{port}", connect_timeout_s=0.5)


def test_another_program_at_the_port_is_reported(running) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with timed(10), pytest.raises(Unreachable):
            PolicyClient(f"ws://127.0.0.1:{silent.getsockname()[1]}", connect_timeout_s=0.6)
    with pytest.raises(InspireError, match="no URL"):
        PolicyClient("http//nowhere", connect_timeout_s=0.1)


def test_a_late_reply_is_not_taken_for_the_next(running) -> None:
    agent = ToyAgent()
    server = running(agent)
    client = PolicyClient(server.url, timeout_s=0.2)
    agent.delay_s = 0.6
    with pytest.raises(Unreachable, match="no reply within"):
        client.infer(observation(1))
    agent.delay_s = 0.0
    client.timeout_s = 5.0
    assert client.infer(observation(2)).actions[0, 0] == 2
    client.close()


@pytest.mark.parametrize("half", ["send", "recv"])
def test_an_interrupted_request_leaves_no_reply_behind(running, monkeypatch, half: str) -> None:
    """By Ctrl-C in a notebook, for instance: the connection is there, and the reply is on its way."""
    with PolicyClient(running().url) as client:
        part = getattr(client._connection, half)

        def interrupted(*given, **options):
            if half == "send":
                part(*given, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(client._connection, half, interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.infer(observation(1))
        monkeypatch.undo()
        assert client.infer(observation(2)).actions[0, 0] == 2


def test_a_message_too_large_for_the_server_is_refused_by_its_size(running) -> None:
    """Not "unreachable": whoever waits for a server would wait for ever."""
    with PolicyClient(running(max_message_bytes=2000).url) as client:
        with pytest.raises(ServerError, match=r"does not take a message of 3,\d\d\d bytes"):
            client.infer(observation(size=32))
        assert client.infer(observation()).decodable


def test_it_waits_for_a_restarted_server() -> None:
    first = serve()
    port = first.port
    client = PolicyClient(first.url)
    assert client.infer(observation(1)).actions[0, 0] == 1
    first.stop()
    second: list[Running] = []
    starter = threading.Thread(target=lambda: (time.sleep(0.4), second.append(serve(port=port))))
    starter.start()
    assert client.infer(observation(2)).actions[0, 0] == 2
    assert client.reconnections >= 1
    starter.join()
    client.close()
    second[0].stop()


def test_an_observation_is_sent_again_if_the_server_restarts() -> None:
    agent = ToyAgent()
    first = serve(agent, drain_s=0.0)
    port = first.port
    agent.delay_s = 0.5
    client = PolicyClient(first.url)
    client.send(observation(5))
    time.sleep(0.1)
    first.stop()
    second = serve(port=port)
    assert client.receive().actions[0, 0] == 5
    client.close()
    second.stop()


def cut(client: PolicyClient, server: Running) -> None:
    server.call(next(iter(server.server._open)).close())


def refuse(client: PolicyClient, server: Running) -> None:
    with pytest.raises(ServerError, match="NaN"):
        client.infer(observation() | {"observation/state": [float("nan")] * 8})


def time_out(client: PolicyClient, server: Running) -> None:
    client.timeout_s, server.server.agent.delay_s = 0.1, 0.4
    with pytest.raises(Unreachable, match="no reply within"):
        client.infer(observation())
    client.timeout_s, server.server.agent.delay_s = 20.0, 0.0


@pytest.mark.parametrize("lose", [cut, refuse, time_out, lambda client, _: client.close()])
def test_an_instruction_survives_a_reconnection(running, lose) -> None:
    server = running()
    with PolicyClient(server.url) as client:
        assert client.infer(observation(instruction="open the drawer")).mentions == ("the drawer",)
        lose(client, server)
        assert client.infer(observation()).mentions == ("the drawer",)
        assert client.reconnections == 1
        client.infer(observation(instruction=""))
        assert client.infer(observation()).mentions == ("the red cube",)


def test_an_observation_sent_again_has_the_instruction() -> None:
    agent = ToyAgent()
    first = serve(agent, drain_s=0.0)
    client = PolicyClient(first.url)
    client.infer(observation(instruction="open the drawer"))
    agent.delay_s = 0.5
    client.send(observation())
    time.sleep(0.1)
    first.stop()
    second = serve(port=first.port)
    assert client.receive().mentions == ("the drawer",)
    client.close()
    second.stop()


def test_a_refused_request_keeps_its_instruction(running) -> None:
    with PolicyClient(running().url) as client:
        with pytest.raises(ServerError, match="NaN"):
            client.infer(
                observation(instruction="open the drawer") | {"observation/state": [float("nan")] * 8}
            )
        assert client.infer(observation()).mentions == ("the drawer",)


def test_one_request_at_a_time(running) -> None:
    with PolicyClient(running().url) as client:
        with pytest.raises(InspireError, match="No reply is due"):
            client.receive()
        client.send(observation())
        with pytest.raises(InspireError, match="still due"):
            client.send(observation())
        client.receive()


def test_after_an_error_the_next_request_works(running) -> None:
    with PolicyClient(running().url) as client:
        for _ in range(3):
            with pytest.raises(ServerError, match="NaN"):
                client.infer(observation() | {"observation/state": [float("nan")] * 8})
            assert client.infer(observation()).decodable


@pytest.mark.parametrize(
    "message",
    [
        None,
        {},
        {"actions": [1.0]},
        {"actions": [["x"]]},
        {"actions": [[1.0], [2.0, 3.0]]},
        {"actions": [[1.0, float("nan")]]},
        {"actions": np.full((2, 2), np.inf)},
        {"actions": [[1.0]], "reasoning": {"mentions": None}},
        {"actions": [[1.0]], "reasoning": {"forward_passes": "one"}},
        {"actions": [[1.0]], "reasoning": {"mentions": ["the cup"]}},
    ],
)
def test_a_reply_without_actions_or_of_another_form_is_refused(message: object) -> None:
    with pytest.raises(ServerError):
        Reply.of(message)


def test_replies_of_other_servers_are_read() -> None:
    reply = Reply.of({"actions": [[0.5, 1.0]], "server_timing": {"infer_ms": 3.0}, "state": b"x"})
    assert reply.actions.shape == (1, 2)
    assert reply.answers_by_mention == {}
    assert reply.timing["infer_ms"] == 3.0
    other = {"actions": [[0.5]], "reasoning": "The cup is on the left.", "server_timing": [3.0]}
    assert Reply.of(other).answers == ()
    assert Reply.of(other).message["reasoning"] == "The cup is on the left."


def test_a_taken_port_is_reported(running) -> None:
    server = running()
    other = PolicyServer(ToyAgent(), ServerSettings(port=server.port))
    with pytest.raises(InspireError, match="Cannot listen"):
        server.call(other.start())
