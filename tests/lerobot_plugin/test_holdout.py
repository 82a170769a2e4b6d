"""Episodes kept out of a training: nothing of the policy is taken from them, and the checkpoint says which they are."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot.datasets.compute_stats import get_feature_stats
from tests.lerobot_plugin.conftest import write_dataset
from tests.lerobot_plugin.tiny_runs import TINY, run

from inspire_vla import policies
from inspire_vla.cli import main, parse
from inspire_vla.cli.evaluate import _episodes
from inspire_vla.cli.train import train_arguments
from inspire_vla.evaluation import read_run
from inspire_vla.files import write_json
from inspire_vla.labels.collected_dataset import COLLECTION_FILE
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.checkpoint_schema import TokenizerSettings, TrainingData
from inspire_vla.lerobot_plugin.dataset_origin import joined_data, training_data

HELD_OUT = (4, 5)
QUANTILES = (
    '--policy.normalization_mapping={"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "QUANTILES"}'
)


def write_with_strange_end(root: Path) -> Path:
    """Six episodes; the actions and states of the last two lie far from those of the others."""
    write_dataset(root, episodes=6)
    for file in (root / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        strange = np.isin(table["episode_index"].to_numpy(), HELD_OUT)
        for name in ("action", "observation.state"):
            values = np.array(table[name].to_pylist(), dtype=np.float32)
            values[strange] = 50 + 30 * values[strange]
            made = table.schema.field(name)
            column = pa.array(values.tolist(), type=made.type)
            table = table.set_column(table.schema.get_field_index(name), made, column)
        pq.write_table(table, file)
    stats = json.loads((root / "meta/stats.json").read_text(encoding="utf-8"))
    for name in ("action", "observation.state"):
        found = get_feature_stats(numbers(root, name, set(range(6))), axis=0, keepdims=False)
        stats[name] = {key: values.tolist() for key, values in found.items()}
    (root / "meta/stats.json").write_text(json.dumps(stats), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_with_strange_end(tmp_path_factory.mktemp("data") / "strange")
    entries = [{"task": "open" if episode in HELD_OUT else "lift"} for episode in range(6)]
    write_json(root / COLLECTION_FILE, {"settings": {"suite": "shelf"}, "episodes": entries})
    return root


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the command, with the last two episodes held out."""
    out = tmp_path_factory.mktemp("runs") / "held_out"
    command = ["train", "--dataset", str(dataset), "--out", str(out), "--holdout", "2", "--steps", "2"]
    assert main([*command, "--reasoning", "--", *TINY]) == 0
    return out


def numbers(dataset: Path, name: str, episodes: set[int]) -> np.ndarray:
    tables = [pq.read_table(file) for file in sorted((dataset / "data").rglob("*.parquet"))]
    rows = [
        row
        for table in tables
        for row, episode in zip(table[name].to_pylist(), table["episode_index"].to_pylist(), strict=True)
        if episode in episodes
    ]
    return np.array(rows, dtype=np.float32)


def test_the_checkpoint_says_what_was_held_out(dataset, trained):
    (data,) = policies.training_data(trained)
    assert data["held_out"] == list(HELD_OUT)
    assert data["episodes"] == 6
    config = json.loads((load_folder(trained) / "train_config.json").read_text(encoding="utf-8"))
    assert config["dataset"]["episodes"] == [0, 1, 2, 3]
    assert policies.trained_on(trained) == {"shelf": ("lift",)}  # of "open" every episode was held out


def load_folder(trained: Path) -> Path:
    return trained / "checkpoints" / "last" / "pretrained_model"


def test_nothing_of_the_policy_is_taken_from_held_out_episodes(dataset, trained):
    """The processors' statistics and the action tokenizer are those of the other episodes alone."""
    agent = load_policy(trained)
    state = {k: v for step in agent.preprocessor.steps for k, v in step.state_dict().items()}
    used = numbers(dataset, "action", {0, 1, 2, 3})
    np.testing.assert_allclose(state["action.max"], used.max(axis=0), rtol=1e-4)
    np.testing.assert_allclose(state["action.mean"], used.mean(axis=0), rtol=1e-3, atol=1e-4)
    states = numbers(dataset, "observation.state", {0, 1, 2, 3})
    np.testing.assert_allclose(state["observation.state.std"], states.std(axis=0), rtol=1e-3)
    assert state["action.max"].max() < 2  # the whole dataset's is above 50
    # The codebook: decoded and unnormalised, no code is near the strange actions.
    tokenizer = agent.policy.tokenizer.action_tokenizer
    rng = np.random.default_rng(0)
    chunks = rng.uniform(-1, 1, (64, tokenizer.horizon, 7)).astype(np.float32)
    decoded = tokenizer.decode(tokenizer.encode(chunks))
    assert np.abs(agent.postprocessor(as_tensor(decoded)).numpy()).max() < 2


def as_tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def test_without_holdout_all_episodes_count(dataset, tmp_path):
    agent = load_policy(run(dataset, tmp_path / "run", "--steps=1", QUANTILES))
    state = {k: v for step in agent.preprocessor.steps for k, v in step.state_dict().items()}
    assert state["action.max"].max() > 50
    (data,) = agent.policy.tokenizer.parts.training_data
    assert data.held_out == []
    assert agent.policy.tokenizer.parts.training_suites == {"shelf": ("lift", "open")}


