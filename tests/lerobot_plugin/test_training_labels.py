"""A policy learns from a dataset's labels only what it will be asked."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.lerobot_plugin.tiny_runs import run

from inspire_vla.action_tokenizers import ActionVocabulary, UniformBins
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.dialogue import NANO_TEMPLATE
from inspire_vla.errors import InspireError
from inspire_vla.instruction import find_mentions
from inspire_vla.labels.columns import (
    LABELS_FILE,
    LabelInfo,
    LabelMismatch,
    LabelsMissing,
    ModeRule,
    read_labels,
    write_labels,
)
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows
from inspire_vla.lerobot_plugin import training_labels
from inspire_vla.lerobot_plugin.agent import load_policy
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.lerobot_plugin.tokenizer import InspireVLATokenizer, TokenizerParts
from inspire_vla.lerobot_plugin.training_labels import check_mentions, count_unlabelled

CUBE = "pick up the red cube and place it on the blue plate"
TASKS = (CUBE, "open the top drawer of the cabinet")
COLUMN = "observation.answers.direction"


def labels(**tasks: tuple[str, ...]) -> LabelInfo:
    return LabelInfo("robot", {"direction": ModeRule()}, tasks, 4, "noise")  # type: ignore[arg-type]


def test_labels_of_what_is_asked_are_taken() -> None:
    own = {task: find_mentions(task) for task in TASKS}
    check_mentions(labels(**own), [*TASKS, "do it again", "lift the green can"], 3)
    check_mentions(
        labels(**own | {CUBE: (*own[CUBE], "the table")}), TASKS, 2
    )  # the third is not asked about


def test_objects_that_nobody_asks_about_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A two-step instruction names four: with a limit of three, the place of its second step was never asked about."""
    two_steps = "put the red cube in the bowl and put the green can on the blue plate"
    check_mentions(
        labels(**{two_steps: find_mentions(two_steps)}), [two_steps], ReasoningConfig().max_objects
    )
    assert not caplog.records
    check_mentions(labels(**{two_steps: find_mentions(two_steps)}), [two_steps], 3)
    (warning,) = caplog.messages
    assert "names 4 objects" in warning
    assert "--policy.reasoning.max_objects=4 asks about all" in warning


def test_labels_of_other_objects_are_told_apart() -> None:
    turned = labels(**{CUBE: ("the blue plate", "the red cube")})
    with pytest.raises(
        LabelMismatch, match=r"asks about \['the red cube', .* are about \['the blue plate', "
    ) as error:
        check_mentions(turned, TASKS, 3)
    assert "max_objects" not in str(error.value)  # asking about fewer does not help
    with pytest.raises(LabelMismatch, match="max_objects=1"):
        check_mentions(labels(**{CUBE: ("the red cube",)}), TASKS, 3)
    with pytest.raises(LabelMismatch, match=r"asks about \[\]"):
        check_mentions(labels(**{"do it again": ("the red cube",)}), ["do it again"], 3)


def test_a_training_on_labels_of_other_objects_is_refused(labelled_dataset: Path, tmp_path: Path) -> None:
    """Column 0 would be learned as the answer about the cube. Given mentions are stored: see test_mentions.py."""
    data = tmp_path / "data"
    shutil.copytree(labelled_dataset, data)
    said = json.loads((data / LABELS_FILE).read_text())
    said["tasks"][CUBE].reverse()
    (data / LABELS_FILE).write_text(json.dumps(said))
    with pytest.raises(LabelMismatch, match="Label the dataset again, with --mentions FILE"):
        run(data, tmp_path / "out", "--steps=1")


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("objects", [1, 2, 3])
def test_the_labels_of_now_are_found_in_a_batch_as_lerobot_makes_it(objects: int, history: int) -> None:
    """(rows, history, objects); without the last dimension for one object, without the second for one image."""
    now = torch.arange(2 * objects).view(2, objects)
    column = now if history == 1 else torch.stack([torch.full_like(now, -1), now], dim=1)
    batch = {"task": TASKS, COLUMN: column.squeeze(-1) if objects == 1 else column}
    tokenizer = InspireVLATokenizer(
        TokenizerParts(UniformBins()), text_tokenizer=load_text_tokenizer(), template=NANO_TEMPLATE,
        action_vocabulary=ActionVocabulary(256, 1000), reasoning=ReasoningConfig(), n_obs_steps=history,
    )  # fmt: skip
    assert tokenizer._labels(batch).tolist() == now.tolist()


def test_a_policy_learns_from_instructions_with_one_object(one_object_dataset: Path, tmp_path: Path) -> None:
    policy = load_policy(run(one_object_dataset, tmp_path / "out", "--steps=1")).policy
    assert len(policy.tokenizer.parts.initial_draft) == 1


@pytest.fixture
def half_labelled(labelled_dataset: Path, tmp_path: Path) -> Path:
    """As after `inspire label --min-confidence`: every second frame lacks its last label, one drawer has none."""
    data = tmp_path / "half"
    shutil.copytree(labelled_dataset, data)
    for file in (data / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        column = table.schema.get_field_index(COLUMN)
        codes = np.array(table[COLUMN].to_pylist(), dtype=np.int16)
        codes[::2, 1] = -1
        codes[table["episode_index"].to_numpy() == 1] = -1
        made = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), codes.shape[1])
        pq.write_table(table.set_column(column, COLUMN, made).cast(table.schema), file)
    return data


