"""The session executes commands, refuses invalid ones, and serves its page to its own origin only."""

import asyncio
import json
import re
import socket
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from tests.serving.toy_server import Running, ToyAgent
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from inspire_vla.errors import InspireError
from inspire_vla.serving.steering.server import SteeringServer
from inspire_vla.serving.steering.session import MAX_COMMANDS, SteeringSession, describe_motion


class ToyEnv:
    """The red cube is up at even steps, grasped at odd ones; done after six."""

    def __init__(self, task: str) -> None:
        self.task, self.t = task, 0
        self.action_space = SimpleNamespace(shape=(7,))

    def reset(self, *, seed: int) -> tuple[dict, dict]:
        self.t = 0
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.t += 1
        return self._observation(), 0.0, self.t >= 6, False, self._info()

    def render(self) -> np.ndarray:
        return np.full((32, 32, 3), 10 * self.t, dtype=np.uint8)

    def close(self) -> None:
        pass

    def _observation(self) -> dict:
        return {"pixels": {"image": np.zeros((16, 16, 3), np.uint8)}, "agent_pos": np.zeros(8)}

    def _info(self) -> dict:
        return {
            "task": self.task,
            "mentions": ("the red cube",),
            "gripper_to_object_m": np.array([[0.0, 0.0, 0.3]]),
            "grasped": np.array([self.t % 2 == 1]),
            "is_success": self.t >= 6,
        }


BENCHMARK = SimpleNamespace(
    suites=lambda: ("toys",),
    tasks=lambda suite: ("pick up the red cube", "open the drawer"),
    make=lambda suite, task: ToyEnv(task),
)


class RecordedSession:
    """A session that records its view states."""

    def __init__(self, agent: ToyAgent | None = None, benchmark=BENCHMARK, task: str | None = None) -> None:
        self.states: list[dict] = []
        self.session = SteeringSession(
            agent or ToyAgent(), benchmark, lambda s, p: self.states.append(s), task=task, hz=200
        )
        self.session.start()
        self.wait(lambda s: True)

    def wait(self, until) -> dict:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.states and until(self.states[-1]):
                return self.states[-1]
            time.sleep(0.005)
        raise AssertionError(self.states[-1:])

    def command(self, until, **command) -> dict:
        self.session.command(json.dumps(command))
        return self.wait(until)


@pytest.fixture
def played():
    one = RecordedSession()
    yield one
    one.session.stop()


def test_it_starts_paused_after_a_first_decision(played: RecordedSession) -> None:
    state = played.states[-1]
    assert (state["playing"], state["steps"]) == (False, 0)
    (row,) = state["objects"]
    assert (row["mention"], row["answer"], row["truth"], row["overridden"]) == (
        "the red cube",
        "left",
        "up",
        False,
    )
    assert "the red cube" in row["question"]
    json.dumps(state)


def test_it_plays_to_the_end_and_starts_over(played: RecordedSession) -> None:
    state = played.command(lambda s: s["over"], type="play", on=True)
    assert (state["success"], state["steps"], state["playing"]) == (True, 6, False)
    assert [entry[0] for entry in state["timeline"]] == [0, 2, 4]  # the toy plays two actions of a chunk
    state = played.command(lambda s: not s["over"], type="reset")
    assert (state["steps"], len(state["timeline"])) == (0, 1)
    assert played.command(lambda s: s["seed"] == 1, type="next_seed")["steps"] == 0


def test_after_the_end_a_command_is_said_to_hold_from_the_next_start_on(played: RecordedSession) -> None:
    played.command(lambda s: s["over"], type="play", on=True)
    state = played.command(lambda s: s["error"], type="override", mention="the red cube", word="up")
    assert "next start" in state["error"]
    state = played.command(lambda s: not s["over"], type="reset")
    assert (state["objects"][0]["answer"], state["error"]) == ("up", None)


