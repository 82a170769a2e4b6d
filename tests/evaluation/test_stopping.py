"""Workers end with their parent, and SIGTERM ends an evaluation cleanly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.processes import still_running

from inspire_vla.evaluation import read_run

ROOT = Path(__file__).parents[2]
EVALUATION = """
import signal
import sys
from inspire_vla import cli
from inspire_vla.evaluation import EvaluationPlan, Factory, evaluate

class Arguments:
    pass

class Command:
    @staticmethod
    def run(options):
        evaluate(
            sys.argv[1], EvaluationPlan(("toy_seen",), 200, {"name": "slow"}), workers=2, slots=1, progress=False,
            benchmark=Factory("tests.evaluation.toys:ToyBenchmark"), agent=Factory("tests.evaluation.toys:Slow"),
        )

if __name__ == "__main__":
    # A shell starts what it runs in the background with SIGINT ignored, and this process inherits it from the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.parse, cli._module = lambda words: None, lambda name: Command
    sys.exit(cli.main(["evaluate"]))
"""


@pytest.fixture
def evaluation(tmp_path):
    """A process that evaluates with two workers, once both play."""
    script = tmp_path / "evaluation.py"
    script.write_text(EVALUATION, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "run"], stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    episodes = tmp_path / "run" / "episodes.jsonl"
    deadline = time.monotonic() + 60
    while not (episodes.exists() and episodes.read_bytes().count(b"\n") >= 4):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def workers_of(process) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]


def test_workers_end_within_a_second_when_their_parent_is_killed(evaluation):
    workers = workers_of(evaluation)
    assert len(workers) == 2
    evaluation.kill()
    assert not still_running(workers, seconds=2)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_ends_an_evaluation_cleanly(evaluation, tmp_path, name, code, whole_group):
    workers = workers_of(evaluation)
    send = os.killpg if whole_group else os.kill
    send(evaluation.pid, getattr(signal, name))
    _, stderr = evaluation.communicate(timeout=10)
    assert evaluation.returncode == code
    assert stderr.strip().splitlines() == ["Stopped. What was finished is kept; the same command resumes."]
    assert not still_running(workers, seconds=2)
    run = read_run(tmp_path / "run")
    assert len(run.records) >= 4
    assert not any(record.error for record in run.records)  # no episode counts as crashed
    assert "finished" not in run.info
