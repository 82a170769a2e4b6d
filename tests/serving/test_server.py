"""openpi's protocol over a plain web socket, and what our server adds to it."""

import io
import json
import logging
import threading
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgpack
import numpy as np
import pytest
from tests.serving.toy_server import ToyAgent, observation, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from inspire_vla.errors import InspireError
from inspire_vla.instruction import MentionRole
from inspire_vla.serving import runtime
from inspire_vla.serving import server as server_module
from inspire_vla.serving.client import PolicyClient, ServerError
from inspire_vla.serving.protocol import pack, unpack
from inspire_vla.serving.server import ConnectionState


def raw(running, **options):
    return connect(running.url, compression=None, proxy=None, **options)


def test_openpis_conversation(running) -> None:
    server = running()
    with raw(server) as socket:
        metadata = socket.recv()
        assert isinstance(metadata, bytes)  # a binary frame comes first, unasked
        assert unpack(metadata)["action_dim"] == 7
        for turn in range(2):
            socket.send(pack(observation(40)))
            answer = socket.recv()
            assert isinstance(answer, bytes)
            reply = unpack(answer)
            assert reply["actions"].shape == (4, 7)
            assert reply["actions"].dtype == np.float32
            assert reply["actions"][0, 0] == 40
            assert reply["server_timing"]["infer_ms"] > 0
            assert ("prev_total_ms" in reply["server_timing"]) == (turn > 0)
            assert reply["reasoning"]["mentions"] == ["the red cube"]
            assert reply["reasoning"]["answers"] == ["left"]
            assert reply["reasoning"]["confidences"] == [0.75]
            assert reply["reasoning"]["overridden"] == [False]


def test_an_error_is_a_text_frame_and_close_1011(running) -> None:
    with raw(running()) as socket:
        socket.recv()
        socket.send(b"\xc1")
        assert "msgpack" in socket.recv()
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1011


def test_health_readiness_and_metrics_are_plain_http(running) -> None:
    server = running()
    base = f"http://127.0.0.1:{server.port}"
    with urlopen(f"{base}/healthz") as response:
        assert (response.status, response.read()) == (200, b"OK\n")
    assert urlopen(f"{base}/readyz").status == 200
    with PolicyClient(server.url) as client:
        client.infer(observation())
        client.infer(observation(overrides={"the red cube": "up"}))
        page = urlopen(f"{base}/metrics").read().decode()
    assert 'inspire_requests_total{outcome="ok"} 2.0' in page
    assert 'inspire_answers_total{word="up"} 1.0' in page
    assert "inspire_answers_overridden_total 1.0" in page
    assert "inspire_connections 1.0" in page


def test_health_is_answered_while_the_agent_runs(running) -> None:
    agent = ToyAgent()
    server = running(agent)
    agent.delay_s = 2.0
    with PolicyClient(server.url) as client:
        client.send(observation())
        time.sleep(0.05)
        began = time.monotonic()
        assert urlopen(f"http://127.0.0.1:{server.port}/healthz").status == 200
        assert time.monotonic() - began < 1.5
        client.receive()


def test_the_port_opens_after_the_warm_up(running) -> None:
    agent = ToyAgent()
    running(agent)
    assert len(agent.batches) >= 2
    assert any(drafts is not None for drafts in agent.drafts)


def test_simultaneous_requests_share_a_batch_and_keep_their_answers(running) -> None:
    agent = ToyAgent()
    server = running(agent, batch_window_s=0.05)
    clients = [PolicyClient(server.url) for _ in range(6)]
    agent.batches.clear()
    for value, client in enumerate(clients):
        client.send(observation(value))
    replies = [client.receive() for client in clients]
    assert [reply.actions[0, 0] for reply in replies] == list(range(6))
    assert len(agent.batches) < 6
    assert max(reply.timing["batch"] for reply in replies) > 1
    for client in clients:
        client.close()


def test_drafts_belong_to_a_connection_and_session(running) -> None:
    agent = ToyAgent()
    server = running(agent)
    with PolicyClient(server.url) as one, PolicyClient(server.url) as two:
        one.infer(observation(session="arm"))
        agent.drafts.clear()
        one.infer(observation(session="arm"))
        two.infer(observation(session="arm"))  # the same name from another client is another robot
        one.infer(observation(session="other arm"))
        one.infer(observation(session="arm", drafts={"the red cube": "up"}))
    assert agent.drafts == [[{"the red cube": "left"}], [None], [None], [{"the red cube": "up"}]]


