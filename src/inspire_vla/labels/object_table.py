"""A table of object positions, as a user writes it.

episode,frame,object,x,y,z[,grasped]         object: a mention, or its index in the instruction
0,0,the red cube,0.51,0.20,0.02,0            metres, robot base frame
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
        table = pq.read_table(path) if path.suffix == ".parquet" else pc.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} cannot be read as parquet or CSV: {reason_of(error)}.") from None
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise InspireError(f"{path} lacks the columns {missing}. It has {table.column_names}.")
    position = np.column_stack([_numbers(path, table, axis) for axis in "xyz"])
    episodes, frames = _counts(path, table, "episode"), _counts(path, table, "frame")
    grasped = _grasped(path, table)
    row_numbers: dict[tuple[int, str], list[int]] = {}
    for i, key in enumerate(zip(episodes.tolist(), _objects(path, table), strict=True)):
        row_numbers.setdefault(key, []).append(i)
    rows: dict[int, dict[str, ObjectRows]] = {}
    for (episode, name), numbers in row_numbers.items():
        order = np.array(numbers)[np.argsort(frames[numbers], kind="stable")]
        _refuse_two_places(path, order, frames, np.column_stack([position, grasped]), name)
        rows.setdefault(episode, {})[name] = ObjectRows(frames[order], position[order], grasped[order])
    return rows


def _refuse_two_places(
    path: Path, rows: NDArray[np.intp], frames: NDArray[np.int64], cells: NDArray[np.float64], name: str
) -> None:
    """Refuse an object that is in two places at once. rows: of one object in one episode, in order of frame.

    A row that is there twice is one row.
    """
    first, second = rows[:-1], rows[1:]
    differ = ~np.isclose(cells[first], cells[second], rtol=0, atol=1e-6, equal_nan=True).all(axis=1)
    for i in np.flatnonzero((frames[first] == frames[second]) & differ)[:1]:
        raise InspireError(
            f"{path}: rows {first[i] + 1} and {second[i] + 1} give {name!r} two places in frame {frames[first[i]]}. If "
            "these are two objects, each needs a name of its own."
        )


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
    values = table[name].to_numpy(zero_copy_only=False)
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise InspireError(
            f"{path}: column {name!r} must hold numbers; it holds {table[name].type}, as in {values[0]!r}."
        ) from None


def _counts(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    """A column of whole numbers from 0, (n,). Raises InspireError that names the first other cell."""
    numbers = _numbers(path, table, name)
    wrong = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.round(numbers)))
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
    cells = ["" if value is None or value != value else str(value) for value in table["grasped"].to_pylist()]
    grasped = [_GRASPED.get(cell.strip().lower()) for cell in cells]
    if None in grasped:
        row = grasped.index(None)
        raise InspireError(
            f"{path}: column 'grasped', row {row + 1}, holds {cells[row]!r}. "
            "Possible: 1 or true, 0 or false; empty is not grasped."
        )
    return np.array(grasped, dtype=bool)


def _objects(path: Path, table: pa.Table) -> list[str]:
    """The name of each row's object. Raises InspireError for an empty cell."""
    names = [" ".join(str("" if value is None else value).split()) for value in table["object"].to_pylist()]
    if "" in names:
        raise InspireError(
            f"{path}: column 'object', row {names.index('') + 1}, is empty. "
            "Possible: the words of the instruction, or the object's number in it."
        )
    return names
