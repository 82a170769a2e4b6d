"""Our model server in vla-eval: its own client, server and orchestrator, with the shipped policy on the tabletop."""

import copy
import logging
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import anyio
import numpy as np
import pytest

pytest.importorskip("vla_eval", reason="the extra `vla-eval` is not installed")
from tests.harnesses.tabletop_in_vla_eval import TabletopInVlaEval
from vla_eval.api import evaluate
from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark
from vla_eval.benchmarks.simpler.benchmark import SimplerEnvBenchmark
from vla_eval.model_servers.base import SessionContext
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import serve
from vla_eval.specs import check_specs

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import EpisodeJob, rollout
from inspire_vla.harnesses import vla_eval_server
from inspire_vla.harnesses.vla_eval_server import CONVENTIONS, MAX_UNDECODABLE_IN_A_ROW, InspireModelServer
from inspire_vla.tabletop.benchmark import TabletopBenchmark

SUITE, TASK, SEED = "tabletop_seen", "pick up the red mug and place it on the black plate", 1_000_000


@pytest.fixture(scope="module")
def server():
    return InspireModelServer("nano_inspire", max_batch_size=1)


def test_an_evaluation_is_that_of_our_own_rollout(server, tmp_path, caplog):
    TabletopInVlaEval.played.clear()
    parameters = {"suite": SUITE, "task": TASK, "seed": SEED}
    benchmark = f"{TabletopInVlaEval.__module__}:{TabletopInVlaEval.__name__}"
    with caplog.at_level(logging.INFO):
        (result,) = evaluate(
            server,
            {
                "output_dir": str(tmp_path),
                "benchmarks": [{"benchmark": benchmark, "episodes_per_task": 2, "params": parameters}],
            },
            no_save=True,
            docker=False,
        )
    assert "Spec validation passed" in caplog.text
    jobs = [EpisodeJob(SUITE, TASK, episode, SEED + episode) for episode in range(2)]
    ours = list(rollout(jobs, TabletopBenchmark(), server.agent, slots=1))
    assert [record.error for record in ours] == [None, None]
    assert [len(played["actions"]) for played in TabletopInVlaEval.played] == [
        record.steps for record in ours
    ]
    episodes = result["tasks"][0]["episodes"]
    assert [episode["metrics"]["success"] for episode in episodes] == [record.success for record in ours]
    assert any(record.success for record in ours)


@pytest.mark.parametrize(("convention", "benchmark", "mismatches"), [
    ("libero", LIBEROBenchmark, 0),
    ("simpler", SimplerEnvBenchmark, 1),
])  # fmt: skip
def test_the_declared_conventions_are_those_of_the_benchmark(server, convention, benchmark, mismatches):
    """SimplerEnv's spec says that its gripper closes above 0; its code opens above 0.5. So the harness warns once."""
    of = copy.copy(server)
    of.convention = CONVENTIONS[convention]
    of.cameras = {"image": of.convention.cameras["image"]}
    params = of.get_observation_params()
    game = benchmark(send_state=params["send_state"])
    messages = check_specs(
        of.get_action_spec(), game.get_action_spec(), of.get_observation_spec(), game.get_observation_spec()
    )
    assert len(messages) == mismatches, messages
    assert all("gripper" in warning for warning in messages)


@pytest.fixture
def run_async():
    """Call a coroutine function and wait for it."""
    return anyio.run


def observation(**changes):
    images = {"agentview": np.full((96, 96, 3), 127, np.uint8)}
    return {"images": images, "states": np.zeros(8), "task_description": TASK} | changes


def test_episodes_are_decided_in_one_batch_each_with_its_own_drafts(server, run_async):
    contexts = [SessionContext(f"session {number}", f"episode {number}") for number in range(2)]
    for context in contexts:
        run_async(server.on_episode_start, {}, context)
    texts = [TASK, "pick up the green bottle and place it in the white bowl"]
    seen = [observation(task_description=text) for text in texts]
    together = server.predict_batch(seen, contexts)
    assert [result["actions"].shape for result in together] == [(server.agent.n_action_steps, 7)] * 2
    drafts = [server._episodes[context.session_id].drafts for context in contexts]
    assert [set(row) for row in drafts] == [
        {"the red mug", "the black plate"},
        {"the green bottle", "the white bowl"},
    ]
    run_async(server.on_episode_end, {}, contexts[0])
    assert list(server._episodes) == [contexts[1].session_id]
    run_async(server.on_episode_end, {}, contexts[1])


