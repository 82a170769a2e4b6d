"""Columns of parquet files: read with checks, and replaced. A damaged file is an InspireError that names it."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inspire_vla.errors import GO_ON, InspireError, MachineFault, counted, is_machine_fault, reason_of
from inspire_vla.files import atomic_path

_NAMES_SHOWN = 20


_UNREADABLE = (OSError, pa.ArrowException, ValueError, KeyError, TypeError, OverflowError, MemoryError)
"""What pyarrow raises for files that are damaged."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into an error that names it."""
    try:
        yield
    except InspireError:
        raise
    except _UNREADABLE as error:
        if isinstance(error, OSError) and is_machine_fault(error):
            raise MachineFault(f"{path} cannot be read: {reason_of(error)}. {GO_ON}") from None
        raise InspireError(f"{path} is damaged or truncated: {reason_of(error)[:200]}.") from None


def read_table(path: Path, columns: Sequence[str], episode: int | None = None) -> pa.Table:
    """Read columns of a parquet file, of one episode or of all.

    Raises:
        InspireError: the file is damaged, or lacks a column.
    """
    with readable(path):
        present = pq.read_schema(path).names  # pyarrow reports a missing column "a.b" as an invalid file
        missing = [name for name in columns if name not in present]
        if missing:
            more = " …" if len(present) > _NAMES_SHOWN else ""
            raise InspireError(
                f"{path} lacks the columns {missing[:_NAMES_SHOWN]}. It has {present[:_NAMES_SHOWN]}{more}."
            )
        chosen = None if episode is None else [("episode_index", "=", episode)]
        table = pq.read_table(path, columns=list(columns), filters=chosen, partitioning=None)
        table.validate(full=True)
        return table


def number_column(path: Path, table: pa.Table, name: str, shape: Sequence[int] | None = None) -> NDArray[Any]:
    """A column of numbers, (N,) or (N, n).

    Args:
        shape: of a row, as meta/info.json declares it; None: not declared.

    Raises:
        InspireError: it holds something else, or rows of another width.
    """
    with readable(path):
        try:
            values = matrix(table[name])
        except InspireError as error:
            raise InspireError(f"{path}, column {name}: {error}") from None
    width = 1 if values.ndim == 1 else values.shape[1]
    if shape is not None and len(values) and width != math.prod(shape):
        raise InspireError(
            f"{path}: {name} has {counted(width, 'number')} in each frame; meta/info.json says {shape}."
        )
    return values


def integers(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    """A column of integers, (N,). Raises InspireError if it holds something else or has gaps."""
    column = table[name]
    if not pa.types.is_integer(column.type) or column.null_count:
        gaps = f", {column.null_count} of {len(column)} empty" if column.null_count else ""
        raise InspireError(f"{path}: {name} must hold integers, found {column.type}{gaps}.")
    return column.to_numpy().astype(np.int64)


def matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    """Convert a column of numbers or of equally long lists to (N,) or (N, n).

    Raises:
        InspireError: lists that differ in length or are missing, or values that are no numbers.
    """
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    count, width = len(array), 1
    is_list = pa.types.is_nested(array.type)
    while pa.types.is_nested(array.type):
        if pa.types.is_struct(array.type) or pa.types.is_map(array.type) or pa.types.is_union(array.type):
            raise InspireError(f"holds {array.type}, expected numbers.")
        lengths = array.value_lengths().unique()
        if len(lengths) > 1 or array.null_count:
            raise InspireError("its lists differ in length.")
        width *= lengths[0].as_py() if len(lengths) else 0
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "biuf":
        raise InspireError(f"holds {column.type}, expected numbers.")
    return values.reshape(count, width) if is_list else values


def _integer_column(codes: NDArray[np.integer]) -> tuple[pa.Array, dict[str, Any]]:
    """Convert (N, n) integers to a column as LeRobot writes it, and its feature in the parquet file's metadata."""
    flat, width = pa.array(codes.ravel()), codes.shape[1]
    number = {"dtype": str(codes.dtype), "_type": "Value"}
    if width == 1:  # LeRobot writes a column of shape (1,) as plain numbers
        return flat, number
    feature = {"feature": number, "length": width, "_type": "List"}
    return pa.FixedSizeListArray.from_arrays(flat, width), feature


def replace_columns(
    source: Path,
    target: Path,
    drop: list[str],
    added: dict[str, NDArray[np.integer]],
    language: dict[str, pa.Array],
) -> None:
    """Write `target` atomically: `source` with other columns, in the same row groups.

    Args:
        drop: columns of `source` to leave out.
        added: columns of integers (N, n) to add.
        language: language columns to add; LeRobot knows their features.
    """
    made: dict[str, tuple[pa.Array, Any]] = {name: _integer_column(codes) for name, codes in added.items()}
    made |= {name: (column, None) for name, column in language.items()}
    with atomic_path(target) as unfinished, pq.ParquetFile(source) as file:
        kept = [name for name in file.schema_arrow.names if name not in drop and name not in made]
        schema = pa.schema([file.schema_arrow.field(name) for name in kept])
        for name, (column, _) in made.items():
            schema = schema.append(pa.field(name, column.type))
        metadata = dict(file.schema_arrow.metadata or {})
        if b"huggingface" in metadata:
            record = json.loads(metadata[b"huggingface"])
            features = record.setdefault("info", {}).setdefault("features", {})
            for name in (*drop, *made):
                features.pop(name, None)
            features.update({name: feature for name, (_, feature) in made.items() if feature is not None})
            metadata[b"huggingface"] = json.dumps(record).encode()
        schema = schema.with_metadata(metadata)
        with pq.ParquetWriter(unfinished, schema, compression="snappy") as writer:
            first = 0
            for group in range(file.num_row_groups):
                with readable(source):
                    part = file.read_row_group(group, columns=kept)
                for name, (column, _) in made.items():
                    part = part.append_column(name, column.slice(first, len(part)))
                first += len(part)
                writer.write_table(part.select(schema.names).cast(schema))
