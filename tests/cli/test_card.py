"""`inspire card`: the card says what the checkpoint's own evaluations measured, and goes to the hub with it."""

import json
import re
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

import inspire_vla
from inspire_vla.cli import main
from inspire_vla.evaluation import compare, read_run, wilson
from inspire_vla.policies import describe
from inspire_vla.reports.model_card import model_card

EVIDENCE = Path(__file__).parents[2] / "evidence/laptop/runs"
RUNS = [EVIDENCE / f"inspire_r0.25_s0_{group}" for group in ("seen", "unseen")]
SHIPPED = Path(inspire_vla.__file__).parent / "checkpoints"
NAME = "somebody/robot"


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the shipped policy, which evidence/laptop has measured."""
    return Path(shutil.copytree(SHIPPED / "nano_inspire", tmp_path / "mine"))


def test_the_card_holds_the_rates_of_its_runs_with_intervals_and_commands(checkpoint):
    assert main(["card", str(checkpoint), *map(str, RUNS), "--name", NAME]) == 0
    text = (checkpoint / "README.md").read_text("utf-8")
    seen = [record.success for record in read_run(RUNS[0]).records]
    rate = wilson(sum(seen), len(seen))
    said = f"| **seen** | {len(seen)} | {100 * rate.value:.1f} [{100 * rate.low:.0f}–{100 * rate.high:.0f}] |"
    assert said in text
    (answers,) = compare([read_run(RUNS[0])])["answers"]
    assert f"{100 * answers['seen']['rate']:.1f} %" in text
    for run in map(read_run, RUNS):
        plan = run.info["plan"]
        assert f"{plan['episodes_per_task']} episodes a task from seed {plan['first_seed']}" in text
        assert run.info["commit"][:12] in text
    assert read_run(RUNS[0]).info["policy"]["sha256"] in text
    assert f'load_policy("{NAME}")' in text


def test_its_front_matter_is_what_the_hub_reads(checkpoint):
    assert main(["card", str(checkpoint), "--name", NAME, "--license", "mit"]) == 0
    card = ModelCard.load(checkpoint / "README.md")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "mit",
        "lerobot",
        "robotics",
    )
    assert "inspire_vla" in card.data.tags
    assert card.data.datasets is None  # it was trained on a data set of this machine
    assert yaml.safe_load(card.content.split("---")[1])["license"] == "mit"
    assert "Nothing was measured." in card.text
    training = json.loads((checkpoint / "train_config.json").read_text("utf-8"))
    assert f"{training['steps']:,} steps" in card.text
    training["dataset"]["repo_id"] = "somebody/demonstrations"
    (checkpoint / "train_config.json").write_text(json.dumps(training))
    assert main(["card", str(checkpoint)]) == 0
    assert ModelCard.load(checkpoint / "README.md").data.datasets == ["somebody/demonstrations"]


def test_runs_of_other_weights_and_of_overridden_answers_are_refused(checkpoint, capsys):
    before = (checkpoint / "README.md").read_bytes()
    assert main(["card", str(checkpoint), str(EVIDENCE / "base_r0.25_s0_seen")]) == 2
    assert "is of other weights than" in capsys.readouterr().err
    assert main(["card", str(checkpoint), str(EVIDENCE / "inspire_r0.25_s0_truth_seen")]) == 2
    assert re.search(r"overrode the answers \(--control truth\)", capsys.readouterr().err)
    assert (checkpoint / "README.md").read_bytes() == before


def test_a_run_with_other_settings_is_refused_and_no_file_of_a_run_is_replaced(checkpoint, tmp_path, capsys):
    folders, change = _copies(tmp_path)
    change(0, lambda info: info["policy"].update(settings_sha256="0" * 64))
    assert main(["card", str(checkpoint), *map(str, folders)]) == 2
    assert f"{folders[0]} played these weights with other settings than" in capsys.readouterr().err
    file = folders[1] / "run.json"
    before = file.read_bytes()
    assert main(["card", str(checkpoint), "--out", str(file)]) == 2
    assert "What is written ends in .md, found 'run.json'" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_run_on_recorded_frames_says_how_many_episodes(checkpoint):
    run = {
        "kind": "dataset",
        "plan": {"episodes": [3, 7]},
        "command": "inspire evaluate",
        "finished": "today",
    }
    card = model_card(describe(checkpoint), None, [run], name=NAME)
    assert "recorded" not in card  # nothing was measured
    measured = compare([read_run(RUNS[0])])
    card = model_card(describe(checkpoint), measured, [run], name=NAME)
    assert "- `inspire evaluate`: 2 recorded episodes, commit None, finished today" in card


def test_the_card_counts_the_tasks_of_the_training(checkpoint):
    training = json.loads((checkpoint / "train_config.json").read_text("utf-8"))
    suites = {"libero_90": ("x", "y"), "libero_goal": None}
    card = model_card(describe(checkpoint), None, [], name=NAME, training=training, suites=suites)
    assert "(libero_90: 2 tasks, libero_goal)" in card


def _copies(tmp_path):
    """The two runs, to be changed: their folders, and what changes their run.json."""
    folders = [Path(shutil.copytree(run, tmp_path / run.name)) for run in RUNS]

    def change(number, edit):
        info = json.loads((folders[number] / "run.json").read_text("utf-8"))
        edit(info)
        (folders[number] / "run.json").write_text(json.dumps(info), "utf-8")

    return folders, change


def test_an_unfinished_run_is_named_in_the_card_and_warned_of(checkpoint, tmp_path, capsys):
    folders, change = _copies(tmp_path)
    change(1, lambda info: info.pop("finished"))
    assert main(["card", str(checkpoint), *map(str, folders)]) == 0
    assert f"warning: {folders[1]} is not finished" in capsys.readouterr().err
    text = (checkpoint / "README.md").read_text("utf-8")
    assert text.count("**not finished**") == 1
    assert f"not finished: {folders[1]}" in text


def test_runs_under_different_conditions_share_no_card(checkpoint, tmp_path, capsys):
    folders, change = _copies(tmp_path)
    change(1, lambda info: info["plan"]["conditions"].update(layout_randomness=1.0))
    before = (checkpoint / "README.md").read_bytes()
    assert main(["card", str(checkpoint), *map(str, folders)]) == 2
    assert "layout_randomness: there 0.25, here 1.0" in capsys.readouterr().err
    assert (checkpoint / "README.md").read_bytes() == before


def test_what_lies_on_the_hub_acts_as_here(checkpoint):
    """`hf upload user/name FOLDER` copies the folder; `load_policy("user/name")` downloads it."""

    def snapshot(repo_id: str, **_) -> str:
        assert repo_id == NAME
        return str(checkpoint)

    observation = {"pixels": {"image": np.full((96, 96, 3), 90, np.uint8)}, "agent_pos": np.zeros(8)}
    with patch("huggingface_hub.snapshot_download", snapshot):
        there = inspire_vla.load_policy(NAME).act(observation, "pick up the red mug")
    here = inspire_vla.load_policy("nano_inspire").act(observation, "pick up the red mug")
    assert (there.token_ids, there.confidences) == (here.token_ids, here.confidences)


def test_an_earlier_card_is_kept_and_the_cards_of_others_are_not_written(checkpoint, capsys):
    before = (checkpoint / "README.md").read_bytes()
    for _ in range(2):
        assert main(["card", str(checkpoint)]) == 0
    assert (checkpoint / "README.md.before_card").read_bytes() == before
    assert main(["card", "nano_inspire"]) == 2
    assert "give --out" in capsys.readouterr().err
    assert not (SHIPPED / "nano_inspire" / "README.md.before_card").exists()
