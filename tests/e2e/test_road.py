"""The whole road by the commands a person types. Minutes long: `make e2e`."""

import json
import subprocess
import sys

import pytest

from inspire_vla.evaluation import read_run

pytestmark = pytest.mark.e2e


def inspire(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "inspire_vla", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == code, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A dataset and a base and an InSpire policy trained on it for a moment."""
    folder = tmp_path_factory.mktemp("road")
    inspire("collect", "--episodes", 4, "--out", folder / "dataset", "--processes", 2)
    for name, flag in (("base", "--no-reasoning"), ("inspire", "--reasoning")):
        inspire(
            "train", "--dataset", folder / "dataset", "--out", folder / name, flag, "--steps", 4, "--batch-size", 8,
            "--", "--save_freq=4", "--policy.vq.codes_per_level=32",
        )  # fmt: skip
    return folder


def test_evaluate_compare_report(road):
    for name in ("base", "inspire"):
        inspire(
            "evaluate", "--policy", road / name, "--suite", "tabletop_goal", "--episodes", 1, "--max-steps", 12,
            "--videos", 1, "--out", road / f"run_{name}", "--workers", 2,
        )  # fmt: skip
        records = read_run(road / f"run_{name}").records
        assert records
        assert not any(record.crashed for record in records)
    said = inspire("compare", road / "run_base", road / "run_inspire", "--out", road / "comparison.json")
    assert "McNemar" in said
    comparison = json.loads((road / "comparison.json").read_text(encoding="utf-8"))
    assert comparison["unpaired"] == []
    assert comparison["answers"][1]["unseen"]["n"] > 0
    inspire("report", road / "run_base", road / "run_inspire", "--out", road / "page.html")
    assert "<video" in (road / "page.html").read_text(encoding="utf-8")


def test_training_resumes(road):
    inspire("train", "--out", road / "inspire", "--resume", "--steps", 6)
    said = inspire("train", "--out", road / "inspire", "--resume", "--steps", 6)
    assert "This training is finished, at step 6" in said


def test_demo(road):
    said = inspire(
        "demo", "--base", road / "base", "--inspire", road / "inspire", "--suite", "tabletop_goal",
        "--out", road / "demo", "--steps", 2,
    )  # fmt: skip
    assert "The page, with videos" in said
    page = (road / "demo" / "index.html").read_text(encoding="utf-8")
    assert "<h2>Attention</h2>" in page


def test_lerobot_eval_plays_our_benchmark(road):
    done = subprocess.run(
        [
            sys.executable, "-m", "lerobot.scripts.lerobot_eval",
            f"--policy.path={road / 'inspire' / 'checkpoints' / 'last' / 'pretrained_model'}",
            "--env.type=inspire_tabletop", "--env.task=tabletop_goal", "--env.task_ids=[0]", "--env.episode_length=12",
            "--eval.n_episodes=1", "--eval.batch_size=1", f"--output_dir={road / 'lerobot_eval'}",
        ],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
