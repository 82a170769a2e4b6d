"""A LeRobot v3 dataset as files: its low-dimensional columns, read and rewritten without its images' codecs."""

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

_IMAGES = ("image", "video")
_NUMBERS = ("float32", "float64", "float16", "int16", "int32", "int64", "int8", "uint8", "bool")


@dataclass(frozen=True)
class LeRobotFiles:
    """Opens `root`. Raises InspireError if it is no LeRobot v3 dataset, saying what is missing."""

    root: Path
    info: dict[str, Any]
    tasks: dict[int, str]

    @classmethod
    def open(cls, root: str | Path) -> "LeRobotFiles":
        root = Path(root)
        file = root / "meta/info.json"
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InspireError(
                f"{root} is no LeRobot dataset: {file.relative_to(root)} is missing."
            ) from None
        except (OSError, ValueError) as error:
            raise InspireError(f"{file} cannot be read as JSON: {error}.") from None
        version = str(info.get("codebase_version", "unknown"))
        if not version.startswith("v3"):
            raise InspireError(
                f"{root} has LeRobot's format {version}, v3 is needed. LeRobot converts it: python -m "
                "lerobot.scripts.convert_dataset_v21_to_v30."
            )
        files = cls(root, info, _tasks(root))
        if not files.data_files():
            raise InspireError(f"{root} holds no data/**/*.parquet.")
        return files

    def data_files(self) -> list[Path]:
        """The parquet files with the frames, in order."""
        return sorted((self.root / "data").glob("**/*.parquet"))

    def number_columns(self) -> tuple[str, ...]:
        """Names of the columns that hold numbers, not images nor LeRobot's bookkeeping."""
        own = ("timestamp", "frame_index", "episode_index", "index", "task_index")
        return tuple(
            name
            for name, feature in self.info["features"].items()
            if feature["dtype"] in _NUMBERS and name not in own
        )

    def names(self) -> dict[str, tuple[str, ...]]:
        """What a column's numbers are called, where the dataset says so."""
        found = {}
        for name, feature in self.info["features"].items():
            names = feature.get("names")
            if isinstance(names, dict):  # {"motors": [...]}
                names = next((value for value in names.values() if isinstance(value, list)), None)
            if isinstance(names, list) and feature["dtype"] not in _IMAGES:
                found[name] = tuple(map(str, names))
        return found

    @property
    def cameras(self) -> tuple[str, ...]:
        """Columns that hold images."""
        return tuple(name for name, f in self.info["features"].items() if f["dtype"] in _IMAGES)


@dataclass(frozen=True)
class Rows:
    """Frames of one data file: columns (N, …), and which episode and task each belongs to."""

    columns: dict[str, NDArray[Any]]
    episode_index: NDArray[np.int64]
    task_index: NDArray[np.int64]

    def episodes(self) -> Iterator[slice]:
        """The rows of each episode."""
        edges = [*self.starts().tolist(), len(self.episode_index)]
        for first, end in itertools.pairwise(edges):
            yield slice(first, end)

    def of_one_task(self, span: slice) -> Iterator[slice]:
        """The stretches of an episode that have one task: LeRobot keeps a task with every frame."""
        changes = span.start + 1 + np.flatnonzero(np.diff(self.task_index[span]))
        for first, end in itertools.pairwise([span.start, *changes.tolist(), span.stop]):
            yield slice(first, end)

    def starts(self) -> NDArray[np.intp]:
        """Rows at which an episode begins."""
        if not len(self.episode_index):
            return np.zeros(0, dtype=np.intp)
        return np.flatnonzero(np.diff(self.episode_index, prepend=self.episode_index[0] - 1))


def read_rows(path: Path, columns: tuple[str, ...]) -> Rows:
    """Read `columns` of one data file. Raises InspireError for a damaged file or a column it lacks."""
    wanted = [*columns, "episode_index", "task_index"]
    try:
        present = pq.read_schema(path).names  # pyarrow calls a file invalid that lacks a column "a.b"
        lacking = [name for name in wanted if name not in present]
        if lacking:
            raise InspireError(f"{path} lacks the columns {lacking}. It has {present}.")
        table = pq.read_table(path, columns=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} is damaged or truncated: {error}.") from None
    found = {name: matrix(table[name]) for name in columns}
    return Rows(found, table["episode_index"].to_numpy(), table["task_index"].to_numpy())


def matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers or of equally long lists → (N,) or (N, n)."""
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
    """(N, n) integers → the column as LeRobot writes it, and its feature for the file's own metadata."""
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
    said: dict[str, pa.Array] | None = None,
) -> None:
    """Write `target`: `source` without the columns `drop`, with `added` (N, n) and `said`; row groups as they were.

    Whole or not at all. `source` is only read.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    made: dict[str, tuple[pa.Array, Any]] = {name: integer_column(codes) for name, codes in added.items()}
    made |= {name: (column, None) for name, column in (said or {}).items()}  # LeRobot knows their features
    with pq.ParquetFile(source) as file:
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
        with pq.ParquetWriter(temporary, schema, compression="snappy") as writer:
            at = 0
            for group in range(file.num_row_groups):
                part = file.read_row_group(group, columns=kept)
                for name, (column, _) in made.items():
                    part = part.append_column(name, column.slice(at, len(part)))
                at += len(part)
                writer.write_table(part.select(schema.names).cast(schema))
    temporary.replace(target)


def _tasks(root: Path) -> dict[int, str]:
    path = root / "meta/tasks.parquet"
    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        raise InspireError(f"{root} has no meta/tasks.parquet: no instruction is known.") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} is damaged: {error}.") from None
    return {row["task_index"]: str(row.get("task", row.get("__index_level_0__"))) for row in rows}