def test_lerobots_own_split_is_recorded_too(dataset, tmp_path):
    agent = load_policy(run(dataset, tmp_path / "run", "--steps=1", "--dataset.eval_split=0.3"))
    (data,) = agent.policy.tokenizer.parts.training_data
    assert data.held_out == [4, 5]  # the last of each of the two instructions
    assert agent.policy.tokenizer.parts.training_suites == {"shelf": ("lift",)}
    state = {k: v for step in agent.preprocessor.steps for k, v in step.state_dict().items()}
    assert state["action.max"].max() < 2


def test_a_resumed_training_keeps_them(dataset, trained, tmp_path):
    import shutil

    out = tmp_path / "again"
    shutil.copytree(trained, out, symlinks=True)
    assert main(["train", "--out", str(out), "--resume", "--holdout", "1"]) == 2
    assert main(["train", "--out", str(out), "--resume", "--steps", "3"]) == 0
    (data,) = policies.training_data(out)
    assert data["held_out"] == list(HELD_OUT)
    assert policies.trained_on(out) == {"shelf": ("lift",)}
    agent = load_policy(out)
    state = {k: v for step in agent.preprocessor.steps for k, v in step.state_dict().items()}
    assert state["action.max"].max() < 2


def test_evaluation_takes_the_held_out_episodes_and_warns_of_others(dataset, trained, tmp_path, capsys):
    command = ["evaluate", "--policy", str(trained), "--dataset", str(dataset), "--workers", "1"]
    assert main([*command, "--out", str(tmp_path / "held_out")]) == 0
    printed = capsys.readouterr()
    assert "2 episodes that were kept out of the training" in printed.err
    assert "is not known" not in printed.out
    run_of = read_run(tmp_path / "held_out")
    assert sorted(record.episode for record in run_of.records) == list(HELD_OUT)
    assert run_of.info["held_out"] == {"known": True, "trained_on": []}
    assert main([*command, "--out", str(tmp_path / "all"), "--episodes", "3:5"]) == 0
    printed = capsys.readouterr()
    assert "warning: the policy was trained on 1 of these 2 episodes" in printed.err
    assert "trained on 1 of these 2" in " ".join(printed.out.split())


def test_another_dataset_is_not_taken_for_the_trained_one(trained, tmp_path, capsys):
    other = write_dataset(tmp_path / "other", episodes=3, frames=10)
    command = ["evaluate", "--policy", str(trained), "--dataset", str(other), "--workers", "1"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert "was trained on another dataset" in capsys.readouterr().err
    assert len(read_run(tmp_path / "run").records) == 3


def test_held_out_is_what_every_training_left_out():
    first = TrainingData("a", 10, [7, 8, 9])
    second = TrainingData("a", 10, [6, 7])
    third = TrainingData("b", 5, [])
    assert joined_data((), first) == (first,)
    assert joined_data((first,), second) == (TrainingData("a", 10, [7]),)
    drawn = replace(second, render="fast")
    assert joined_data((first,), drawn) == (TrainingData("a", 10, [7], "fast"),)
    assert joined_data((first,), third) == (first, third)
    assert joined_data((first,), first) == (first,)  # a resumed training
    assert _episodes(None, 10, [{"held_out": [7, 8]}, {"held_out": [8]}]) == (8,)
    assert _episodes(None, 3, [{"held_out": []}]) == (0, 1, 2)
    assert _episodes("1:", 3, [{"held_out": [0]}]) == (1, 2)


@pytest.mark.parametrize(
    ("holdout", "episodes"), [("1", [0, 1, 2, 3, 5]), ("2", [0, 1, 2, 3]), ("0:2,5", [2, 3, 4])]
)
def test_which_episodes_are_left_to_train_on(dataset, tmp_path, holdout, episodes):
    words = ["train", "--dataset", str(dataset), "--out", str(tmp_path / "x"), "--holdout", holdout]
    assert f"--dataset.episodes={episodes}" in train_arguments(parse(words))[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--holdout", "6"], "1 to 5 of 6 episodes can be held out"),
        (["--holdout", "0:6"], "leaves no episode"),
        (["--holdout", "9"], "can be held out"),
        (["--holdout", "5:9"], "has 0 to 5"),
        (["--holdout", "x"], "Episodes are written"),
        (["--holdout", "1", "--", "--dataset.episodes=[1]"], "leave out --dataset.episodes"),
    ],
)
def test_impossible_holdouts_are_refused(dataset, tmp_path, words, message, capsys):
    assert main(["train", "--dataset", str(dataset), "--out", str(tmp_path / "x"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("file", ["inspire_labels.json", "inspire_collection.json"])
def test_a_policy_keeps_how_its_images_were_drawn(file: str, tmp_path: Path, labelled_dataset: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(labelled_dataset, root)
    assert training_data(root, None).render is None
    part = {"inspire_labels.json": "extra", "inspire_collection.json": "settings"}[file]
    path = root / "meta" / file
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(content | {part: {"render": "fast"}}), encoding="utf-8")
    found = training_data(root, None)
    assert found.render == "fast"
    written = {
        "reasoning": {}, "n_obs_steps": 1, "template": {}, "llama": False, "action_vocabulary": None,
        "initial_draft": [], "training_suites": None, "training_data": [asdict(found)],
    }  # fmt: skip
    settings = TokenizerSettings.model_validate_json(json.dumps(written))
    assert settings.training_data[0].render == "fast"
