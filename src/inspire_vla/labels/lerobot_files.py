"""The files of a LeRobot v3 dataset. Reads and rewrites low-dimensional columns without decoding images."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.files import atomic_path, read_json

_IMAGES = ("image", "video")
_NUMBERS = ("float32", "float64", "float16", "int16", "int32", "int64", "int8", "uint8", "bool")


@dataclass(frozen=True)
class LeRobotFiles:
    """A dataset's folder. info: content of meta/info.json. tasks: task index → instruction."""

    root: Path
    info: dict[str, Any]
    tasks: dict[int, str]

    @classmethod
    def open(cls, root: str | Path) -> "LeRobotFiles":
        """Open a folder. Raises InspireError if it is no LeRobot v3 dataset; the message says what is missing."""
        root = Path(root)
        file = root / "meta/info.json"
        if not file.is_file():
            raise InspireError(f"{root} is no LeRobot dataset: {file.relative_to(root)} is missing.")
        info = read_json(file, dict[str, Any])
        version = str(info.get("codebase_version", "unknown"))
        if not version.startswith("v3"):
            raise InspireError(
                f"{root} has LeRobot's format {version}, v3 is needed. LeRobot converts it: python -m "
                "lerobot.scripts.convert_dataset_v21_to_v30."
            )
        files = cls(root, info, _read_tasks(root))
        if not files.data_files():
            raise InspireError(f"{root} holds no data/**/*.parquet.")
        return files

    def data_files(self) -> list[Path]:
        """The parquet files of the frames, in order."""
        return sorted((self.root / "data").glob("**/*.parquet"))

    def number_columns(self) -> tuple[str, ...]:
        """Names of the columns that hold numbers, without images and LeRobot's indices."""
        indices = ("timestamp", "frame_index", "episode_index", "index", "task_index")
        return tuple(
            name
            for name, feature in self.info["features"].items()
            if feature["dtype"] in _NUMBERS and name not in indices
        )

    def names(self) -> dict[str, tuple[str, ...]]:
        """Column → names of its values, where the dataset has one name for each value."""
        found = {}
        for column, feature in self.info["features"].items():
            names = _flat_names(feature.get("names"))
            size = int(np.prod(feature.get("shape") or (1,)))
            if feature["dtype"] not in _IMAGES and len(names) == size:
                found[column] = names
        return found

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the columns that hold images."""
        return tuple(name for name, f in self.info["features"].items() if f["dtype"] in _IMAGES)


@dataclass(frozen=True)
class Rows:
    """N frames of one data file: columns (N, …), episode_index (N,) and task_index (N,)."""

    columns: dict[str, NDArray[Any]]
    episode_index: NDArray[np.int64]
    task_index: NDArray[np.int64]

    def episodes(self) -> Iterator[slice]:
        """The rows of each episode."""
        edges = [*self.starts().tolist(), len(self.episode_index)]
        for first, end in itertools.pairwise(edges):
            yield slice(first, end)

    def of_one_task(self, span: slice) -> Iterator[slice]:
        """Cut an episode's rows where the task changes: LeRobot stores a task with every frame."""
        changes = span.start + 1 + np.flatnonzero(np.diff(self.task_index[span]))
        for first, end in itertools.pairwise([span.start, *changes.tolist(), span.stop]):
            yield slice(first, end)

    def starts(self) -> NDArray[np.intp]:
        """Rows at which an episode begins, (E,)."""
        if not len(self.episode_index):
            return np.zeros(0, dtype=np.intp)
        return np.flatnonzero(np.diff(self.episode_index, prepend=self.episode_index[0] - 1))


def read_rows(path: Path, columns: tuple[str, ...]) -> Rows:
    """Read `columns` of one data file. Raises InspireError if the file is damaged or lacks a column."""
    names = [*columns, "episode_index", "task_index"]
    try:
        present = pq.read_schema(path).names  # pyarrow reports a missing column "a.b" as an invalid file
        missing = [name for name in names if name not in present]
        if missing:
            raise InspireError(f"{path} lacks the columns {missing}. It has {present}.")
        table = pq.read_table(path, columns=names)
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} is damaged or truncated: {error}.") from None
    found = {name: matrix(table[name]) for name in columns}
    return Rows(found, table["episode_index"].to_numpy(), table["task_index"].to_numpy())


def matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    """Convert a column of numbers or of equally long lists to (N,) or (N, n)."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    shape = [len(array)]
    while pa.types.is_nested(array.type):
        flat = array.flatten()
        if shape[-1] and len(flat) % len(array):
            raise InspireError("a column's lists differ in length.")
        shape.append(len(flat) // len(array) if len(array) else 0)
        array = flat
    values = array.to_numpy(zero_copy_only=False)
    return values.reshape(shape[0], -1) if len(shape) > 1 else values


def integer_column(codes: NDArray[np.integer]) -> tuple[pa.Array, dict[str, Any]]:
    """Convert (N, n) integers to a column as LeRobot writes it, and its feature in the parquet file's metadata."""
    width = codes.shape[1]
    flat = pa.array(codes.ravel())
    number = {"dtype": str(codes.dtype), "_type": "Value"}
    if width == 1:  # LeRobot writes a column of shape (1,) as plain numbers
        return flat, number
    return pa.FixedSizeListArray.from_arrays(flat, width), {
        "feature": number,
        "length": width,
        "_type": "List",
    }


def replace_columns(
    source: Path,
    target: Path,
    drop: list[str],
    added: dict[str, NDArray[np.integer]],
    language: dict[str, pa.Array] | None = None,
) -> None:
    """Write `target` atomically: `source` with other columns, in the same row groups.

    Args:
        drop: columns of `source` to leave out.
        added: columns of integers (N, n) to add.
        language: language columns to add.
    """
    made: dict[str, tuple[pa.Array, Any]] = {name: integer_column(codes) for name, codes in added.items()}
    made |= {
        name: (column, None) for name, column in (language or {}).items()
    }  # LeRobot knows their features
    with atomic_path(target) as partial, pq.ParquetFile(source) as file:
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
        with pq.ParquetWriter(partial, schema, compression="snappy") as writer:
            first = 0
            for group in range(file.num_row_groups):
                part = file.read_row_group(group, columns=kept)
                for name, (column, _) in made.items():
                    part = part.append_column(name, column.slice(first, len(part)))
                first += len(part)
                writer.write_table(part.select(schema.names).cast(schema))


def _flat_names(names: Any) -> tuple[str, ...]:
    """Return the names in order: of a list, nested lists, {"motors": […]}, or {name: index}."""
    if isinstance(names, dict):
        if names and all(isinstance(index, int) for index in names.values()):
            return tuple(str(name) for name in sorted(names, key=names.__getitem__))
        return tuple(name for part in names.values() for name in _flat_names(part))
    if isinstance(names, (list, tuple)):
        return tuple(name for part in names for name in _flat_names(part))
    return () if names is None else (str(names),)


def _read_tasks(root: Path) -> dict[int, str]:
    path = root / "meta/tasks.parquet"
    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        raise InspireError(f"{root} has no meta/tasks.parquet: no instruction is known.") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} is damaged: {error}.") from None
    return {row["task_index"]: str(row.get("task", row.get("__index_level_0__"))) for row in rows}