def test_an_override_stays_until_it_is_removed(played: RecordedSession) -> None:
    state = played.command(
        lambda s: s["objects"][0]["overridden"], type="override", mention="the red cube", word="up"
    )
    assert state["objects"][0]["answer"] == "up"
    for step in (1, 2, 3):
        state = played.command(lambda s, step=step: s["steps"] == step, type="step")
        assert state["objects"][0]["answer"] == "up"
    state = played.command(
        lambda s: not s["objects"][0]["overridden"], type="override", mention="the red cube", word=None
    )
    assert state["objects"][0]["answer"] == "left"


@pytest.mark.parametrize(
    ("mention", "word", "told"),
    [
        ("the red cube", "sideways", "'sideways' cannot be set here"),
        ("the drawer", "up", r"'the drawer' cannot be set here. Possible: ['the red cube']"),
    ],
)
def test_an_override_that_cannot_be_set_leaves_the_others(
    played: RecordedSession, mention, word, told
) -> None:
    """Also after the end, and where the policy is out of reach for a moment."""
    played.command(
        lambda s: s["objects"][0]["overridden"], type="override", mention="the red cube", word="up"
    )
    wrong = {"type": "override", "mention": mention, "word": word}
    assert told in played.command(lambda s: s["error"], **wrong)["error"]
    assert played.command(lambda s: s["steps"] == 1, type="step")["objects"][0]["answer"] == "up"
    act = played.session.agent.act

    def away(*_: object, **__: object) -> None:
        raise InspireError("no policy server")

    played.session.agent.act = away
    other = {"type": "override", "mention": "the red cube", "word": "down"}
    assert "no policy server" in played.command(lambda s: s["error"], **other)["error"]
    assert (
        "no policy server" in played.command(lambda s: s["error"] and not s["steps"], type="reset")["error"]
    )
    played.session.agent.act = act
    state = played.command(lambda s: s["over"], type="play", on=True)
    assert {word for _, answers, _, _ in state["timeline"] for word in answers} == {"up"}
    assert told in played.command(lambda s: s["error"], **wrong)["error"]
    state = played.command(lambda s: not s["over"], type="reset")
    assert (state["objects"][0]["answer"], state["error"]) == ("up", None)


def test_an_instruction_that_changes_in_an_episode_ends_what_was_decided_for_the_one_before() -> None:
    class Changes(ToyEnv):
        def _info(self) -> dict:
            return super()._info() | {"instruction": self.task if self.t < 1 else "open the drawer"}

    played = RecordedSession(
        benchmark=SimpleNamespace(**vars(BENCHMARK) | {"make": lambda suite, task: Changes(task)})
    )
    played.command(
        lambda s: s["objects"][0]["overridden"], type="override", mention="the red cube", word="up"
    )
    state = played.command(lambda s: s["steps"] == 1, type="step")
    assert (state["objects"], state["motion"]) == ([], [])
    state = played.command(lambda s: s["steps"] == 2, type="step")
    assert [(row["mention"], row["overridden"]) for row in state["objects"]] == [("the drawer", False)]
    played.session.stop()


def test_an_instruction_replaces_the_tasks_own(played: RecordedSession) -> None:
    state = played.command(
        lambda s: not s["is_task_instruction"], type="set_instruction", text="open the drawer"
    )
    assert [o["mention"] for o in state["objects"]] == ["the drawer"]
    assert state["objects"][0]["truth"] is None  # unknown to the benchmark
    state = played.command(lambda s: s["is_task_instruction"], type="set_instruction", text=" ")
    assert state["instruction"] == "pick up the red cube"


def test_an_error_is_shown_until_the_next_command(played: RecordedSession) -> None:
    state = played.command(lambda s: s["error"], type="set_instruction", text="crash")
    assert "RuntimeError" in state["error"]
    assert state["objects"] == []  # not those of the instruction before
    state = played.command(
        lambda s: s["is_task_instruction"] and not s["error"], type="set_instruction", text=""
    )
    assert state["objects"]
    state = played.command(lambda s: s["error"], type="override", mention="the red cube", word="sideways")
    assert "sideways" in state["error"]
    assert played.command(lambda s: s["steps"] == 1, type="step")["error"] is None


def test_a_task_can_be_chosen(played: RecordedSession) -> None:
    state = played.command(
        lambda s: s["task"] == "open the drawer", type="set_task", suite="toys", task="open the drawer"
    )
    assert state["instruction"] == "open the drawer"
    assert (
        "No task" in played.command(lambda s: s["error"], type="set_task", suite="toys", task="fly")["error"]
    )


