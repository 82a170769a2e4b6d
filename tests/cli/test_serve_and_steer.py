"""The commands say what is wrong before anything heavy is loaded."""

import io
import json
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.serving.toy_server import ToyAgent, serve

from inspire_vla import policies
from inspire_vla.cli import main, parse
from inspire_vla.dialogue import NOT_ASKED
from inspire_vla.errors import InspireError
from inspire_vla.serving import runtime
from inspire_vla.serving.runtime import check_port


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


@pytest.mark.parametrize("command", ["serve --policy nano_base", "steer"])
def test_a_busy_port_is_told_before_the_policy_is_loaded(
    command: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "load_agent", lambda **_: pytest.fail("a policy was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([*command.split(), "--port", str(port)]) == 2
    assert f"Cannot listen on 127.0.0.1:{port}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("serve --policy nano_base --camera front=x", "no camera 'front'. Possible: ['image']"),
        ("serve --policy nano_base --host no.such.host.invalid", "Cannot listen on no.such.host.invalid"),
        ("serve --policy nano_base --max-message-mb inf", "--max-message-mb must lie between"),
        ("serve --policy nano_base --requests-per-second -1", "--requests-per-second must be at least 0"),
        ("steer --suite tabletop_gaol", "Did you mean 'tabletop_goal'"),
        ("steer --task fly", "Unknown task 'fly'"),
    ],
)
def test_settings_of_a_server_are_checked_before_the_policy_is_loaded(
    command: str, says: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "load_agent", lambda **_: pytest.fail("a policy was loaded"))
    assert main([*command.split(), *([] if "--host" in command else ["--port", "0"])]) == 2
    assert says in capsys.readouterr().err


def test_a_port_that_was_just_given_up_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()  # the server's end closes first, so it waits in TIME_WAIT
            assert client.recv(1) == b""
    check_port("127.0.0.1", port)
    check_port("", 0)


def test_the_log_goes_to_the_stderr_of_the_moment_and_a_closed_one_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for logger in (runtime.LOG, NOT_ASKED, logging.getLogger("websockets")):  # as they were, afterwards
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "level", logging.WARNING)
    closed, later = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    runtime.log_to_stderr()
    closed.close()
    runtime.log("one")  # would print "--- Logging error ---"
    monkeypatch.setattr(sys, "stderr", later)
    runtime.log("two")
    NOT_ASKED.warning("three")
    assert [json.loads(line)["event"] for line in later.getvalue().splitlines()] == ["two", "three"]


def test_camera_keys_are_read() -> None:
    line = "serve --policy p --camera image=observation/front wrist=w"
    assert parse(line.split()).camera == {"image": "observation/front", "wrist": "w"}


@pytest.mark.parametrize("command", ["steer", "evaluate --out run"])
def test_a_connection_is_announced_before_it_is_waited_for(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(url: str, *_: object, **__: object) -> None:
        assert f"Connecting to {url}" in capsys.readouterr().err
        raise InspireError("No policy server")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policies, "remote", away)
    assert main([*command.split(), "--remote", "ws://far:8000"]) == 2
    assert "No policy server" in capsys.readouterr().err


def test_a_servers_policy_becomes_a_runs() -> None:
    with serve(ToyAgent(size=96)) as server:
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
    run = [sys.executable, "-m", "inspire_vla", command, "--policy", "nano_inspire", "--port", "0"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "://" in process.stdout.readline()
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == "Stopped.\n"
    assert "Traceback" not in errors
