"""Columns of parquet files: what is read has the declared form or is refused by file and column; the rest is kept."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inspire_vla.errors import InspireError
from inspire_vla.labels.parquet import integers, matrix, number_column, read_table, replace_columns

COLUMNS = {"index": [0, 1, 2, 3], "state": [[float(i), 2.0 * i] for i in range(4)], "text": list("abcd")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two row groups, with the features that `datasets` keeps in the metadata."""
    record = {"info": {"features": {name: {"dtype": "any"} for name in COLUMNS}}}
    table = pa.table(COLUMNS).replace_schema_metadata({"huggingface": json.dumps(record)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    return tmp_path / "a.parquet"


def test_a_column_has_the_declared_shape_or_is_refused(file: Path) -> None:
    table = read_table(file, ["index", "state"])
    np.testing.assert_array_equal(number_column(file, table, "state", [2]), COLUMNS["state"])
    np.testing.assert_array_equal(integers(file, table, "index"), COLUMNS["index"])
    with pytest.raises(InspireError, match=r"a\.parquet: state has 2 numbers in each frame; .* says \[3\]"):
        number_column(file, table, "state", [3])
    with pytest.raises(InspireError, match="state must hold integers"):
        integers(file, table, "state")
    with pytest.raises(
        InspireError, match=r"lacks the columns \['goal'\]\. It has \['index', 'state', 'text'\]"
    ):
        read_table(file, ["goal"])
    with pytest.raises(InspireError, match=r"a\.parquet, column text: holds string, expected numbers"):
        number_column(file, read_table(file, ["text"]), "text")


def test_lists_of_different_length_are_no_matrix() -> None:
    assert matrix(pa.chunked_array([[[1, 2]], [[3, 4]]])).tolist() == [[1, 2], [3, 4]]
    assert matrix(pa.chunked_array([[[[1], [2]]]])).tolist() == [[1, 2]]
    for column in ([[1, 2], [3]], [[1, 2], None]):
        with pytest.raises(InspireError, match="differ in length"):
            matrix(pa.chunked_array([column]))


def test_a_damaged_file_is_named(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InspireError, match=r"a\.parquet is damaged or truncated"):
        read_table(file, ["index"])


def test_replaced_columns_leave_the_others_and_the_row_groups_as_they_are(file: Path, tmp_path: Path) -> None:
    codes = np.arange(8, dtype=np.int16).reshape(4, 2)
    replace_columns(file, tmp_path / "b.parquet", ["text"], {"codes": codes, "index": codes[:, :1]}, {})
    new = pq.ParquetFile(tmp_path / "b.parquet")
    assert new.num_row_groups == 2
    table = new.read()
    assert table.column_names == ["state", "codes", "index"]
    assert table["state"].to_pylist() == COLUMNS["state"]
    np.testing.assert_array_equal(matrix(table["codes"]), codes)
    assert table["index"].to_pylist() == [0, 2, 4, 6]  # LeRobot writes one number a row plainly
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert set(features) == {"state", "codes", "index"}
    assert features["codes"] == {
        "feature": {"dtype": "int16", "_type": "Value"},
        "length": 2,
        "_type": "List",
    }
