"""Mentions that a person gives are labelled by their roles and stored; unclear instructions are refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.instruction import MentionRole
from inspire_vla.labels import LABELS_FILE, read_labels
from inspire_vla.labels.array_labels import label_arrays
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.parquet import matrix
from inspire_vla.labels.storage import label_dataset

GERMAN = "Lege den roten Würfel auf den Teller"
ROLES = (MentionRole("the dish", "goal"), MentionRole("my block", "carried"))
CARRIED_FIRST = ROLES[::-1]


@pytest.fixture
def german(synthetic, tmp_path: Path) -> Path:
    """The synthetic dataset with a German instruction."""
    import pandas as pd

    root = synthetic.make_dataset(tmp_path / "german", episodes=2)
    table = pd.read_parquet(root / "meta/tasks.parquet")
    table.index = pd.Index([GERMAN], name=table.index.name)
    table.to_parquet(root / "meta/tasks.parquet")
    return root


def codes(root: Path) -> np.ndarray:
    tables = [pq.read_table(path) for path in LeRobotFiles.open(root).data_files()]
    return np.concatenate([matrix(table["observation.answers.direction"]) for table in tables])


def test_an_instruction_that_cannot_be_read_is_refused_before_anything_is_written(german, tmp_path):
    with pytest.raises(
        InspireError, match=r"1 of 1 instruction cannot be read.*German.*--mentions FILE.*inspire mentions"
    ):
        label_dataset(german, DemonstrationLabeller(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_given_mentions_have_the_labels_of_their_roles(german, synthetic, tmp_path):
    plain = synthetic.make_dataset(tmp_path / "plain", episodes=2)
    label_dataset(plain, DemonstrationLabeller(), out=tmp_path / "a")
    label_dataset(german, DemonstrationLabeller(), out=tmp_path / "b", mentions={GERMAN: CARRIED_FIRST})
    assert (codes(tmp_path / "a") == codes(tmp_path / "b")).all()
    labels = read_labels(tmp_path / "b")
    assert labels.tasks == {GERMAN: ("my block", "the dish")}
    assert labels.overrides == {GERMAN: CARRIED_FIRST}


def test_the_order_of_mentions_is_that_of_the_file(german, tmp_path):
    roles = (
        MentionRole("my block", "carried"),
        MentionRole("the dish", "goal"),
        MentionRole("the lamp", "landmark"),
    )
    label_dataset(german, DemonstrationLabeller(), out=tmp_path / "out", mentions={GERMAN: roles})
    found = codes(tmp_path / "out")
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2] == -1).all()  # nothing in a demonstration tells where the lamp is


def test_mentions_without_roles_are_those_of_the_instruction(synthetic, tmp_path):
    plain = synthetic.make_dataset(tmp_path / "plain", episodes=1)
    given = {synthetic.instruction: ["plate", "red cube"]}
    label_dataset(plain, DemonstrationLabeller(), out=tmp_path / "a", mentions=given)
    label_dataset(plain, DemonstrationLabeller(), out=tmp_path / "b")
    assert (codes(tmp_path / "a") == codes(tmp_path / "b")[:, ::-1]).all()


def test_the_command_reads_the_file_and_names_what_the_dataset_lacks(german, tmp_path, capsys):
    path, out = tmp_path / "mentions.json", tmp_path / "out"
    assert main(["mentions", str(german), "--write", str(path)]) == 0
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content == {GERMAN: [{"mention": "?", "role": "carried"}]}
    content = {GERMAN: [{"mention": "the red cube", "role": "carried"}], GERMAN + "!": []}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["label", str(german), "--out", str(out), "--mentions", str(path)]) == 0
    assert f"the dataset has no instruction '{GERMAN}!'" in capsys.readouterr().out
    stored = json.loads((out / LABELS_FILE).read_text(encoding="utf-8"))
    assert stored["overrides"] == {GERMAN: [{"mention": "the red cube", "role": "carried"}]}


def test_no_mentions_leave_an_instruction_out(german, tmp_path):
    with pytest.raises(InspireError, match=r"no instruction of .* names an object"):
        label_dataset(german, DemonstrationLabeller(), out=tmp_path / "out", mentions={GERMAN: []})


def test_stored_overrides_must_be_about_what_is_labelled(german, tmp_path):
    label_dataset(german, DemonstrationLabeller(), out=tmp_path / "out", mentions={GERMAN: CARRIED_FIRST})
    path = tmp_path / "out" / LABELS_FILE
    path.write_text(path.read_text(encoding="utf-8").replace("my block", "my cup", 1), encoding="utf-8")
    with pytest.raises(InspireError, match="but its override names"):
        read_labels(tmp_path / "out")


def test_arrays_take_roles_too(synthetic):
    hand, _, width = synthetic.path()
    given = label_arrays(hand, width, GERMAN, mentions=CARRIED_FIRST)
    read = label_arrays(hand, width, synthetic.instruction)
    assert (given.codes == read.codes).all()
    assert given.mentions == ("my block", "the dish")
