"""Laws of reading a table of objects: a cell has one meaning, or an error names it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.object_table import mention_index, read_object_table

HEADER = "episode,frame,object,x,y,z,grasped"


def written(folder: Path, *rows: str) -> Path:
    path = folder / "objects.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("cells", "grasped"),
    [
        (("0", "1", ""), [False, True, False]),
        (("", "", ""), [False, False, False]),
        (("false", "TRUE", ""), [False, True, False]),
        (("False", "1", "0"), [False, True, False]),
        (("0.0", "1.0", ""), [False, True, False]),
    ],
)
def test_values_of_grasped_in_csv(tmp_path, cells, grasped):
    path = written(tmp_path, *(f"0,{i},cup,1,1,1,{cell}" for i, cell in enumerate(cells)))
    assert read_object_table(path)[0]["cup"].grasped.tolist() == grasped


@pytest.mark.parametrize("value", [pa.array([True, None]), pa.array([1, None]), pa.array([1.0, np.nan])])
def test_types_of_grasped_in_parquet(tmp_path, value):
    place = {"object": ["cup", "cup"], "x": [1, 1], "y": [1, 1], "z": [1, None]}
    table = pa.table({"episode": [0, 0], "frame": [1, 0], **place, "grasped": value})
    pq.write_table(table, tmp_path / "objects.parquet")
    found = read_object_table(tmp_path / "objects.parquet")[0]["cup"]
    assert (found.frames.tolist(), found.grasped.tolist()) == ([0, 1], [False, True])
    assert np.isnan(found.position_m[0, 2])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("0,1,cup,1,1,1,no", r"'grasped', row 2, holds 'no'. Possible: 1 or true"),
        ("0,1,cup,1,1,1,2", r"'grasped', row 2, holds '2'"),
        (",1,cup,1,1,1,0", r"'episode' must hold whole numbers.*1 row does not.*row 2 with an empty cell"),
        ("0,-1,cup,1,1,1,0", r"'frame' must hold whole numbers, counted from 0.*row 2 with -1"),
        ("0,0.5,cup,1,1,1,0", r"'frame' must hold whole numbers.*row 2 with 0.5"),
        ("first,1,cup,1,1,1,0", r"'episode' must hold numbers; it holds string"),
        ("0,1,cup,1,far,1,0", r"'y' must hold numbers"),
        ("0,1,,1,1,1,0", r"'object', row 2, is empty. Possible"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_an_impossible_cell_is_named(tmp_path, row, says):
    with pytest.raises(InspireError, match=says):
        read_object_table(written(tmp_path, "0,0,cup,1,1,1,0", row))


def test_an_object_in_two_places_at_once_is_refused(tmp_path):
    """As of two cubes that a tracker gave one name: the last row would count."""
    rows = ["0,0,cube,1,1,1,0", "0,3,cube,1,1,1,0", "1,0,cube,2,2,2,0"]
    assert len(read_object_table(written(tmp_path, *rows, rows[1]))) == 2  # the same row twice
    for other in ("0,3,cube,1,1,2,0", "0,3,cube,1,1,1,1", "0,3,cube,1,1,,0"):
        with pytest.raises(InspireError, match=r"rows 2 and 4 give 'cube' two places in frame 3\."):
            read_object_table(written(tmp_path, *rows, other))


def test_rows_in_any_order_and_columns_of_any_encoding_are_one_table(tmp_path):
    """As pandas writes categories, and as trackers write objects, one behind the other."""
    rng = np.random.default_rng(0)
    order = rng.permutation(60)
    columns = {
        "episode": np.repeat([5, 0, 9], 20)[order],
        "frame": np.tile(np.arange(10), 6)[order],
        "object": pa.array(np.tile(np.repeat(["cup", " red  cube"], 10), 3)[order]).dictionary_encode(),
        **{axis: np.arange(60.0)[order] for axis in "xyz"},
    }
    pq.write_table(pa.table(columns), tmp_path / "objects.parquet", row_group_size=7)
    found = read_object_table(tmp_path / "objects.parquet")
    assert {(episode, *sorted(objects)) for episode, objects in found.items()} == {
        (episode, "cup", "red cube") for episode in (0, 5, 9)
    }
    assert found[0]["red cube"].frames.tolist() == list(range(10))
    assert found[0]["red cube"].position_m[:, 1].tolist() == list(range(30, 40))
    assert read_object_table(written(tmp_path)) == {}


def test_lists_in_place_of_names_are_refused(tmp_path):
    place = {axis: [0.0] for axis in "xyz"}
    pq.write_table(
        pa.table({"episode": [0], "frame": [0], "object": [["cup"]], **place}), tmp_path / "a.parquet"
    )
    with pytest.raises(InspireError, match="'object' must hold one value a row; it holds list"):
        read_object_table(tmp_path / "a.parquet")


PLACE = {"x": [1.0, 1.0], "y": [1.0, 1.0], "z": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("episode", [False, True], "'episode' must hold numbers; it holds bool"),
        ("x", pa.array([1, 2], pa.timestamp("s")), "'x' must hold numbers; it holds timestamp"),
        ("frame", [0.0, 1e300], "'frame' must hold whole numbers.*row 2 with 1e[+]300"),
        ("object", [0.0, float("nan")], "'object', row 2, is empty"),
        ("object", [b"cup", b"cup"], "'object' must hold text in UTF-8; it holds binary"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_cells_of_another_type_are_refused(tmp_path, name, values, says):
    columns = {"episode": [0, 0], "frame": [0, 1], "object": ["cup", "cup"], **PLACE} | {name: values}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InspireError, match=says):
        read_object_table(tmp_path / "a.parquet")


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pa.table({"episode": [0, 0], "frame": [0, 1], "object": ["cup", "cup"], **PLACE})
    pq.write_table(table.append_column("x", table["x"]), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("episode,frame,object,x,y,z,x\n0,0,cup,1,1,1,1\n")
    for name, says in (
        ("a.parquet", "Multiple matches"),
        ("a.csv", r"has the columns \['x'\] more than once"),
    ):
        with pytest.raises(InspireError, match=says):
            read_object_table(tmp_path / name)


def test_indices_that_pandas_made_floats_are_indices(tmp_path):
    columns = {"episode": [0, 0], "frame": [0, 1], "object": [0.0, 1.0], **PLACE}
    (tmp_path / "episode=7").mkdir()  # no column of the table
    path = tmp_path / "episode=7" / "a.PARQUET"
    pq.write_table(pa.table(columns), path)
    assert {episode: [*objects] for episode, objects in read_object_table(path).items()} == {0: ["0", "1"]}


def test_names_match_without_case_and_article():
    mentions = ("the red cube", "a plate")
    for name in ("the red cube", "The Red Cube", "red cube", "a red  cube", "0"):
        assert mention_index(name, mentions) == 0
    assert mention_index("Plate", mentions) == 1
    assert [mention_index(name, mentions) for name in ("the red cub", "2", "the", "cube")] == [None] * 4


def test_articles_tell_two_objects_apart():
    mentions = ("a cup", "the cup")
    assert [mention_index(name, mentions) for name in ("a cup", "the cup", "cup")] == [0, 1, None]


def test_a_table_that_is_missing_or_none_is_told_in_one_sentence(tmp_path):
    with pytest.raises(InspireError, match=r"There is no table .*none\.parquet\.$"):
        read_object_table(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet " * 9)
    with pytest.raises(InspireError, match=r"text\.parquet cannot be read .*[^.]\.$"):
        read_object_table(tmp_path / "text.parquet")
