"""A policy of a robot for which no simulator is here: refused at once, evaluated and steered on recorded episodes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation import recordings
from tests.evaluation.recordings import FRAMES, TASKS

from inspire_vla.cli import main
from inspire_vla.evaluation import AnswerRule, PlaybackBenchmark, PolicyInputs, read_run
from inspire_vla.serving.steering.session import SteeringSession


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.write_recording(tmp_path_factory.mktemp("data") / "recording")


@pytest.fixture
def own_robot(checkpoint: Path) -> Path:
    """A checkpoint with a camera, a state and an action that no simulator has."""
    config = checkpoint / "checkpoints" / "last" / "pretrained_model" / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["input_features"] = {
        "observation.images.front": {"type": "VISUAL", "shape": [3, 480, 640]},
        "observation.state": {"type": "STATE", "shape": [6]},
    }
    content["output_features"] = {"action": {"type": "ACTION", "shape": [6]}}
    config.write_text(json.dumps(content), encoding="utf-8")
    return checkpoint


@pytest.mark.parametrize("command", [["evaluate", "--out", "out"], ["steer"], ["attention"]])
def test_a_policy_that_no_simulator_can_play_is_refused_at_once(command, own_robot, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inspire_vla", *command, "--policy", str(own_robot)],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    for heavy in ("torch", "mujoco", "lerobot", "scipy.stats", "matplotlib"):
        assert f" {heavy}\n" not in done.stderr
    message = done.stderr.split(f"inspire {command[0]}:", 1)[1]
    for text in ("no camera 'front'", "480, 640", "8 numbers of state, not 6", "--dataset", "inspire serve"):
        assert text in message
    assert "Traceback" not in message


def test_options_that_a_dataset_has_no_use_for_are_refused(own_robot, dataset, tmp_path, capsys):
    base = ["evaluate", "--policy", str(own_robot), "--out", str(tmp_path / "o"), "--dataset", str(dataset)]
    for more, message in (
        (["--max-steps", "3"], "does not use --max-steps"),
        (["--suite", "seen"], "does not use --suite"),
        (["--episodes", "7"], "7:8 for episode 7, or 0:7"),
        (["--episodes", "0"], "Write 0:1 for episode 0.\n"),
        ([], "has no camera 'front'|is another aspect ratio"),
    ):
        assert main([*base, *more]) == 2
        found = capsys.readouterr().err
        assert any(text in found for text in message.split("|")), found
    assert main(["evaluate", "--policy", "nano_base", "--out", str(tmp_path / "o"), "--camera", "a=b"]) == 2
    assert "--camera belongs to --dataset" in capsys.readouterr().err
    assert main(["evaluate", "--policy", "nano_base", "--out", str(tmp_path / "o"), "--episodes", "4:7"]) == 2
    assert "episodes per task" in capsys.readouterr().err
    assert main(["steer", "--episode", "3"]) == 2
    assert main(["steer", "--dataset", str(dataset), "--task", "x"]) == 2


def states_of(session: SteeringSession, commands: list[dict]) -> list[dict]:
    """Run commands without the thread, and return the view state after each."""
    shown: list[dict] = []
    session._publish = lambda state, image: shown.append(state | {"image": image})
    session._guarded(session._set_up)
    session._show()
    for command in commands:
        session.command(json.dumps(command))
        session._guarded(lambda: session._execute(session._commands.get_nowait()))
        session._show()
    return shown


def test_recorded_episodes_are_steered(dataset):
    inputs = PolicyInputs({"front": (16, 16)}, 2, 7, AnswerRule(max_objects=1))
    agent = recordings.Repeats()
    rule = {"mode": "direction", "frame": "robot", "close_threshold_m": None, "grasped_word": True}
    agent.answer_rule = rule
    session = SteeringSession(agent, PlaybackBenchmark(dataset, inputs, first_episode=2), lambda *_: None)
    assert "do not follow" in session.metadata()["note"]
    assert session.metadata()["arrows"] == {}  # where the camera stands is not known
    assert list(session.metadata()["suites"]) == ["recording"]
    override = {"type": "override", "mention": "the red cube", "word": "left"}
    states = states_of(
        session,
        [{"type": "step"}, override, *[{"type": "step"}] * FRAMES, {"type": "next_seed"}],
    )
    assert [state["error"] for state in states] == [None] * len(states)
    first, stepped, overridden = states[:3]
    assert first["image"][0, 0, 0] == 40 * 2  # episode 2, frame 0
    assert stepped["image"][0, 0, 0] == 40 * 2 + 1
    assert (first["instruction"], first["objects"][0]["truth"]) == (TASKS[0], "front")
    (answer,) = overridden["objects"]
    assert (answer["answer"], answer["overridden"]) == ("left", True)
    last = states[-2]
    assert (last["over"], last["steps"], last["objects"][0]["truth"]) == (True, FRAMES, "left")
    again = states[-1]  # the next episode of the same task, from the beginning again: episode 0
    assert again["image"][0, 0, 0] == 0
    assert (first["episode"], again["episode"]) == (2, 0)
    assert first["motion"]  # the actions begin with x, y, z
    assert isinstance(first["image"], np.ndarray)


def test_a_shipped_policy_on_its_own_demonstrations(tmp_path, capsys):
    """The whole way, with the real model: collect, evaluate, compare, report."""
    data, out = tmp_path / "data", tmp_path / "run"
    assert main(["collect", "--suite", "tabletop_seen", "--episodes", "2", "--out", str(data)]) == 0
    command = ["evaluate", "--policy", "nano_inspire", "--dataset", str(data), "--episodes", "1:"]
    assert main([*command, "--workers", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "Answers against the labels" in printed.out
    assert "make sure that it was not trained on these" in printed.err
    (record,) = read_run(out).records
    assert record.error is None
    assert record.episode == 1
    assert record.answers_correct / record.answers_scored > 0.6
    assert record.offline.error["policy"][0] < record.offline.error["mean action"][0]
    assert main(["compare", str(out)]) == 0
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert "On recorded frames" in (tmp_path / "page.html").read_text(encoding="utf-8")
