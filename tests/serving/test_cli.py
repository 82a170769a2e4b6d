"""The commands say what is wrong before anything heavy is loaded."""

import subprocess
import sys

import pytest
from tests.serving.toy_server import ToyAgent

from inspire_vla import policies
from inspire_vla.cli import main, parse


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve", "--policy", "no_such"], "unknown checkpoint 'no_such'"),
        (["serve", "--policy", "x", "--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY holds no API key"),
        (["steer", "--policy", "no_such"], "unknown checkpoint 'no_such'"),
        (["steer", "--hz", "0"], "--hz must be positive"),
        (["evaluate", "--out", "x"], "--policy CHECKPOINT or --remote"),
        (["evaluate", "--out", "x", "--remote", "ws://127.0.0.1:1", "--policy", "y"], "leave out --policy"),
    ],
)
def test_input_that_cannot_be_worked_with_is_said(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_camera_keys_are_read() -> None:
    line = "serve --policy p --camera image=observation/front wrist=w"
    assert parse(line.split()).camera == {"image": "observation/front", "wrist": "w"}


def test_a_servers_policy_becomes_a_runs(running) -> None:
    server = running(ToyAgent(size=96))
    policy, factory = policies.remote(server.url, name="far")
    assert policy["name"] == "far"
    assert (policy["cameras"], policy["image_size"]) == (["image"], 96)
    assert policy["reasoning"]["mode"] == "direction"
    agent = factory()
    assert agent.n_action_steps == 2
    agent.close()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("serve --policy nano_base --port 99999", "must be from 0 to 65535, found 99999"),
        ("steer --port -1", "must be from 0 to 65535, found -1"),
        ("serve --policy nano_base --max-connections 0", "must be at least 1, found 0"),
        ("serve --policy nano_base --max-batch 0", "must be at least 1, found 0"),
        ("serve --policy nano_base --camera image", "is written CAMERA=KEY, found 'image'"),
    ],
)
def test_numbers_that_cannot_be_are_refused(command: str, says: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(command.split())
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "steer"])
@pytest.mark.e2e
def test_sigterm_ends_the_command_cleanly(command: str) -> None:
    run = [sys.executable, "-m", "inspire_vla.cli", command, "--policy", "nano_inspire", "--port", "0"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "://" in process.stdout.readline()
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == "Stopped.\n"
    assert "Traceback" not in errors
