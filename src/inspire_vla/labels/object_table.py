"""A table of object positions, as a user writes it.

episode,frame,object,x,y,z[,grasped]         object: a mention, or its index in the instruction
0,0,the red cube,0.51,0.20,0.02,0            metres, robot base frame
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted, reason_of


@dataclass(frozen=True)
class ObjectRows:
    """One object in one episode: n rows in order of frame.

    frames: (n,). position_m: (n, 3) base frame, NaN where a cell is empty. grasped: (n,).
    """

    frames: NDArray[np.int64]
    position_m: NDArray[np.float64]
    grasped: NDArray[np.bool_]


_COLUMNS = ("episode", "frame", "object", "x", "y", "z")
_LARGEST = 2**53
"""Of the whole numbers that a float holds."""
_ARTICLES = ("the", "a", "an")
_GRASPED = {"": False, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def read_object_table(path: Path) -> dict[int, dict[str, ObjectRows]]:
    """Read a parquet or CSV table: episode → object → rows.

    Raises:
        InspireError: the file cannot be read, a column is missing, or a cell has an impossible value.
    """
    if not path.is_file():
        raise InspireError(f"There is no table {path}.")
    try:
        is_parquet = path.suffix.lower() == ".parquet"
        table = pq.read_table(path, partitioning=None) if is_parquet else pc.read_csv(path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InspireError(f"{path} cannot be read as parquet or CSV: {reason_of(error)}.") from None
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise InspireError(f"{path} lacks the columns {missing}. It has {table.column_names}.")
    if repeated := [name for name in (*_COLUMNS, "grasped") if table.column_names.count(name) > 1]:
        raise InspireError(f"{path} has the columns {repeated} more than once. It has {table.column_names}.")
    if not len(table):
        return {}
    position = np.column_stack([_numbers(path, table, axis) for axis in "xyz"])
    episodes, frames = _counts(path, table, "episode"), _counts(path, table, "frame")
    grasped = _grasped(path, table)
    objects, names = _objects(path, table)
    order = np.lexsort((frames, objects, episodes))
    first, second = order[:-1], order[1:]
    same_object = (episodes[first] == episodes[second]) & (objects[first] == objects[second])
    # an object is in one place in each frame; a row that is there twice is one row
    twice = np.flatnonzero(same_object & (frames[first] == frames[second]))
    cells = np.column_stack([position, grasped])
    alike = np.isclose(cells[first[twice]], cells[second[twice]], rtol=0, atol=1e-6, equal_nan=True)
    for i in twice[~alike.all(axis=1)][:1]:
        raise InspireError(
            f"{path}: rows {first[i] + 1} and {second[i] + 1} give {names[objects[first[i]]]!r} two places in frame "
            f"{frames[first[i]]}. If these are two objects, each needs a name of its own."
        )
    rows: dict[int, dict[str, ObjectRows]] = {}
    for found in np.split(order, np.flatnonzero(~same_object) + 1):
        of_episode = rows.setdefault(int(episodes[found[0]]), {})
        of_episode[names[objects[found[0]]]] = ObjectRows(frames[found], position[found], grasped[found])
    return rows


def mention_index(name: str, mentions: Sequence[str]) -> int | None:
    """Index of the mention that `name` in a table stands for.

    The name is the mention itself, or its index, or equal to exactly one mention without case and article.
    """
    if name in mentions:
        return mentions.index(name)
    if name.isdecimal():
        return int(name) if int(name) < len(mentions) else None
    alike = [i for i, mention in enumerate(mentions) if plain_name(mention) == plain_name(name)]
    return alike[0] if len(alike) == 1 else None  # "cup" may be "a cup" or "the cup"


def plain_name(name: str) -> str:
    """A name without case, article and double spaces: "The Red  Cube" → "red cube"."""
    words = name.casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in _ARTICLES else words)


def _numbers(path: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of numbers, (n,). Raises InspireError where it holds something else."""
    values, kind = table[name].to_numpy(zero_copy_only=False), table[name].type
    try:
        if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
            raise TypeError
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise InspireError(
            f"{path}: column {name!r} must hold numbers; it holds {kind}, as in {values[0]!r}."
        ) from None


def _counts(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    """A column of whole numbers from 0, (n,). Raises InspireError that names the first other cell."""
    numbers = _numbers(path, table, name)
    wrong = ~((numbers >= 0) & (numbers <= _LARGEST) & (numbers == np.round(numbers)))  # of NaN too
    if wrong.any():
        row = int(np.argmax(wrong))
        cell = table[name][row].as_py()
        raise InspireError(
            f"{path}: column {name!r} must hold whole numbers, counted from 0; "
            f"{counted(int(wrong.sum()), 'row does', 'rows do')} not, the "
            f"first is row {row + 1} with {'an empty cell' if cell is None else repr(cell)}."
        )
    return numbers.astype(np.int64)


def _grasped(path: Path, table: pa.Table) -> NDArray[np.bool_]:
    """Whether the object of each row is grasped, (n,); without the column, nothing is."""
    if "grasped" not in table.column_names:
        return np.zeros(len(table), dtype=bool)
    numbers, values = _distinct(path, table, "grasped")
    cells = ["" if value is None or value != value else str(value) for value in values]
    grasped = [_GRASPED.get(cell.strip().lower()) for cell in cells]
    wrong = np.array([value is None for value in grasped], dtype=bool)[numbers]
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InspireError(
            f"{path}: column 'grasped', row {row + 1}, holds {cells[numbers[row]]!r}. "
            "Possible: 1 or true, 0 or false; empty is not grasped."
        )
    return np.array(grasped, dtype=bool)[numbers]


def _objects(path: Path, table: pa.Table) -> tuple[NDArray[np.intp], list[str]]:
    """The number of each row's object, (n,), and the objects' names. Raises InspireError for an empty cell."""
    numbers, values = _distinct(path, table, "object")
    names = [_name(value) for value in values]
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    objects = np.array([known[name] for name in names], dtype=np.intp)[numbers]
    empty = objects == known.get("", -1)
    if empty.any():
        raise InspireError(
            f"{path}: column 'object', row {int(np.argmax(empty)) + 1}, is empty. "
            "Possible: the words of the instruction, or the object's number in it."
        )
    return objects, list(known)


def _name(value: Any) -> str:
    """The name of an object in a cell, "" in an empty one. pandas writes a column of indices with gaps as 0.0, 1.0."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split())


def _distinct(path: Path, table: pa.Table, name: str) -> tuple[NDArray[np.intp], list[Any]]:
    """A column as the number of each row's value, (n,), and its different values. A table may have millions of rows."""
    column = table[name]
    if pa.types.is_nested(column.type):
        raise InspireError(f"{path}: column {name!r} must hold one value a row; it holds {column.type}.")
    if pa.types.is_binary(column.type):  # a CSV file in another encoding
        raise InspireError(f"{path}: column {name!r} must hold text in UTF-8; it holds {column.type}.")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.dictionary_encode("encode").combine_chunks()
    return encoded.indices.to_numpy().astype(np.intp), encoded.dictionary.to_pylist()
