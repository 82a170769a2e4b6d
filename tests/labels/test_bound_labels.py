"""Labels are about the instruction they were made for; after it was modified they are refused, everywhere."""

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from inspire_vla.cli import main
from inspire_vla.errors import InspireError
from inspire_vla.labels import LABELS_FILE, LabelMismatch, LabelsMissing, read_labelled
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.simulator_state import PRIVILEGED_MENTIONS, kept_mentions, mentions_of_columns
from inspire_vla.labels.storage import label_dataset
from inspire_vla.labels.summary import summarize, timelines
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.lerobot_plugin.training_labels import check_labels
from inspire_vla.reports.label_review import write_review
from inspire_vla.reports.moments import DatasetEpisode

OTHER = "put the blue block in the bowl"


@pytest.fixture
def labelled(synthetic, tmp_path: Path) -> Path:
    """Four episodes; the last has another instruction."""
    source = synthetic.make_dataset(tmp_path / "source")
    (path,) = LeRobotFiles.open(source).data_files()
    table = pq.read_table(path)
    column = pc.if_else(pc.equal(table["episode_index"], 3), 1, 0).cast(pa.int64())
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", column), path)
    write_tasks(source, synthetic.instruction, OTHER)
    label_dataset(source, DemonstrationLabeller(), out=tmp_path / "labelled")
    return tmp_path / "labelled"


def write_tasks(root: Path, *instructions: str) -> None:
    """As LeRobot writes them."""
    tasks = pd.DataFrame({"task_index": range(len(instructions))}, index=pd.Index(instructions, name="task"))
    tasks.to_parquet(root / "meta/tasks.parquet")


READERS = {
    "read_labelled": read_labelled,
    "summarize": summarize,
    "timelines": lambda root: list(timelines(root)),
    "review": lambda root: write_review(root, root.parent / "review.html"),
    "training": lambda root: check_labels(root, ReasoningConfig()),
    "view": lambda root: DatasetEpisode(root, 0),
}


@pytest.mark.parametrize("reader", READERS)
def test_labels_of_modified_instructions_are_refused_with_what_to_run(synthetic, labelled, reader):
    write_tasks(labelled, OTHER, synthetic.instruction)  # swapped: both are still known
    with pytest.raises(LabelMismatch, match="modified or renumbered") as error:
        READERS[reader](labelled)
    assert f"inspire label {labelled} --in-place" in str(error.value)


def test_labels_of_unchanged_instructions_are_read(labelled):
    labels, files = read_labelled(labelled)
    assert set(labels.frames_sha256) == set(files.tasks.values())
    summarize(labelled)
    check_labels(labelled, ReasoningConfig())


def test_after_lerobots_modify_tasks_the_command_that_is_named_makes_labels_of_the_new_objects(
    synthetic, labelled, capsys
):
    from lerobot.datasets.dataset_tools import modify_tasks
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    modify_tasks(LeRobotDataset("any/name", root=labelled), episode_tasks=dict.fromkeys(range(4), OTHER))
    assert main(["labels", str(labelled)]) == 2
    said = capsys.readouterr().err
    command = said.split("Label it again: inspire ")[1].split()
    assert main(command) == 0
    labels, _ = read_labelled(labelled)
    assert labels.tasks == {OTHER: ("the blue block", "the bowl")}
    assert main(["labels", str(labelled)]) == 0


def test_labels_that_were_copied_to_renumbered_episodes_are_refused(labelled, tmp_path):
    from lerobot.datasets.dataset_tools import delete_episodes
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    fewer = tmp_path / "fewer"
    delete_episodes(LeRobotDataset("any/name", root=labelled), [1], output_dir=fewer, repo_id="any/fewer")
    with pytest.raises(LabelsMissing):
        read_labelled(fewer)
    shutil.copy(labelled / LABELS_FILE, fewer / LABELS_FILE)
    with pytest.raises(LabelMismatch, match="modified or renumbered"):
        read_labelled(fewer)


def test_labels_that_do_not_say_for_which_instructions_are_refused(labelled):
    text = (labelled / LABELS_FILE).read_text(encoding="utf-8")
    (labelled / LABELS_FILE).write_text(text.replace('"frames_sha256"', '"other"'), encoding="utf-8")
    with pytest.raises(LabelMismatch, match="did not record for which instructions"):
        read_labelled(labelled)


def test_privileged_columns_are_not_read_as_being_about_other_objects(synthetic, labelled, tmp_path):
    assert mentions_of_columns(labelled)[OTHER] == ("the blue block", "the bowl")
    write_tasks(labelled, OTHER, synthetic.instruction)
    with pytest.raises(InspireError, match="not known which objects"):
        mentions_of_columns(labelled)
    kept = kept_mentions(labelled, {})
    assert kept == {PRIVILEGED_MENTIONS: None}  # labels made now do not make the columns known again
