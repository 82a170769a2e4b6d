"""A table of object positions, read and checked cell by cell.

episode,frame,object,x,y,z[,grasped]         object: a mention, or its number in the instruction
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

from inspire_vla.errors import InspireError

_COLUMNS = ("episode", "frame", "object", "x", "y", "z")
_ARTICLES = ("the", "a", "an")
_GRASPED = {"": False, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


@dataclass(frozen=True)
class ObjectRows:
    """One object in one episode, in order of frame. position_m: (n, 3), base frame, NaN where the cell is empty."""

    frames: NDArray[np.int64]
    position_m: NDArray[np.float64]
    grasped: NDArray[np.bool_]


def read_object_table(path: Path) -> dict[int, dict[str, ObjectRows]]:
    """Read parquet or CSV: episode → object → rows. Raises InspireError: unreadable, or a cell that cannot be meant."""
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pc.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} cannot be read as parquet or CSV: {error}.") from None
    lacking = [name for name in _COLUMNS if name not in table.column_names]
    if lacking:
        raise InspireError(f"{path} lacks the columns {lacking}. It has {table.column_names}.")
    position = np.column_stack([_numbers(path, table, axis) for axis in "xyz"])
    episodes, frames = _counts(path, table, "episode"), _counts(path, table, "frame")
    grasped = _grasped(path, table)
    found: dict[tuple[int, str], list[int]] = {}
    for i, key in enumerate(zip(episodes.tolist(), _objects(path, table), strict=True)):
        found.setdefault(key, []).append(i)
    rows: dict[int, dict[str, ObjectRows]] = {}
    for (episode, name), numbered in found.items():
        order = np.array(numbered)[np.argsort(frames[numbered], kind="stable")]
        rows.setdefault(episode, {})[name] = ObjectRows(frames[order], position[order], grasped[order])
    return rows


def mention_of(name: str, mentions: Sequence[str]) -> int | None:
    """Number of the mention that a table's `name` is: the same words, its number, or but for case and article."""
    if name in mentions:
        return mentions.index(name)
    if name.isdecimal():
        return int(name) if int(name) < len(mentions) else None
    alike = [i for i, mention in enumerate(mentions) if bare(mention) == bare(name)]
    return alike[0] if len(alike) == 1 else None  # "cup" is neither of "a cup" and "the cup"


def bare(name: str) -> str:
    """ "The Red  Cube" → "red cube"."""
    words = name.casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in _ARTICLES else words)


def _numbers(path: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    values = table[name].to_numpy(zero_copy_only=False)
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise InspireError(
            f"{path}: column {name!r} must hold numbers; it holds {table[name].type}, as in {values[0]!r}."
        ) from None


def _counts(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    numbers = _numbers(path, table, name)
    wrong = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.round(numbers)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InspireError(
            f"{path}: column {name!r} must hold whole numbers, counted from 0; {int(wrong.sum())} rows do not, the "
            f"first is row {row + 1} with {_shown(table, name, row)}."
        )
    return numbers.astype(np.int64)


def _grasped(path: Path, table: pa.Table) -> NDArray[np.bool_]:
    if "grasped" not in table.column_names:
        return np.zeros(len(table), dtype=bool)
    cells = ["" if value is None or value != value else str(value) for value in table["grasped"].to_pylist()]
    known = [_GRASPED.get(cell.strip().lower()) for cell in cells]
    if None in known:
        row = known.index(None)
        raise InspireError(
            f"{path}: column 'grasped', row {row + 1}, holds {cells[row]!r}. "
            "Possible: 1 or true, 0 or false; empty is not grasped."
        )
    return np.array(known, dtype=bool)


def _objects(path: Path, table: pa.Table) -> list[str]:
    names = [" ".join(str("" if value is None else value).split()) for value in table["object"].to_pylist()]
    if "" in names:
        raise InspireError(
            f"{path}: column 'object', row {names.index('') + 1}, is empty. "
            "Possible: the words of the instruction, or the object's number in it."
        )
    return names


def _shown(table: pa.Table, name: str, row: int) -> str:
    value = table[name][row].as_py()
    return "an empty cell" if value is None else repr(value)