def test_what_the_benchmark_does_not_send_is_said(server, run_async):
    context = SessionContext("session", "episode")
    with pytest.raises(InspireError, match="before the start of an episode"):
        run_async(server.on_observation, observation(), context)
    run_async(server.on_episode_start, {}, context)
    with pytest.raises(
        InspireError, match=r"needs the images \['agentview'\]; the benchmark sends \['primary'\]"
    ):
        run_async(server.on_observation, observation(images={"primary": np.zeros((96, 96, 3))}), context)
    for text in ("", "  ", None):
        with pytest.raises(InspireError, match="`task_description` is missing or empty"):
            run_async(server.on_observation, observation(task_description=text), context)
    with pytest.raises(InspireError, match=r"does not fit: prompt: .* at most 512 bytes"):
        run_async(server.on_observation, observation(task_description="put it there " * 50), context)
    without = {key: value for key, value in observation().items() if key != "states"}
    with pytest.raises(InspireError, match="8 numbers"):
        server.predict_batch([without], [context])


def test_the_arm_holds_still_when_tokens_stand_for_no_action_and_the_episode_ends_after_five(
    server, run_async
):
    context = SessionContext("session", "episode")
    run_async(server.on_episode_start, {}, context)
    episode = server._episodes["session"]
    chunk = server._actions(np.full((4, 7), 0.5), episode)
    assert chunk.shape == (server.chunk_size, 7)
    for _ in range(MAX_UNDECODABLE_IN_A_ROW):
        assert server._actions(None, episode).tolist() == [[0, 0, 0, 0, 0, 0, 0.5]]
    with pytest.raises(InspireError, match="5 times in a row"):
        run_async(server.on_observation, observation(), context)


def test_a_policy_that_does_not_fit_is_refused_before_it_is_loaded(monkeypatch):
    from inspire_vla import policies

    with pytest.raises(InspireError, match="Did you mean 'libero'"):
        InspireModelServer("nano_inspire", "liber")
    takes = {"cameras": ["front"], "action_dim": 7}
    monkeypatch.setattr(policies, "inputs", lambda checkpoint: takes)
    with pytest.raises(InspireError, match=r"--args\.cameras\.front=NAME"):
        InspireModelServer("mine")
    takes["action_dim"] = 6
    with pytest.raises(InspireError, match="takes 7 actions; mine has 6"):
        InspireModelServer("mine")


