"""The session obeys, its page is served to its own origin only, and wrong commands are refused by name."""

import asyncio
import json
import time
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from tests.serving.conftest import Running, ToyAgent
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from inspire_vla.errors import InspireError
from inspire_vla.serving.steering.server import SteeringServer
from inspire_vla.serving.steering.session import SteeringSession


class ToyEnv:
    """The red cube is up at even steps, grasped at odd ones; done after six."""

    def __init__(self, task: str) -> None:
        self.task, self.t = task, 0

    def reset(self, *, seed: int) -> tuple[dict, dict]:
        self.t = 0
        return self._seen(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.t += 1
        return self._seen(), 0.0, self.t >= 6, False, self._info()

    def render(self) -> np.ndarray:
        return np.full((32, 32, 3), 10 * self.t, dtype=np.uint8)

    def close(self) -> None:
        pass

    def _seen(self) -> dict:
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


class Played:
    """A session whose states are kept."""

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

    def tell(self, until, **command) -> dict:
        self.session.command(command)
        return self.wait(until)


@pytest.fixture
def played():
    one = Played()
    yield one
    one.session.stop()


def test_it_begins_paused_and_has_already_answered(played: Played) -> None:
    state = played.states[-1]
    assert (state["playing"], state["steps"]) == (False, 0)
    (said,) = state["objects"]
    assert (said["mention"], said["answer"], said["truth"], said["overridden"]) == (
        "the red cube",
        "left",
        "up",
        False,
    )
    assert "the red cube" in said["question"]
    json.dumps(state)


def test_it_plays_to_the_end_and_starts_over(played: Played) -> None:
    state = played.tell(lambda s: s["over"], do="play", on=True)
    assert (state["success"], state["steps"], state["playing"]) == (True, 6, False)
    assert [entry[0] for entry in state["history"]] == [0, 2, 4]  # the toy plays two actions of a chunk
    state = played.tell(lambda s: not s["over"], do="reset")
    assert (state["steps"], len(state["history"])) == (0, 1)
    assert played.tell(lambda s: s["seed"] == 1, do="shuffle")["steps"] == 0


def test_a_word_holds_until_the_model_decides_again(played: Played) -> None:
    state = played.tell(
        lambda s: s["objects"][0]["overridden"], do="answer", mention="the red cube", word="up"
    )
    assert state["objects"][0]["answer"] == "up"
    for step in (1, 2, 3):
        state = played.tell(lambda s, step=step: s["steps"] == step, do="step")
        assert state["objects"][0]["answer"] == "up"
    state = played.tell(
        lambda s: not s["objects"][0]["overridden"], do="answer", mention="the red cube", word=None
    )
    assert state["objects"][0]["answer"] == "left"


def test_an_instruction_is_obeyed_and_given_back(played: Played) -> None:
    state = played.tell(lambda s: not s["own"], do="instruct", text="open the drawer")
    assert [o["mention"] for o in state["objects"]] == ["the drawer"]
    assert state["objects"][0]["truth"] is None  # the benchmark knows nothing of it
    state = played.tell(lambda s: s["own"], do="instruct", text=" ")
    assert state["instruction"] == "pick up the red cube"


def test_an_error_pauses_and_is_shown_and_passes(played: Played) -> None:
    state = played.tell(lambda s: s["error"], do="instruct", text="crash")
    assert "RuntimeError" in state["error"]
    state = played.tell(lambda s: s["own"] and not s["error"], do="instruct", text="")
    assert state["objects"]
    state = played.tell(lambda s: s["error"], do="answer", mention="the red cube", word="sideways")
    assert "sideways" in state["error"]
    assert played.tell(lambda s: s["steps"] == 1, do="step")["error"] is None


def test_another_task_is_set_up(played: Played) -> None:
    state = played.tell(
        lambda s: s["task"] == "open the drawer", do="task", suite="toys", task="open the drawer"
    )
    assert state["instruction"] == "open the drawer"
    assert "No task" in played.tell(lambda s: s["error"], do="task", suite="toys", task="fly")["error"]


@pytest.mark.parametrize(
    "command",
    [
        {},
        {"do": "plya"},
        {"do": "play"},
        {"do": "play", "on": "yes"},
        {"do": "answer", "mention": "x", "word": 3},
    ],
)
def test_wrong_commands_are_refused(played: Played, command: dict) -> None:
    with pytest.raises(InspireError):
        played.session.command(command)


def test_unknown_suites_and_tasks_are_named() -> None:
    for wrong in ({"suite": "tools"}, {"task": "fly"}):
        with pytest.raises(InspireError, match="Possible"):
            SteeringSession(ToyAgent(), BENCHMARK, lambda s, p: None, **wrong)


@pytest.fixture
def page():
    running = Running.__new__(Running)
    running.server = SteeringServer(ToyAgent(), BENCHMARK, port=0, hz=100)
    running.loop = asyncio.new_event_loop()
    import threading

    running.thread = threading.Thread(target=running.loop.run_forever, daemon=True)
    running.thread.start()
    running.call(running.server.start())
    running.port = running.server.port
    yield running
    running.stop()


def test_the_page_needs_nothing_from_elsewhere(page) -> None:
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
    with pytest.raises(HTTPError, match="403"):  # a foreign name made to point here
        urlopen(Request(f"http://127.0.0.1:{page.port}/", headers={"Host": f"evil.example:{page.port}"}))


def test_only_the_page_itself_may_steer(page) -> None:
    url = f"ws://127.0.0.1:{page.port}/live"
    for origin in (None, "http://evil.example", f"http://127.0.0.1:{page.port + 1}"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, origin=origin, proxy=None)
    with connect(url, origin=f"http://127.0.0.1:{page.port}", proxy=None) as viewer:
        hello = json.loads(viewer.recv(timeout=30))
        assert hello["words"] == ["right", "left", "up", "down", "front", "back", "grasped"]
        assert hello["arrows"]["left"] == "→"  # as the agent view shows it
        assert json.loads(viewer.recv(timeout=30))["steps"] == 0
        assert viewer.recv(timeout=30)[:2] == b"\xff\xd8"  # JPEG
        for wrong in ("{", "[]", '{"do": "fly"}'):
            viewer.send(wrong)
            assert "refused" in json.loads(viewer.recv(timeout=30))
        viewer.send('{"do": "step"}')
        assert json.loads(viewer.recv(timeout=30))["steps"] == 1


def test_a_policy_that_looks_back_is_shown_the_step_before() -> None:
    class LooksBack(ToyAgent):
        n_obs_steps = 2

        def act(self, observations, *rest, **more):
            self.shown = [*getattr(self, "shown", []), len(observations[0]["pixels"]["image"])]
            return super().act(observations, *rest, **more)

    agent = LooksBack()
    played = Played(agent)
    played.tell(lambda s: s["over"], do="play", on=True)
    played.tell(lambda s: not s["over"], do="reset")
    played.session.stop()
    assert agent.shown == [1, 2, 2, 1]


def test_a_task_that_cannot_be_set_up_is_told_and_the_next_one_plays() -> None:
    class Breaks(ToyEnv):
        def reset(self, *, seed: int) -> tuple[dict, dict]:
            if self.task == "open the drawer":
                raise RuntimeError("no drawer")
            return super().reset(seed=seed)

    benchmark = SimpleNamespace(
        suites=BENCHMARK.suites, tasks=BENCHMARK.tasks, make=lambda suite, task: Breaks(task)
    )
    played = Played(benchmark=benchmark, task="open the drawer")
    assert "no drawer" in played.states[-1]["error"]
    state = played.tell(lambda s: s["error"] is None, do="task", suite="toys", task="pick up the red cube")
    assert state["steps"] == 0
    state = played.tell(lambda s: s["error"] is not None, do="task", suite="toys", task="open the drawer")
    assert "no drawer" in state["error"]
    played.session.stop()


def test_a_image_that_cannot_be_drawn_is_told() -> None:
    class Blind(ToyEnv):
        def render(self) -> np.ndarray:
            raise RuntimeError("no light")

    played = Played(benchmark=SimpleNamespace(**vars(BENCHMARK) | {"make": lambda suite, task: Blind(task)}))
    assert "no light" in played.states[-1]["error"]
    played.session.stop()
