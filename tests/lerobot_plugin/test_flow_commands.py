"""SmolVLA and π0.5 under the commands for policies: evaluated on recordings, reported, viewed, served, steered."""

from pathlib import Path

import numpy as np
import pytest
from tests.backbones import lerobot_flow
from tests.cli.test_offline import states_of
from tests.lerobot_plugin.conftest import TASKS
from tests.serving.toy_server import serve

from inspire_vla import policies
from inspire_vla.cli import evaluate, main, parse
from inspire_vla.evaluation import PlaybackBenchmark, read_run
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.serving.remote_agent import RemoteAgent
from inspire_vla.serving.steering.session import SteeringSession

TINY = ("--policy.device=cpu", "--policy.dtype=float32", "--batch_size=2", "--num_workers=0", "--steps=1")


@pytest.fixture(scope="module", params=["smolvla", "pi05"])
def trained_flow(
    request: pytest.FixtureRequest, labelled_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny converted model after one step of its recipe."""
    folder = tmp_path_factory.mktemp(request.param)
    robot = lerobot_flow.features(("image",), 8, 7)
    more = ["--cameras", "image", "--action-dim", "7", "--state-dim", "8"]
    if request.param == "smolvla":
        vlm = lerobot_flow.write_smolvlm(folder / "vlm")
        lerobot_flow.save(lerobot_flow.smolvla(vlm, **robot), folder / "policy")
    else:
        lerobot_flow.bos_text().save_pretrained(folder / "text")
        lerobot_flow.save(lerobot_flow.pi05(**robot), folder / "policy")
        more += ["--tokenizer", str(folder / "text"), "--head-size", "8", "--vision-heads", "2"]
    start = folder / "base"
    convert = ["convert", "--from", request.param, str(folder / "policy"), "--to", str(start), *more]
    assert main(convert) == 0
    words = ["train", "--recipe", request.param, "--dataset", str(labelled_dataset), "--holdout", "1"]
    sizes = [f"--policy.{name}={lerobot_flow.HORIZON}" for name in ("chunk_size", "n_action_steps")]
    more = ["--out", str(folder / "run"), "--", f"--policy.pretrained_path={start}", *TINY, *sizes]
    assert main([*words, *more]) == 0
    return folder / "run"


def test_evaluated_on_recorded_episodes_reported_and_viewed(
    trained_flow: Path, labelled_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for control in ("none", "truth"):
        words = ["evaluate", "--policy", str(trained_flow), "--dataset", str(labelled_dataset)]
        words += ["--out", str(tmp_path / control), "--videos", "1", "--name", control]
        options = parse([*words, "--control", control])
        options.workers = 0
        evaluate.run(options)
    run, forced = read_run(tmp_path / "none"), read_run(tmp_path / "truth")
    assert [record.crashed for record in (*run.records, *forced.records)] == [False, False]
    assert run.records[0].mentions
    page, drawing = tmp_path / "page.html", tmp_path / "answers.svg"
    assert main(["report", str(tmp_path / "none"), str(tmp_path / "truth"), "--out", str(page)]) == 0
    assert main(["view", str(tmp_path / "none"), "--timeline", str(drawing)]) == 0
    assert run.records[0].mentions[0] in drawing.read_text(encoding="utf-8")
    assert "Mean absolute error" in page.read_text(encoding="utf-8")
    assert main(["card", str(trained_flow), str(tmp_path / "none"), "--out", str(tmp_path / "card.md")]) == 0


def test_served_it_acts_as_here(trained_flow: Path) -> None:
    agent = load_policy(trained_flow)
    seen = {"pixels": {"image": np.full((32, 32, 3), 90, np.uint8)}, "agent_pos": np.linspace(-1, 1, 8)}
    (here,) = agent.act([seen], [TASKS[0]])
    with serve(agent) as server:
        remote = RemoteAgent(url=server.url)
        (there,) = remote.act([seen], [TASKS[0]])
        (overridden,) = remote.act([seen], [TASKS[0]], overrides=[{"the red cube": "up"}])
        remote.close()
    assert there.answers == here.answers
    np.testing.assert_allclose(there.actions, here.actions, atol=1e-5)
    assert overridden.answers_by_mention["the red cube"] == "up"
    assert not np.allclose(overridden.actions, here.actions, atol=1e-5)


def test_steered_on_recorded_episodes(trained_flow: Path, labelled_dataset: Path) -> None:
    policy = policies.describe(trained_flow)
    inputs = policies.playback_inputs(policy, {}, checkpoint=trained_flow)
    benchmark = PlaybackBenchmark(labelled_dataset, inputs, first_episode=0)
    session = SteeringSession(load_policy(trained_flow), benchmark, lambda *_: None)
    override = {"type": "override", "mention": "the red cube", "word": "up"}
    states = states_of(session, [{"type": "step"}, override, {"type": "step"}])
    assert [state["error"] for state in states] == [None] * 4
    assert {row["mention"]: row["answer"] for row in states[-1]["objects"]}["the red cube"] == "up"
