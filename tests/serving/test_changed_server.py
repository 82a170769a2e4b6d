"""A server that is stopped, comes back, or comes back with another policy in the middle of an evaluation."""

import threading
import time

import numpy as np
import pytest
from tests.serving.test_remote_agent import ThreeObjects, random_observation
from tests.serving.toy_server import Running, ToyAgent, until

from inspire_vla.errors import InspireError, PolicyLost
from inspire_vla.evaluation import EvaluationPlan, Factory, evaluate, read_run
from inspire_vla.serving import remote_agent
from inspire_vla.serving.client import Unreachable
from inspire_vla.serving.remote_agent import RemoteAgent, identity_of
from inspire_vla.serving.server import PolicyServer, ServerSettings

EPISODES = 60


class Slow(ToyAgent):
    def act(self, *arguments, **options):
        time.sleep(0.05)
        return super().act(*arguments, **options)


def serving(sha256: str, port: int = 0, name: str = "toy") -> Running:
    about = {"name": name, "checkpoint": name, "sha256": sha256}
    return Running(PolicyServer(Slow(), ServerSettings(port=port), about=about))


class Objects(ThreeObjects):
    groups = {"toys": "seen"}  # noqa: RUF012

    def make(self, suite, task):
        return Objects()

    def suites(self):
        return ("toys",)

    def tasks(self, suite):
        return ("three",)


def evaluation(out, url, workers, **agent) -> threading.Thread:
    """Start an evaluation in a thread; what it raised is `thread.error`."""
    plan = EvaluationPlan(("toys",), EPISODES, {"name": "toy"}, max_steps=6)
    arguments = {"url": url, "patient": True, **agent}

    def run() -> None:
        try:
            evaluate(
                out, plan, benchmark=Factory(f"{__name__}:Objects"), workers=workers, slots=2, progress=False,
                agent=Factory("inspire_vla.serving.remote_agent:connect", arguments),
            )  # fmt: skip
        except InspireError as error:
            thread.error = error

    thread = threading.Thread(target=run, daemon=True)
    thread.error = None
    thread.start()
    return thread


def finished(out) -> int:
    path = out / "episodes.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("workers", [0, 2])
def test_another_policy_ends_the_evaluation(tmp_path, workers):
    server = serving("a" * 64)
    expected = identity_of({**server.server.metadata})
    thread = evaluation(tmp_path, server.url, workers, expected=expected)
    until(lambda: finished(tmp_path) >= 2 or not thread.is_alive(), 60)
    assert thread.error is None
    server.stop()
    before = finished(tmp_path)
    with serving("b" * 64, server.port, name="other") as other:
        thread.join(60)
        assert not thread.is_alive()
        assert "serves another policy" in str(thread.error)
        assert "sha256: before aaa" in str(thread.error)
        assert "now bbb" in str(thread.error)
        run = read_run(tmp_path)
        assert 2 <= len(run.records) <= before + 2  # none of the other's is among them
        assert not any(record.error for record in run.records)
        assert other.server is not None
        # repeating the command with the other server is refused as well, before an episode is played
        again = evaluation(tmp_path, other.url, workers, expected=expected)
        again.join(60)
        assert "serves another policy" in str(again.error)
        assert finished(tmp_path) == len(run.records)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_is_away_is_waited_for(tmp_path, workers, capfd):
    server = serving("a" * 64)
    thread = evaluation(tmp_path, server.url, workers)
    until(lambda: finished(tmp_path) >= 2, 60)
    server.stop()
    time.sleep(4)
    assert thread.is_alive()
    with serving("a" * 64, server.port, name="renamed"):  # the same weights under another name
        thread.join(90)
        assert not thread.is_alive()
    assert thread.error is None
    records = read_run(tmp_path).records
    assert len(records) == EPISODES
    assert not any(record.error for record in records)
    said = capfd.readouterr().err
    assert "Waiting for the server" in said
    assert "back after" in said


def test_an_impatient_agent_says_at_once_that_the_server_is_away():
    server = serving("a" * 64)
    agent = RemoteAgent(url=server.url, connect_timeout_s=0.5)
    row = random_observation(np.random.default_rng(0), 16)
    agent.act([row], ["open the drawer"])
    server.stop()
    with pytest.raises(Unreachable):
        agent.act([row], ["open the drawer"])
    with serving("c" * 64, server.port), pytest.raises(PolicyLost, match="another policy"):
        agent.act([row], ["open the drawer"])


def test_a_new_connection_of_a_batch_is_checked_too():
    """Behind one address there may be several servers."""
    server = serving("a" * 64)
    agent = RemoteAgent(url=server.url)
    row = random_observation(np.random.default_rng(0), 16)
    agent.act([row], ["open the drawer"])
    server.server._metadata_message = PolicyServer(
        Slow(), ServerSettings(port=0), about={"sha256": "b" * 64}
    )._metadata_message
    with pytest.raises(PolicyLost, match="another policy"):
        agent.act([row, row], ["open the drawer"] * 2)
    server.stop()


def test_a_server_that_never_answers_ends_the_waiting(monkeypatch, capfd):
    monkeypatch.setattr(remote_agent, "PAUSE_S", 0.01)
    monkeypatch.setattr(remote_agent, "MAX_UNANSWERED", 3)
    toy = ToyAgent(delay_s=0.0)
    with Running(PolicyServer(toy, ServerSettings(port=0))) as server:
        agent = RemoteAgent(url=server.url, patient=True, timeout_s=0.2)
        toy.delay_s = 0.6
        with pytest.raises(PolicyLost, match="3 times in a row"):
            agent.act([random_observation(np.random.default_rng(0), 16)], ["open the drawer"])
        agent.close()
    assert "sent no reply" in capfd.readouterr().err


def test_a_key_that_is_refused_is_not_waited_for():
    with (
        Running(PolicyServer(ToyAgent(), ServerSettings(port=0, api_key="secret"))) as server,
        pytest.raises(PolicyLost, match="401"),
    ):
        RemoteAgent(url=server.url, patient=True, api_key="wrong")