@pytest.mark.parametrize(
    "command",
    [
        "{",
        "[]",
        "{}",
        '{"type": "plya"}',
        '{"type": "play"}',
        '{"type": "play", "on": "yes"}',
        '{"type": "override", "mention": "x", "word": 3}',
        b"\xff",
    ],
)
def test_invalid_commands_are_refused(played: RecordedSession, command: str | bytes) -> None:
    with pytest.raises(InspireError, match="The command"):
        played.session.command(command)


def test_unknown_suites_and_tasks_are_reported() -> None:
    for wrong in ({"suite": "tools"}, {"task": "fly"}):
        with pytest.raises(InspireError, match="Possible"):
            SteeringSession(ToyAgent(), BENCHMARK, lambda s, p: None, **wrong)


def received(viewer, kind: str) -> dict:
    """The next message of this kind. Images and heartbeats may come before it."""
    while True:
        message = viewer.recv(timeout=30)
        if isinstance(message, str) and (content := json.loads(message))["type"] == kind:
            return content


def viewing(page: Running) -> ClientConnection:
    origin = f"127.0.0.1:{page.port}"
    return connect(f"ws://{origin}/live", origin=Origin(f"http://{origin}"), proxy=None)


@pytest.fixture
def page():
    running = Running(SteeringServer(ToyAgent(), BENCHMARK, port=0, hz=100))
    yield running
    running.stop()


def test_the_page_loads_nothing_from_other_hosts(page) -> None:
    with urlopen(f"http://127.0.0.1:{page.port}/") as response:
        html, headers = response.read().decode(), response.headers
    assert headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    nonce = headers["Content-Security-Policy"].split("'nonce-")[1].split("'")[0]
    assert f'<script nonce="{nonce}">' in html
    for outside in ('src="http', 'href="http', "@import", "url(", "innerHTML"):
        assert outside not in html
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"http://127.0.0.1:{page.port}/else")
    with pytest.raises(HTTPError, match="403"):  # DNS rebinding
        urlopen(Request(f"http://127.0.0.1:{page.port}/", headers={"Host": f"evil.example:{page.port}"}))


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "0.0.0.0"])
def test_other_host_names_are_refused_on_every_address(listens_on: str) -> None:
    """A web site whose name resolves to this machine would otherwise be of the page's origin (DNS rebinding)."""
    with Running(SteeringServer(ToyAgent(), BENCHMARK, host=listens_on, port=0)) as page:
        url = f"http://127.0.0.1:{page.port}/"
        names = ["127.0.0.1", "192.168.0.7", "[::1]", "localhost", socket.gethostname()]
        for name in names:
            assert urlopen(Request(url, headers={"Host": f"{name}:{page.port}"})).status == 200
        for name in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "x@y"):
            with pytest.raises(HTTPError, match="403"):
                urlopen(Request(url, headers={"Host": f"{name}:{page.port}"}))


def test_a_lone_surrogate_disconnects_nobody(page) -> None:
    with viewing(page) as viewer:
        received(viewer, "state")
        viewer.send('{"type": "set_instruction", "text": "pick up \\ud800"}')
        received(viewer, "refused")
        page.server.session.error = "\ud800"  # from anywhere else, such as an exception's text
        page.server.session._show()
        assert received(viewer, "state")["error"] == "\ud800"


def test_a_viewer_hears_that_the_server_is_there_though_nothing_happens(page) -> None:
    with viewing(page) as viewer:
        received(viewer, "state")
        for _ in range(2):
            received(viewer, "alive")


def test_a_viewer_that_leaves_before_it_has_the_metadata_is_forgotten() -> None:
    """The names of ten thousand tasks take a while over a slow line."""

    class Gone:
        async def send(self, message: str) -> None:
            raise ConnectionClosedError(None, None)

    server = SteeringServer(ToyAgent(), BENCHMARK, port=0)
    asyncio.run(server._handle(Gone()))  # type: ignore[arg-type]
    assert not server._viewers