@pytest.mark.parametrize("form", [
    "--host=127.0.0.1 --port={}", "--address 127.0.0.1:{}", "--config=server.yaml", "--port=0 --config server.yaml",
])  # fmt: skip
def test_a_busy_port_ends_the_server_before_the_policy_is_loaded(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vla_eval_server, "run_server", lambda cls: pytest.fail("a policy was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        Path("server.yaml").write_text(
            f"host: 127.0.0.1\nport: {port}\nargs: {{checkpoint: x}}\n", encoding="utf-8"
        )
        monkeypatch.setattr(sys, "argv", ["server", *form.format(port).split(), "--args.checkpoint=x"])
        with pytest.raises(SystemExit, match=rf"Cannot listen on 127.0.0.1:{port}: Address already in use"):
            vla_eval_server.main()


def test_a_port_that_is_taken_meanwhile_ends_the_server_with_one_line(server, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["server", "--port=0"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(vla_eval_server, "run_server", lambda cls: serve(server, "127.0.0.1", port))
        with pytest.raises(SystemExit, match=r"Cannot listen: Address already in use"):
            vla_eval_server.main()


@pytest.mark.parametrize(("words", "settings", "message"), [
    (["--address=here"], "", "address is written HOST:PORT, found 'here'"),
    (["--port=80x"], "", "port is a number from 0 to 65535, found '80x'"),
    (["--config=server.yaml"], "port: 80x", "port is a number from 0 to 65535, found '80x'"),
    (["--config=server.yaml"], "port: 99999", "port is a number from 0 to 65535, found 99999"),
    (["--config=server.yaml"], "address: here", "address is written HOST:PORT, found 'here'"),
    (["--config=server.yaml"], "port: [", "--config server.yaml cannot be read"),
    (["--config=server.yaml"], "port", "--config server.yaml holds no settings"),
    (["--config=other.yaml"], "", "--config other.yaml cannot be read: .*No such file"),
])  # fmt: skip
def test_a_bad_address_is_told_before_the_policy_is_loaded(words, settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("server.yaml").write_text(settings, encoding="utf-8")
    monkeypatch.setattr(vla_eval_server, "run_server", lambda cls: pytest.fail("a policy was loaded"))
    monkeypatch.setattr(sys, "argv", ["server", *words])
    with pytest.raises(SystemExit, match=message):
        vla_eval_server.main()


def test_what_is_written_last_is_the_address(tmp_path):
    (tmp_path / "server.yaml").write_text("port: 8001\nargs: {convention: libero}\n")
    config = f"--config={tmp_path / 'server.yaml'}"
    assert vla_eval_server._address([config, "--port=8002"]) == ("0.0.0.0", 8002)
    assert vla_eval_server._address(["--port=8002", config]) == ("0.0.0.0", 8001)


@pytest.mark.parametrize(("module", "harness"), [
    ("vla_eval_server", "vla-eval"),
    ("inspect_robots_policy", "inspect-robots"),
])  # fmt: skip
def test_a_harness_that_is_not_installed_is_told_without_a_traceback(module, harness):
    program = f"""
import runpy, sys

class NotInstalled:
    def find_spec(self, name, *_):
        if name == {harness.replace("-", "_")!r}:
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, NotInstalled())
runpy.run_module("inspire_vla.harnesses.{module}", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert f"{harness} is not installed: pip install" in done.stderr
    assert ("Traceback" in done.stderr) == (module != "vla_eval_server")  # only this one is a program


def test_a_device_that_is_not_here_is_refused_before_the_policy_is_loaded(monkeypatch):
    from inspire_vla import policies
    from inspire_vla.backbones import devices

    monkeypatch.setattr(devices, "devices", lambda: ["cpu"])
    monkeypatch.setattr(policies, "load_agent", lambda **_: pytest.fail("a policy was loaded"))
    with pytest.raises(InspireError, match="The device 'cuda' cannot be used here"):
        InspireModelServer("nano_inspire", device="cuda")
    with pytest.raises(InspireError, match="no camera 'front'"):
        InspireModelServer("nano_inspire", cameras={"front": "agentview"})
    with pytest.raises(InspireError, match="chunk_size must lie between 1 and 4, found 5"):
        InspireModelServer("nano_inspire", chunk_size=5)


@pytest.mark.parametrize("size", [0, -1, 999])
def test_a_chunk_that_the_policy_cannot_give_is_refused(size):
    with pytest.raises(InspireError, match=rf"chunk_size must lie between 1 and \d+, found {size}"):
        InspireModelServer("nano_inspire", chunk_size=size)


def test_a_policy_with_several_observation_steps_gets_every_steps_images(server, run_async, monkeypatch):
    monkeypatch.setattr(server, "agent", SimpleNamespace(n_obs_steps=2, n_action_steps=4))
    context = SessionContext("session", "episode")
    run_async(server.on_episode_start, {}, context)
    given = []

    async def take(self, obs, ctx):
        given.append(obs["images"]["agentview"])

    monkeypatch.setattr(PredictModelServer, "on_observation", take)
    frames = [np.full((4, 4, 3), value, np.uint8) for value in range(3)]
    for frame in frames:
        run_async(server.on_observation, observation(images={"agentview": frame}), context)
    assert [len(images) for images in given] == [1, 2, 2]
    assert (given[2] == np.stack(frames[1:])).all()