def test_an_override_is_not_the_next_draft(running) -> None:
    agent = ToyAgent()
    with PolicyClient(running(agent).url) as client:
        reply = client.infer(observation(overrides={"the red cube": "up"}))
        assert reply.answers_by_mention == {"the red cube": "up"}
        assert reply.overridden == (True,)
        client.infer(observation())
    assert agent.drafts[-1] == [{}]


def test_mentions_overrule_for_one_request(running) -> None:
    with PolicyClient(running().url) as client:
        assert client.infer(observation(mentions=["my cup"])).mentions == ("my cup",)
        assert client.infer(observation(mentions=[{"mention": "the sink", "role": "goal"}])).mentions == (
            "the sink",
        )
        assert client.infer(observation(mentions=[])).mentions == ()
        assert client.infer(observation()).mentions == ("the red cube",)
        reply = client.infer(observation(prompt="Lege den Würfel ab", mentions=["the cube"]))
        assert reply.mentions == ("the cube",)


def test_given_mentions_are_in_the_metadata(running) -> None:
    agent = ToyAgent()
    agent.mention_overrides = {"wave": (MentionRole("the flag", "carried"),)}
    with PolicyClient(running(agent).url) as client:
        assert client.metadata["reasoning"]["mention_overrides"] == {"wave": ["the flag"]}


def test_an_instruction_replaces_the_prompt_until_the_next(running) -> None:
    with PolicyClient(running().url) as client:
        assert client.infer(observation()).mentions == ("the red cube",)
        assert client.infer(observation(instruction="open the drawer")).mentions == ("the drawer",)
        assert client.infer(observation()).mentions == ("the drawer",)
        assert client.infer(observation(instruction="")).mentions == ("the red cube",)
        assert client.infer(observation()).mentions == ("the red cube",)
        client.infer(observation(instruction="open the drawer"))
        with pytest.raises(ServerError, match="`instruction` are empty"):
            client.infer({**observation(instruction=""), "prompt": ""})


def test_an_instruction_replaces_the_prompt_of_its_session_only(running) -> None:
    """Also after a reconnection, when the client repeats it."""
    server = running()
    with PolicyClient(server.url) as client:
        client.infer(observation(session="one", instruction="open the drawer"))
        for _ in range(2):
            assert client.infer(observation(session="two")).mentions == ("the red cube",)
            assert client.infer(observation()).mentions == ("the red cube",)
            assert client.infer(observation(session="one")).mentions == ("the drawer",)
            client.close()


def test_a_bad_request_fails_alone_in_its_batch(running) -> None:
    agent = ToyAgent()
    server = running(agent, batch_window_s=0.1)
    good, bad = PolicyClient(server.url), PolicyClient(server.url)
    bad.send(observation(overrides={"the red cube": "sideways"}))
    good.send(observation(9))
    assert good.receive().actions[0, 0] == 9
    with pytest.raises(ServerError, match="sideways"):
        bad.receive()
    good.close()


def test_a_crash_is_reported_without_details(running) -> None:
    with PolicyClient(running().url) as client:
        with pytest.raises(ServerError) as caught:
            client.infer(observation(prompt="crash"))
        assert "RuntimeError" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert client.infer(observation()).decodable


def test_an_undecodable_action_is_an_error_or_nil(running) -> None:
    server = running()
    with PolicyClient(server.url) as client:
        order = "pick up the undecodable cube"
        with pytest.raises(ServerError, match="no action"):
            client.infer(observation(prompt=order))
        reply = client.infer(observation(prompt=order, undecodable=True))
        assert not reply.decodable
        assert reply.mentions == ("the undecodable cube",)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_key_that_was_read_with_its_line_end_is_that_key(running, end: str) -> None:
    server = running(api_key=f"secret{end}")
    for key in ("secret", f"secret{end}"):
        with PolicyClient(server.url, api_key=key) as client:
            assert client.infer(observation()).decodable
    with pytest.raises(ServerError, match="401"):
        PolicyClient(server.url, api_key=end)
    with pytest.raises(InspireError, match="API key is empty"):
        running(api_key=end)