def test_frames_without_labels_are_counted_and_told(
    half_labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, said = LeRobotFiles.open(half_labelled), read_labels(half_labelled)
    with caplog.at_level(logging.WARNING):
        assert count_unlabelled(said, files, "direction", 3) == {CUBE: 12, TASKS[1]: 12}
    assert (
        f"Left out of the training, for want of a label: 24 of 48 frames: 12 of 24 in {CUBE!r}" in caplog.text
    )
    caplog.clear()
    assert count_unlabelled(said, files, "direction", 1) == {
        TASKS[1]: 12
    }  # the second object is not asked about
    with pytest.raises(LabelMismatch, match="does not say what its labels in 'open the top drawer"):
        count_unlabelled(labels(**{CUBE: said.tasks[CUBE]}), files, "direction", 3)


def test_a_dataset_without_any_whole_labels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows({}, np.zeros(12, dtype=np.int64), np.zeros(12, dtype=np.int64))
    monkeypatch.setattr(training_labels, "stored_answers", lambda *_: [(rows, np.full((12, 3), -1))])
    files = LeRobotFiles(Path("data"), {}, {0: CUBE})
    with pytest.raises(LabelsMissing, match=r"No frame of data .*12 of 12 in 'pick up"):
        count_unlabelled(labels(**{CUBE: find_mentions(CUBE)}), files, "direction", 3)


def test_rows_without_labels_change_nothing_in_a_batch(half_labelled: Path, tmp_path: Path) -> None:
    """In the training, of one row at a time, half the batches have no label at all: it goes on."""
    policy = load_policy(run(half_labelled, tmp_path / "out", "--steps=6", "--batch_size=1")).policy
    torch.manual_seed(0)
    batch = {
        "task": [CUBE, TASKS[1], CUBE, "do it again"],
        "observation.images.image": torch.rand(4, 3, 32, 32),
        "observation.state": torch.randn(4, 8),
        "action": torch.rand(4, 4, 7) * 2 - 1,
        COLUMN: torch.tensor([[0, 3, -1], [6, -1, -1], [0, -1, -1], [-1, -1, -1]]),
    }
    labelled = {key: value[:2] for key, value in batch.items()}
    for given, lacking in ((batch, 2), (labelled, 0)):
        loss, log = policy.forward(given)
        assert log["unlabelled_rows"] == lacking
        assert loss.item() == pytest.approx(policy.forward(labelled)[0].item(), rel=1e-6)
    policy.forward(labelled)[0].backward()
    trained = {name for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    loss, log = policy.forward({key: value[2:] for key, value in batch.items()})
    assert (loss.item(), log["unlabelled_rows"]) == (0.0, 2.0)
    assert not log.keys() & {"action_loss", "answer_loss"}
    loss.backward()  # reaches what every other loss reaches, as processes that train together must agree
    gradients = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    assert gradients.keys() == trained
    assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("reasoning", ["true", "false"])
def test_frames_without_an_instruction_are_left_out_of_every_training_and_told(
    labelled_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, reasoning: str
) -> None:
    """One row at a time: some batches hold nothing else."""
    data = tmp_path / "data"
    shutil.copytree(labelled_dataset, data)
    tasks = pd.DataFrame({"task_index": [0, 1]}, index=pd.Index([CUBE, " "], name="task"))
    tasks.to_parquet(data / "meta/tasks.parquet")
    for file in (data / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        column = table.schema.get_field_index(COLUMN)
        codes = np.array(table[COLUMN].to_pylist(), dtype=np.int16)
        codes[table["task_index"].to_numpy() == 1] = -1
        made = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), codes.shape[1])
        pq.write_table(table.set_column(column, COLUMN, made).cast(table.schema), file)
    write_labels(data, labels(**{CUBE: find_mentions(CUBE)}))
    with caplog.at_level(logging.WARNING):
        assert training_labels.count_without_instruction(LeRobotFiles.open(data)) == 24
    assert "Left out of the training, because their instruction is empty: 24 of 48 frames" in caplog.text
    out = run(
        data, tmp_path / "out", "--steps=6", "--batch_size=1", f"--policy.reasoning.enabled={reasoning}"
    )
    policy = load_policy(out).policy
    batch = {
        "task": [CUBE, ""],
        "observation.images.image": torch.rand(2, 3, 32, 32),
        "observation.state": torch.randn(2, 8),
        "action": torch.rand(2, 4, 7) * 2 - 1,
        COLUMN: torch.tensor([[0, 3, -1], [-1, -1, -1]]),
    }
    alone = {key: value[:1] for key, value in batch.items()}
    assert policy.forward(batch)[0].item() == pytest.approx(policy.forward(alone)[0].item(), rel=1e-6)
    assert policy.forward({key: value[1:] for key, value in batch.items()})[0].item() == 0.0
    with pytest.raises(InspireError, match=r"instruction|No object is named"):  # it refuses to act
        policy.act({key: value[1:] for key, value in batch.items() if key != "action"})


def test_a_dataset_without_any_instruction_is_refused(labelled_dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(labelled_dataset, data)
    tasks = pd.DataFrame({"task_index": [0, 1]}, index=pd.Index(["", " "], name="task"))
    tasks.to_parquet(data / "meta/tasks.parquet")
    with pytest.raises(InspireError, match="has an instruction"):
        run(data, tmp_path / "out", "--steps=1", "--policy.reasoning.enabled=false")
