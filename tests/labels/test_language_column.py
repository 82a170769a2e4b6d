"""Labels as rows of LeRobot's language column: what LeRobot renders from them is what the label columns say."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inspire_vla.dialogue import ASKED_OBJECTS, question
from inspire_vla.errors import InspireError
from inspire_vla.labels.demonstration_labeller import DemonstrationLabeller
from inspire_vla.labels.language_column import LANGUAGE_COLUMN, ROW, build_language_column, language_rows
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.parquet import matrix
from inspire_vla.labels.storage import label_dataset
from inspire_vla.recipes import INSPIRE_DIRECTION
from inspire_vla.spatial import decode_answers


@pytest.fixture(scope="module")
def labelled(synthetic, tmp_path_factory):
    root = tmp_path_factory.mktemp("language")
    synthetic.make_dataset(root / "source", episodes=2)
    label_dataset(root / "source", DemonstrationLabeller(), out=root / "out", language=True)
    return root


def words_of(root):
    """The answers of all frames, (N, k), as the label columns hold them."""
    table = pq.read_table(LeRobotFiles.open(root).data_files()[0])
    return decode_answers(matrix(table["observation.answers.direction"]))


def test_a_question_and_an_answer_for_each_label_and_none_without():
    answers = np.array([["", ""], ["down", ""], ["", "left"], ["grasped", "left"]])
    frames = list(language_rows(("the cube", "the plate"), answers, "direction"))
    cube, plate = question("the cube", "direction"), question("the plate", "direction")
    assert [[(row["style"], row["role"], row["content"]) for row in rows] for rows in frames] == [
        [],
        [("direction_1", "user", cube), ("direction_1", "assistant", "down")],
        [("direction_2", "user", plate), ("direction_2", "assistant", "left")],
        [
            ("direction_1", "user", cube),
            ("direction_1", "assistant", "grasped"),
            ("direction_2", "user", plate),
            ("direction_2", "assistant", "left"),
        ],
    ]
    assert all(row["camera"] is None for rows in frames for row in rows)
    assert build_language_column(frames, None).to_pylist() == frames


def test_lerobots_renderer_makes_the_dialogue_of_every_frame(labelled, synthetic):
    importlib.import_module("lerobot_policy_inspire_vla")  # registers the styles
    from lerobot.configs.recipe import load_recipe
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.lerobot_types import TransitionKey
    from lerobot.processor.render_messages_processor import RenderMessagesStep

    opened, words = LeRobotDataset("any/name", root=labelled / "out"), words_of(labelled / "out")
    assert {"grasped", "right"} <= set(words.ravel())
    step = RenderMessagesStep(load_recipe(INSPIRE_DIRECTION))
    for index in range(0, len(words), 7):
        frame = opened[index]
        rendered = step({TransitionKey.COMPLEMENTARY_DATA: frame})[TransitionKey.COMPLEMENTARY_DATA]
        dialogue = []
        for mention, word in zip(synthetic.mentions, words[index], strict=True):
            dialogue += [("user", question(mention, "direction")), ("assistant", word)]
        dialogue += [("user", synthetic.instruction)]
        assert [(message["role"], message["content"]) for message in rendered["messages"]] == dialogue
        assert rendered["target_message_indices"] == [1, 3]
        assert LANGUAGE_COLUMN not in rendered


def test_the_lines_of_the_documentation_render_in_a_fresh_interpreter(labelled):
    page = (Path(__file__).parents[2] / "docs" / "label.md").read_text(encoding="utf-8")
    lines = re.search(r"```python\n(import lerobot_policy_inspire_vla.*?)```", page, re.DOTALL)[1]
    use = """
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.processor.converters import batch_to_transition
frame = LeRobotDataset("any/name", root=sys.argv[1])[0]
print([m["role"] for m in step(batch_to_transition(frame))["complementary_data"]["messages"]])
"""
    call = [sys.executable, "-c", f"import sys\n{lines}{use}", labelled / "out"]
    found = subprocess.run(call, capture_output=True, text=True, check=False)
    assert found.stdout.endswith("['user', 'assistant', 'user', 'assistant', 'user']\n"), found.stderr


def test_a_frame_without_labels_is_left_out_and_another_is_not_asked_for_its_missing_object():
    importlib.import_module("lerobot_policy_inspire_vla")
    from lerobot.configs.recipe import load_recipe
    from lerobot.datasets.language_render import render_sample
    from lerobot.lerobot_types import TransitionKey
    from lerobot.processor.render_messages_processor import RenderMessagesStep

    recipe = load_recipe(INSPIRE_DIRECTION)
    none, second = language_rows(("the cube", "the plate"), np.array([["", ""], ["", "up"]]), "direction")

    def rendered(rows):
        return render_sample(recipe=recipe, persistent=None, events=rows, t=0.0, sample_idx=0, task="go")

    assert rendered(none) is None
    untouched = {TransitionKey.COMPLEMENTARY_DATA: {"task": "go", LANGUAGE_COLUMN: none, "timestamp": 0.0}}
    assert RenderMessagesStep(recipe)(untouched) is untouched  # LeRobot's step looks at no frame without rows
    assert [message["content"] for message in rendered(second)["messages"]] == [
        question("the plate", "direction"),
        "up",
        "go",
    ]


def test_other_rows_are_kept_and_ours_replaced(labelled, tmp_path):
    source = labelled / "out"
    note = {"role": "user", "content": "wait", "style": "interjection", "camera": None, "tool_calls": None}
    other = tmp_path / "annotated"
    label_dataset(source, DemonstrationLabeller(), out=other, language=True)
    path = LeRobotFiles.open(other).data_files()[0]
    table = pq.read_table(path)
    place = table.column_names.index(LANGUAGE_COLUMN)
    lists = [[note, *rows] for rows in table[LANGUAGE_COLUMN].to_pylist()]
    pq.write_table(table.set_column(place, LANGUAGE_COLUMN, pa.array(lists, type=pa.list_(ROW))), path)
    again = tmp_path / "again"
    label_dataset(other, DemonstrationLabeller(), out=again, frame="official_libero", language=True)
    table = pq.read_table(LeRobotFiles.open(again).data_files()[0])
    mirrored = {"left": "right", "right": "left"}
    found = table[LANGUAGE_COLUMN].to_pylist()
    for rows, was in zip(found, lists, strict=True):
        assert rows == [
            row if row["role"] == "user" else {**row, "content": mirrored.get(row["content"], row["content"])}
            for row in was
        ]
    assert {"left", "right"} & {row["content"] for rows in found for row in rows}


def test_no_row_of_earlier_labels_is_left(labelled, tmp_path):
    """They would train other policies with answers that the labels no longer give."""
    source = labelled / "out"
    label_dataset(source, DemonstrationLabeller(), out=tmp_path / "mode", modes=("position",), language=True)
    (path,) = LeRobotFiles.open(tmp_path / "mode").data_files()
    rows = [row for frame in pq.read_table(path)[LANGUAGE_COLUMN].to_pylist() for row in frame]
    assert {row["style"] for row in rows} == {"position_1", "position_2"}
    label_dataset(source, DemonstrationLabeller(), out=tmp_path / "none", frame="official_libero")
    files = LeRobotFiles.open(tmp_path / "none")
    assert LANGUAGE_COLUMN not in files.info["features"]
    assert LANGUAGE_COLUMN not in pq.read_schema(files.data_files()[0]).names


def test_rows_of_others_outlive_labels_without_the_option(labelled, tmp_path):
    note = {"role": "user", "content": "wait", "style": "interjection", "camera": None, "tool_calls": None}
    source = shutil.copytree(labelled / "out", tmp_path / "source")
    (path,) = LeRobotFiles.open(source).data_files()
    table = pq.read_table(path)
    lists = [[note] * (not i) + rows for i, rows in enumerate(table[LANGUAGE_COLUMN].to_pylist())]
    place = table.column_names.index(LANGUAGE_COLUMN)
    pq.write_table(table.set_column(place, LANGUAGE_COLUMN, pa.array(lists, type=pa.list_(ROW))), path)
    label_dataset(source, DemonstrationLabeller(), out=tmp_path / "again")
    files = LeRobotFiles.open(tmp_path / "again")
    assert LANGUAGE_COLUMN in files.info["features"]
    found = pq.read_table(files.data_files()[0])[LANGUAGE_COLUMN].to_pylist()
    assert found == [[note], *[[]] * (len(found) - 1)]
    label_dataset(tmp_path / "again", DemonstrationLabeller(), out=tmp_path / "third")
    (path,) = LeRobotFiles.open(tmp_path / "third").data_files()
    assert pq.read_table(path)[LANGUAGE_COLUMN].to_pylist() == found


def test_two_modes_stand_in_one_column(labelled, tmp_path):
    modes = ("direction", "position")
    label_dataset(
        labelled / "source", DemonstrationLabeller(), out=tmp_path / "out", modes=modes, language=True
    )
    (path,) = LeRobotFiles.open(tmp_path / "out").data_files()
    first = pq.read_table(path)[LANGUAGE_COLUMN].to_pylist()[0]
    assert [row["style"] for row in first[::2]] == ["direction_1", "direction_2", "position_1", "position_2"]


def test_more_objects_than_lerobot_knows_styles_are_refused(labelled, synthetic, tmp_path):
    many = {synthetic.instruction: [f"the cube {number}" for number in range(ASKED_OBJECTS + 1)]}
    with pytest.raises(InspireError, match=f"names {ASKED_OBJECTS + 1} objects"):
        label_dataset(
            labelled / "source",
            DemonstrationLabeller(),
            out=tmp_path / "out",
            mentions={
                text: [{"mention": m, "role": "landmark"} for m in said] for text, said in many.items()
            },
            language=True,
        )
    assert not (tmp_path / "out").exists()


def test_without_the_option_there_is_no_such_column(synthetic, labelled, tmp_path):
    label_dataset(labelled / "source", DemonstrationLabeller(), out=tmp_path / "out")
    assert LANGUAGE_COLUMN not in LeRobotFiles.open(tmp_path / "out").info["features"]