def test_the_api_key_is_required(running) -> None:
    server = running(api_key="secret")
    with PolicyClient(server.url, api_key="secret") as client:
        assert client.infer(observation()).decodable
    for key in (None, "secre", "secrets", "Secret", "sécret"):
        with pytest.raises((ServerError, UnicodeError), match=r"401|latin|ascii"):
            PolicyClient(server.url, api_key=key)
    base = f"http://127.0.0.1:{server.port}"
    assert urlopen(f"{base}/healthz").status == 200
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{base}/metrics")
    assert urlopen(Request(f"{base}/metrics", headers={"Authorization": "Api-Key secret"})).status == 200


def test_connections_from_web_pages_are_refused(running) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        raw(running(), origin="http://somewhere.example")


def test_connections_above_the_limit_are_refused(running) -> None:
    server = running(max_connections=1)
    with PolicyClient(server.url) as client:
        with pytest.raises(InvalidStatus, match="503"):
            raw(server)
        assert client.infer(observation()).decodable


def test_a_fast_client_is_delayed(running, monkeypatch) -> None:
    delays = iter([0.0, 0.15, 0.0])
    monkeypatch.setattr(ConnectionState, "delay_s", lambda self: next(delays))
    server = running()
    with PolicyClient(server.url) as client:
        took = []
        for _ in range(3):
            began = time.monotonic()
            client.infer(observation())
            took.append(time.monotonic() - began)
    assert took[1] >= 0.15
    assert server.server.metrics.throttled._value.get() == 1


def test_a_message_too_long_closes_its_connection_only(running) -> None:
    server = running(max_message_bytes=10_000)
    with PolicyClient(server.url) as good, raw(server) as socket:
        socket.recv()
        socket.send(b"\0" * 20_000)
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1009
        assert good.infer(observation()).decodable


def test_a_stop_finishes_the_reply_in_progress(running) -> None:
    agent = ToyAgent()
    server = running(agent)
    agent.delay_s = 0.4
    client = PolicyClient(server.url)
    client.send(observation(3))
    until(lambda: any(state.busy for state in server.server._open.values()))
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    assert client.receive().actions[0, 0] == 3
    stopper.join(5)
    assert not stopper.is_alive()
    client.close()


def test_metadata_is_plain_msgpack(running) -> None:
    with raw(running()) as socket:
        metadata = msgpack.unpackb(socket.recv())
    assert metadata["cameras"] == {"image": "observation/image"}
    assert metadata["reasoning"]["words"] == ["right", "left", "up", "down", "front", "back", "grasped"]


def test_the_key_is_compared_in_constant_time(running, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hmac.compare_digest on whole keys, so that the duration reveals nothing about the key."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    server = running(api_key="secret")
    monkeypatch.setattr(server_module.hmac, "compare_digest", compare)
    with pytest.raises(ServerError, match="401"):
        PolicyClient(server.url, api_key="secret")
    assert compared == [(b"Api-Key secret", b"Api-Key secret")]


def test_logs_are_json_lines(running) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(runtime.JsonFormatter())
    runtime.LOG.addHandler(handler)
    level = runtime.LOG.level
    runtime.LOG.setLevel(logging.INFO)
    try:
        server = running()
        with PolicyClient(server.url) as client:
            for _ in range(2):
                client.infer(observation(overides={"the red cube": "up"}))
            with pytest.raises(ServerError):
                client.infer({"prompt": "go\nthere"})
        server.stop()
    finally:
        runtime.LOG.removeHandler(handler)
        runtime.LOG.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    events = [line["event"] for line in lines]
    assert events[:3] == ["warm", "ready", "connected"]
    assert "stopping" in events
    assert events[-1] == "stopped"
    (refused,) = [line for line in lines if line["event"] == "refused"]
    assert refused["level"] == "warning"
    assert "observation/image" in refused["reason"]
    assert [line["keys"] for line in lines if line["event"] == "unused"] == [["overides"]]
    assert next(line for line in lines if line["event"] == "disconnected")["replies"] == 2
    assert all({"time", "level", "event"} <= set(line) for line in lines)


def test_no_connection_is_accepted_while_stopping(running) -> None:
    agent = ToyAgent()
    server = running(agent)
    agent.delay_s = 1.0
    with PolicyClient(server.url) as client:
        client.send(observation())
        until(lambda: any(state.busy for state in server.server._open.values()))
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        until(lambda: server.server.stopping)
        assert urlopen(f"http://127.0.0.1:{server.port}/healthz").status == 200
        with pytest.raises(HTTPError, match="503"):
            urlopen(f"http://127.0.0.1:{server.port}/readyz")
        with pytest.raises(InvalidStatus, match="503"):
            raw(server)
        assert client.receive().decodable
        stopper.join(10)
