"""Names of the hub, models of unusual size, the robot's state and the action tokenizer of an image-text model."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.lerobot_plugin import sources
from tests.lerobot_plugin.conftest import write_dataset
from tests.lerobot_plugin.test_convert import TASK, observation, train_on

from inspire_vla.action_tokenizers import ResidualVQ, load_action_tokenizer
from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.convert import Options, convert

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of huggingface_hub, as it is after downloads. Tests are offline (tests/conftest.py)."""
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    return cache


def downloaded(cache: Path, name: str, folder: Path) -> None:
    """Put a folder into the cache as the repository `name`."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT, encoding="utf-8")
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / COMMIT)


# --- names of the hub


def test_everything_may_be_a_name_of_the_hub(
    hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sources.minivla(tmp_path / "made")
    downloaded(hub, "stanford/minivla-run", tmp_path / "made/run")
    downloaded(hub, "qwen/tokenizer", tmp_path / "made/text")
    (tmp_path / "vqs").mkdir()
    (tmp_path / "made/vq").rename(tmp_path / "vqs/libero")
    downloaded(hub, "stanford/vqs", tmp_path / "vqs")
    command = (
        "convert --from minivla stanford/minivla-run --to out --tokenizer qwen/tokenizer --vq stanford/vqs/libero "
        "--heads 1 --vision-heads 4"
    )
    assert main(command.split()) == 0
    assert "takes 7 forward passes of the model (learned_vq)" in capsys.readouterr().out
    assert load_policy("out").act([observation()], [TASK])[0].actions.shape == (4, 7)


def test_a_name_that_is_nowhere_is_refused(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InspireError, match="no someone/model here, and someone/model cannot be had from the hub"
    ):
        convert("openvla", "someone/model", "out")
    with pytest.raises(InspireError, match=r"There is no \./folder/run\. Possible: a folder or file"):
        convert("openvla", "./folder/run", "out")
    (tmp_path / "someone").mkdir()  # then it can only be a folder
    with pytest.raises(InspireError, match=r"There is no someone/model\. Possible"):
        convert("openvla", "someone/model", "out")
    (tmp_path / "vqs").mkdir()
    downloaded(hub, "stanford/vqs", tmp_path / "vqs")
    with pytest.raises(InspireError, match=r"stanford/vqs on the hub has no 'libero'; found \[\]"):
        convert("image_text", tmp_path, "out", options=Options(vq="stanford/vqs/libero"))


# --- sizes


def test_a_minivla_of_another_width_says_which_sizes_are_needed_and_takes_them(tmp_path: Path) -> None:
    options = sources.minivla(tmp_path / "made")
    run = tmp_path / "made/run"
    with pytest.raises(
        InspireError, match=r"32 wide, and its keys 32.*--heads None.* of these: 1, 2, 4, 8, 16, 32\."
    ):
        convert("minivla", run, tmp_path / "out", options=replace(options, heads=None))
    with pytest.raises(InspireError, match=r"found --heads 3"):
        convert("minivla", run, tmp_path / "out", options=replace(options, heads=3))
    with pytest.raises(
        InspireError, match=r"encoder dino is 32 wide.*--vision-heads None.*1, 2, 4, 8, 16 or 32"
    ):
        convert("minivla", run, tmp_path / "out", options=replace(options, vision_heads=None))
    assert convert("minivla", run, tmp_path / "out", options=options).complete


def test_a_pi0fast_of_another_width_says_which_option_is_needed(tmp_path: Path) -> None:
    options = sources.pi0fast(tmp_path)
    with pytest.raises(InspireError, match=r"--head-size 256 does not divide .* Give --head-size"):
        convert("pi0fast", tmp_path / "run", tmp_path / "out", options=replace(options, head_size=None))
    with pytest.raises(InspireError, match=r"--vision-heads 5 does not divide"):
        convert("pi0fast", tmp_path / "run", tmp_path / "out", options=replace(options, vision_heads=5))


@pytest.mark.parametrize("kind", ["openvla", "minivla"])
def test_a_state_that_a_model_does_not_take_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InspireError, match=f"{kind} takes no robot state; leave out --state-dim 6"):
        convert(kind, tmp_path, tmp_path / "out", options=Options(state_dim=6))


# --- image-text models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    sources.image_text(folder)
    return folder


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "long", frames=80)


def test_the_state_is_written_into_the_prompt(model: Path, demonstrations: Path, tmp_path: Path) -> None:
    report = convert("image_text", model, tmp_path / "start", options=Options(state_dim=8))
    assert "The prompt holds the robot's state, 8 numbers." in str(report)
    run = train_on(tmp_path / "start", demonstrations, tmp_path / "run", "--policy.reasoning.enabled=true")
    agent = load_policy(run)
    assert agent.policy.backbone.template.needs_state
    low, high = ({**observation(), "agent_pos": np.full(8, value)} for value in (-3.0, 3.0))
    prompts = [agent.preprocessor(agent.batch([one], [TASK]))["dialogues"][0] for one in (low, high)]
    texts = ["".join(segment.text or "" for segment in prompt.segments) for prompt in prompts]
    assert re.search(r"Robot state: (-?\d+ ){7}-?\d+\.", texts[0])
    assert texts[0] != texts[1]
    assert agent.act([high], [TASK])[0].actions.shape == (8, 7)
    with pytest.raises(InspireError, match="needs 8 numbers"):
        agent.act([{"pixels": observation()["pixels"]}], [TASK])


def test_without_a_state_that_is_said(model: Path, tmp_path: Path) -> None:
    report = convert("image_text", model, tmp_path / "start", options=Options())
    assert "state is not used; --state-dim N" in str(report)
    assert not load_policy(tmp_path / "start").config.robot_state_feature


@pytest.mark.parametrize(("tokenizer", "passes"), [("residual_vq", 2), ("uniform_bins", 48)])
def test_the_passes_of_a_chunk_are_printed(model: Path, tmp_path: Path, tokenizer: str, passes: int) -> None:
    """SO-101: chunks of 8 × 6 numbers."""
    options = Options(action_dim=6, chunk_size=8, action_tokenizer=tokenizer)
    report = str(convert("image_text", model, tmp_path / "start", options=options))
    assert f"A chunk of 8 × 6 numbers takes {passes} forward passes of the model ({tokenizer})." in report


def test_the_default_action_tokenizer_is_fitted_by_the_first_training(
    model: Path, demonstrations: Path, tmp_path: Path
) -> None:
    convert("image_text", model, tmp_path / "start")
    start = load_policy(tmp_path / "start")
    with pytest.raises(InspireError, match="has seen none: train it first"):
        start.act([observation()], [TASK])
    run = train_on(tmp_path / "start", demonstrations, tmp_path / "run", "--policy.reasoning.enabled=false")
    agent = load_policy(run)
    fitted = agent.policy.tokenizer.action_tokenizer
    assert isinstance(fitted, ResidualVQ)
    assert fitted.fitted
    decision = agent.act([observation()], [TASK])[0]
    assert decision.actions.shape == (8, 7)
    assert decision.forward_passes == 2
    again = train_on(run, demonstrations, tmp_path / "again", "--policy.reasoning.enabled=false")
    assert np.array_equal(
        load_policy(again).policy.tokenizer.action_tokenizer.codebooks, fitted.codebooks
    )  # a later training keeps it


def test_an_unfitted_tokenizer_stays_so_on_disk(tmp_path: Path) -> None:
    made = ResidualVQ.unfitted(horizon=2, action_dim=3, levels=2, codes_per_level=4)
    made.save(tmp_path)
    again = load_action_tokenizer(tmp_path)
    assert again.vocabulary_size == 8
    for use in (lambda: again.decode([0, 4]), lambda: again.encode(torch.zeros(2, 3).numpy())):
        with pytest.raises(InspireError, match="residual_vq is fitted on demonstrations"):
            use()


def test_a_camera_named_twice_is_refused() -> None:
    with pytest.raises(InspireError, match=r"name of its own, found \['front', 'front'\]"):
        Options(cameras=("front", "front"))
