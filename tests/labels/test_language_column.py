"""Labels as rows of LeRobot's language column: what LeRobot reads there is what the label columns say."""

import importlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inspire_vla.labels.episode_labeller import DemonstrationLabeller
from inspire_vla.labels.language_column import LANGUAGE_COLUMN, ROW, language_rows
from inspire_vla.labels.lerobot_files import LeRobotFiles, matrix
from inspire_vla.labels.storage import label_dataset
from inspire_vla.spatial import decode_answers


@pytest.fixture(scope="module")
def labelled(synthetic, tmp_path_factory):
    root = tmp_path_factory.mktemp("language")
    synthetic.make_dataset(root / "source", episodes=2)
    label_dataset(root / "source", DemonstrationLabeller(), out=root / "out", language=True)
    return root


def test_a_row_for_each_change_and_none_for_what_has_no_label():
    answers = np.array([["", ""], ["down", ""], ["down", ""], ["grasped", "left"], ["grasped", "left"]])
    rows = list(language_rows(("the cube", "the plate"), answers, np.arange(5) / 10, "direction"))
    assert [(row["content"], row["timestamp"]) for row in rows] == [
        ("the cube: down", 0.1),
        ("the cube: grasped; the plate: left", 0.3),
    ]
    assert all(row["camera"] is None and row["style"] == "direction" for row in rows)


def test_lerobot_finds_at_every_frame_what_the_labels_say(labelled, synthetic):
    importlib.import_module("lerobot_policy_inspire_vla")  # registers the style
    from lerobot.datasets.language_render import active_at
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    opened = LeRobotDataset("any/name", root=labelled / "out")
    table = pq.read_table(LeRobotFiles.open(labelled / "out").data_files()[0])
    words = decode_answers(matrix(table["observation.answers.direction"]))
    for index in (0, 5, 14, len(words) - 1):
        frame = opened[index]
        row = active_at(
            float(frame["timestamp"]), persistent=frame[LANGUAGE_COLUMN], style="direction", role="assistant"
        )
        said = "; ".join(f"{m}: {w}" for m, w in zip(synthetic.mentions, words[index], strict=True))
        assert row["content"] == said


def test_other_rows_are_kept_and_ours_replaced(labelled, tmp_path):
    source = labelled / "out"
    path = LeRobotFiles.open(source).data_files()[0]
    table = pq.read_table(path)
    note = {
        "role": "user",
        "content": "look",
        "style": "plan",
        "timestamp": 0.0,
        "camera": None,
        "tool_calls": None,
    }
    lists = [[note, *rows] for rows in table[LANGUAGE_COLUMN].to_pylist()]
    place = table.column_names.index(LANGUAGE_COLUMN)
    other = tmp_path / "annotated"
    label_dataset(source, DemonstrationLabeller(), out=other, language=True)
    path = LeRobotFiles.open(other).data_files()[0]
    table = pq.read_table(path).set_column(place, LANGUAGE_COLUMN, pa.array(lists, type=pa.list_(ROW)))
    pq.write_table(table, path)
    label_dataset(
        other, DemonstrationLabeller(), out=tmp_path / "again", frame="official_libero", language=True
    )
    rows = pq.read_table(LeRobotFiles.open(tmp_path / "again").data_files()[0])[LANGUAGE_COLUMN][0].as_py()
    assert [row["content"] for row in rows if row["style"] == "plan"] == ["look"]
    ours = [row for row in rows if row["style"] == "direction"]
    before = [row for row in lists[0] if row["style"] == "direction"]
    assert len(ours) == len(before)
    mirrored = {"left": "right", "right": "left"}
    for row, was in zip(ours, before, strict=True):
        words = [part.rpartition(": ") for part in was["content"].split("; ")]
        assert row["content"] == "; ".join(f"{m}: {mirrored.get(word, word)}" for m, _, word in words)
    assert any("left" in row["content"] for row in ours)


def test_without_the_option_there_is_no_such_column(synthetic, labelled, tmp_path):
    label_dataset(labelled / "source", DemonstrationLabeller(), out=tmp_path / "out")
    assert LANGUAGE_COLUMN not in LeRobotFiles.open(tmp_path / "out").info["features"]