def test_a_stop_closes_the_connections_before_it_waits_for_the_last_decision() -> None:
    class Slow(ToyAgent):
        def act(self, *rows, **more):
            go.wait(60)
            return super().act(*rows, **more)

    go = threading.Event()
    page = Running(SteeringServer(Slow(), BENCHMARK, port=0))
    stopping = threading.Thread(target=page.stop)
    try:
        with viewing(page) as viewer:
            received(viewer, "metadata")
            stopping.start()
            with pytest.raises(ConnectionClosed):
                received(viewer, "state")
            assert stopping.is_alive()  # the decision still runs
    finally:
        go.set()
        stopping.join()


def test_waiting_commands_are_bounded() -> None:
    class Stuck(ToyAgent):
        def act(self, *rows, **more):
            go.wait(30)
            return super().act(*rows, **more)

    go = threading.Event()
    session = SteeringSession(Stuck(), BENCHMARK, lambda s, p: None)
    session.start()
    time.sleep(0.1)  # the first decision is in progress
    for _ in range(MAX_COMMANDS):
        session.command('{"type": "step"}')
    with pytest.raises(InspireError, match="commands wait already"):
        session.command('{"type": "step"}')
    go.set()
    session.stop()


def test_only_the_page_itself_may_steer(page) -> None:
    url = f"ws://127.0.0.1:{page.port}/live"
    for origin in (None, "http://evil.example", f"http://127.0.0.1:{page.port + 1}"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, origin=origin, proxy=None)
    with viewing(page) as viewer:
        metadata = received(viewer, "metadata")
        assert metadata["words"] == ["right", "left", "up", "down", "front", "back", "grasped"]
        assert metadata["arrows"]["left"] == "→"  # as in the agent view
        assert received(viewer, "state")["steps"] == 0
        assert viewer.recv(timeout=30)[:2] == b"\xff\xd8"  # JPEG
        for wrong in ("{", '{"type": "fly"}'):
            viewer.send(wrong)
            received(viewer, "refused")
        viewer.send('{"type": "step"}')
        assert received(viewer, "state")["steps"] == 1


def test_a_policy_with_two_obs_steps_gets_the_previous_image() -> None:
    class TwoSteps(ToyAgent):
        n_obs_steps = 2

        def act(self, observations, *rest, **more):
            self.shown = [*getattr(self, "shown", []), len(observations[0]["pixels"]["image"])]
            return super().act(observations, *rest, **more)

    agent = TwoSteps()
    played = RecordedSession(agent)
    played.command(lambda s: s["over"], type="play", on=True)
    played.command(lambda s: not s["over"], type="reset")
    played.session.stop()
    assert agent.shown == [1, 2, 2, 1]


def test_a_failed_setup_is_reported_and_another_task_works() -> None:
    class Breaks(ToyEnv):
        def reset(self, *, seed: int) -> tuple[dict, dict]:
            if self.task == "open the drawer":
                raise RuntimeError("no drawer")
            return super().reset(seed=seed)

    benchmark = SimpleNamespace(
        suites=BENCHMARK.suites, tasks=BENCHMARK.tasks, make=lambda suite, task: Breaks(task)
    )
    played = RecordedSession(benchmark=benchmark, task="open the drawer")
    assert "no drawer" in played.states[-1]["error"]
    state = played.command(
        lambda s: s["error"] is None, type="set_task", suite="toys", task="pick up the red cube"
    )
    assert state["steps"] == 0
    state = played.command(
        lambda s: s["error"] is not None, type="set_task", suite="toys", task="open the drawer"
    )
    assert "no drawer" in state["error"]
    played.session.stop()


def test_a_failed_rendering_is_reported() -> None:
    class Blind(ToyEnv):
        def render(self) -> np.ndarray:
            raise RuntimeError("no light")

    played = RecordedSession(
        benchmark=SimpleNamespace(**vars(BENCHMARK) | {"make": lambda suite, task: Blind(task)})
    )
    assert "no light" in played.states[-1]["error"]
    played.session.stop()


@pytest.mark.parametrize(
    ("rendered", "kind"),
    [
        (None, "nothing"),
        (np.zeros((8, 8, 3)), r"float64 \(8, 8, 3\)"),
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \(0, 8, 3\)"),
    ],
)
def test_what_is_no_image_is_named_and_a_grey_one_is_shown(rendered, kind) -> None:
    class Odd(ToyEnv):
        def render(self) -> np.ndarray:
            return rendered

    shown = []
    benchmark = SimpleNamespace(**vars(BENCHMARK) | {"make": lambda suite, task: Odd(task)})
    session = SteeringSession(ToyAgent(), benchmark, lambda state, image: shown.append((state, image)))
    session._set_up()
    session._show()
    ((state, image),) = shown
    assert re.search(rf"image \(H, W, 3\) of uint8; found {kind}\.", state["error"])
    assert (image.shape, image.dtype) == ((256, 256, 3), np.uint8)


def test_the_motion_of_short_actions_is_not_described() -> None:
    assert describe_motion([np.ones(2)], "robot") == []


class Mute(ToyAgent):
    """Its tokens stand for no action at some of its decisions. It closes the gripper at the others."""

    def __init__(self, mute) -> None:
        super().__init__()
        self.mute, self.shown = mute, []

    def act(self, observations, *rest, **more):
        self.shown.append(int(observations[0]["agent_pos"][0]))
        (decision,) = super().act(observations, *rest, **more)
        if decision.actions is not None:
            decision.actions[:, -1] = 1.0
        return [replace(decision, actions=None) if self.mute(len(self.shown) - 1) else decision]


class Counts(ToyEnv):
    """Shows its steps in the observation; ends after fifty."""

    done: ClassVar[list[np.ndarray]] = []

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.done.append(np.asarray(action))
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.t >= 50, False, info

    def _observation(self) -> dict:
        return super()._observation() | {"agent_pos": np.full(8, self.t)}


@pytest.fixture
def mute():
    def played(when) -> tuple[RecordedSession, Mute, list[np.ndarray]]:
        agent, Counts.done = Mute(when), []
        benchmark = SimpleNamespace(**vars(BENCHMARK) | {"make": lambda suite, task: Counts(task)})
        sessions.append(RecordedSession(agent, benchmark))
        return sessions[-1], agent, Counts.done

    sessions: list[RecordedSession] = []
    yield played
    for one in sessions:
        one.session.stop()


def test_tokens_that_stand_for_no_action_hold_the_arm_for_a_step_and_are_asked_again(mute) -> None:
    played, agent, done = mute(lambda call: call in (0, 2))
    assert played.states[-1]["decodable"] is False
    played.command(lambda s: s["steps"] == 1, type="step")
    played.command(lambda s: s["steps"] == 2, type="step")
    state = played.command(lambda s: s["steps"] == 3, type="step")
    assert (state["error"], state["decodable"]) == (None, True)
    state = played.command(lambda s: s["steps"] == 4, type="step")
    assert (state["error"], state["decodable"]) == (None, False)
    assert agent.shown == [0, 1, 3]  # each with another image
    assert [list(action) for action in (done[0], done[3])] == [[0] * 6 + [-1], [0] * 6 + [1]]


def test_the_session_gives_up_after_some_tries_and_tries_again_when_asked(mute) -> None:
    played, agent, _ = mute(lambda call: True)
    state = played.command(lambda s: s["error"], type="play", on=True)
    assert "stood for no action 5 times in a row" in state["error"]
    assert (state["playing"], state["steps"], agent.shown) == (False, 5, [0, 1, 2, 3, 4, 5])
    state = played.command(lambda s: s["error"] and s["steps"] > 5, type="play", on=True)
    assert (state["steps"], agent.shown) == (10, list(range(11)))


def test_commands_of_a_person_are_never_counted_as_tries_of_the_model(mute) -> None:
    played, *_ = mute(lambda call: True)
    for word in ("up", "down", "front", "back", "right", "up", "grasped"):
        state = played.command(
            lambda s, word=word: s["objects"][0]["answer"] == word,
            type="override",
            mention="the red cube",
            word=word,
        )
        assert (state["error"], state["decodable"]) == (None, False)
