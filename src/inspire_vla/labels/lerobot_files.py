"""The files of a LeRobot v3 dataset. Reads and rewrites low-dimensional columns without decoding images.

Every file of a dataset is read here, and checked where it is read: a damaged or incomplete dataset is an InspireError
that names the file. Folders inside a dataset may be symbolic links.
"""

import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError, counted, reason_of
from inspire_vla.files import (
    atomic_path,
    describe,
    file_sha256,
    files_below,
    json_sha256,
    media_sha256,
    read_json,
)

MAX_INSTRUCTION_BYTES = 4096
"""Longer instructions are refused: reading the objects in one takes time that grows with its length."""
_IMAGES = ("image", "video")
_NUMBERS = ("float32", "float64", "float16", "int16", "int32", "int64", "int8", "uint8", "bool")
_VIDEO_PATH = re.compile(r"(?:[^{}]|\{(?:video_key|chunk_index|file_index)(?::0?\d{1,2}d)?\})+")
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NAMES_SHOWN = 20
_SILENT_S = 2.0
"""A check that takes longer shows its progress."""
_VERSION = "v3.0"
"""LeRobot's format, and the hub's tag of datasets in it."""
_CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30"
_Count = Annotated[int, Field(ge=1)]


def find_dataset(dataset: str | Path) -> Path:
    """Return the folder of a dataset.

    Args:
        dataset: a folder; or "user/name", where there is no folder "user" here: a dataset in LeRobot's cache
            ($HF_LEROBOT_HOME), or else one of the hub, which is downloaded into that cache.

    Raises:
        InspireError: a name that is neither a folder here nor in the cache nor reachable on the hub.
    """
    folder, name = Path(dataset), str(dataset)
    if folder.exists() or not _REPO_ID.fullmatch(name) or Path(folder.parts[0]).is_dir():
        return folder
    local = lerobot_home() / name
    if (local / "meta/info.json").is_file():
        return local
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    download = partial(
        snapshot_download, name, repo_type="dataset", revision=_VERSION, cache_dir=lerobot_home() / "hub"
    )
    try:
        return LeRobotFiles.open(download(local_files_only=True)).root
    except (OSError, ValueError):  # not there, or not all of it
        pass
    try:  # not by LeRobot's get_safe_version, because LeRobot takes many seconds to load
        tags = {tag.name for tag in HfApi().list_repo_refs(name, repo_type="dataset").tags}
        if _VERSION in tags:
            return Path(download())
    except Exception as error:  # of the hub, or of the network
        reason = reason_of(error)
        if isinstance(error, RepositoryNotFoundError):
            reason = "there is none of this name, or it is private"
        raise InspireError(
            f"There is no folder {name} here, no dataset {local}, and {name} cannot be had from the hub ({reason})."
        ) from None
    if any(re.fullmatch(r"v[12]\.\d+", tag) for tag in tags):
        raise InspireError(
            f"The dataset {name} on the hub has an older format than LeRobot's {_VERSION}. This command downloads and "
            f"converts it, and sends nothing to the hub: {_CONVERTER} --repo-id={name} --push-to-hub=false"
        )
    raise InspireError(
        f"The dataset {name} on the hub has no tag {_VERSION}, which LeRobot gives to datasets of that format; its "
        f"tags: {sorted(tags)}."
    )


def lerobot_home() -> Path:
    """LeRobot's cache: the datasets recorded on this machine, and below hub/ those of the hub."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("HF_LEROBOT_HOME") or Path(HF_HOME) / "lerobot").expanduser()


@dataclass
class _Feature:
    dtype: str
    shape: list[Annotated[int, Field(ge=0)]]
    names: Any = None


@dataclass
class _Info:
    """What is needed of meta/info.json."""

    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    total_episodes: _Count
    total_frames: _Count
    features: dict[str, _Feature]
    video_path: str | None = None


@dataclass(frozen=True)
class LeRobotFiles:
    """A dataset's folder.

    info: content of meta/info.json. tasks: task index → instruction. stats: content of meta/stats.json.
    """

    root: Path
    info: dict[str, Any]
    tasks: dict[int, str]
    stats: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, root: str | Path) -> "LeRobotFiles":
        """Open a folder. Nothing is ever downloaded into it.

        Raises:
            InspireError: it is no LeRobot v3 dataset, or it is damaged or incomplete; the message says what is missing.
        """
        root = Path(root)
        file = root / "meta/info.json"
        if not file.is_file():
            found = f"{file.relative_to(root)} is missing" if root.is_dir() else "there is no such folder"
            raise InspireError(f"{root} is no LeRobot dataset: {found}.")
        info = read_json(file, dict[str, Any])
        _check_version(root, info)
        if info.get("total_episodes") == 0:
            raise InspireError(
                f"{root} holds no episode: meta/info.json says total_episodes 0. Nothing was recorded, or no episode "
                "was saved."
            )
        try:
            TypeAdapter(_Info).validate_python(info)
        except ValidationError as error:
            raise InspireError(f"{file} {describe(error)}") from None
        path = root / "meta/stats.json"
        stats = read_json(path, dict[str, dict[str, Any]]) if path.exists() else {}
        files = cls(root, info, _read_tasks(root), stats)
        files._check_complete()
        return files

    def _check_complete(self) -> None:
        """Compare meta/info.json with the files that are there.

        LeRobot asks the hub for whatever a dataset lacks, by a name that need not be this dataset's, and writes the
        answer over files of this folder. So an incomplete dataset must not reach it.
        """
        stated, rows = self.info["total_frames"], 0
        for path in self.data_files():
            with _readable(path):
                rows += pq.read_metadata(path).num_rows
        if rows != stated:
            files = f"the {counted(len(self.data_files()), 'file')} of data/"
            raise self._incomplete(
                f"meta/info.json says {counted(stated, 'frame')}, and {rows} are in {files}"
            )
        episodes: list[int] = []
        films: set[Path] = set()
        for path in self.episode_files():
            places = {
                name: [f"videos/{name}/{number}_index" for number in ("chunk", "file")]
                for name in self._videos
            }
            table = read_table(path, ["episode_index", *itertools.chain(*places.values())])
            episodes += integers(path, table, "episode_index").tolist()
            for name, columns in places.items():
                numbers = [integers(path, table, column).tolist() for column in columns]
                films |= {self.video_file(name, *place) for place in set(zip(*numbers, strict=True))}
        stated = self.info["total_episodes"]
        if len(episodes) != stated or sorted(episodes) != list(range(len(episodes))):
            raise self._incomplete(
                f"meta/info.json says {counted(stated, 'episode')}, the files of meta/episodes/ list {len(episodes)}"
            )
        missing = sorted(film.relative_to(self.root).as_posix() for film in films if not film.is_file())
        if missing:
            raise self._incomplete(
                f"{len(missing)} of {counted(len(films), 'video')} missing, such as {missing[:3]}"
            )

    def _incomplete(self, what: str) -> InspireError:
        return InspireError(
            f"{self.root} is incomplete: {what}. Copy the missing or damaged files into it, or download the dataset "
            "again; nothing is fetched into this folder."
        )

    def check_videos(self, episodes: Collection[int] | None = None) -> None:
        """Check that the videos of these episodes, or of all, are whole: see `defect_of`. Nothing is decoded.

        Raises:
            InspireError: names the first videos that are truncated or damaged, with the episode.
        """
        if not self._videos:
            return
        from inspire_vla.labels.video import defect_of

        films = self._episodes_in_videos(episodes)
        frame_s = 1 / float(self.info["fps"])
        bar = tqdm(sorted(films.items()), desc="checking videos", unit="file", delay=_SILENT_S)
        found: list[str] = []
        for path, spans in bar:
            for first_s, last_s in _joined(spans, frame_s):
                if defect := defect_of(path, first_s, last_s, frame_s):
                    what, time_s = defect
                    episode = next((e for _, end_s, e in spans if time_s < end_s + frame_s / 2), spans[-1][2])
                    found.append(f"{path.relative_to(self.root).as_posix()} ({what}, in episode {episode})")
                    break
        if found:
            listed = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
            raise self._incomplete(f"truncated or damaged videos, {len(found)} of {len(films)}: {listed}")

    def _episodes_in_videos(
        self, episodes: Collection[int] | None
    ) -> dict[Path, list[tuple[float, float, int]]]:
        """File of a video → of each of these episodes the times of its first and last frame in it, and its number."""
        films: dict[Path, list[tuple[float, float, int]]] = {}
        for path in self.episode_files():
            places = {
                name: [f"videos/{name}/{end}" for end in ("chunk_index", "file_index", "from_timestamp")]
                for name in self._videos
            }
            table = read_table(path, ["episode_index", "length", *itertools.chain(*places.values())])
            numbers, lengths = integers(path, table, "episode_index"), integers(path, table, "length")
            chosen = np.ones(len(numbers), bool) if episodes is None else np.isin(numbers, list(episodes))
            after_first_s = (lengths[chosen] - 1) / float(self.info["fps"])
            for name, (chunk, file, begin) in places.items():
                chunks, files = (integers(path, table, column)[chosen] for column in (chunk, file))
                first_s = _values(path, table, begin, None)[chosen].astype(float)
                spans = zip(first_s, first_s + after_first_s, numbers[chosen], strict=True)
                for *place, (start, end, episode) in zip(chunks.tolist(), files.tolist(), spans, strict=True):
                    film = films.setdefault(self.video_file(name, *place), [])
                    film.append((float(start), float(end), int(episode)))
        return {film: sorted(spans) for film, spans in films.items()}

    @property
    def _videos(self) -> list[str]:
        return [name for name, feature in self.info["features"].items() if feature["dtype"] == "video"]

    def video_file(self, camera: str, chunk: int, file: int) -> Path:
        """The file that holds some episodes' video of one camera."""
        pattern = self.info.get("video_path") or ""
        if not _VIDEO_PATH.fullmatch(pattern) or ".." in pattern or os.path.isabs(pattern):
            raise InspireError(
                f"{self.root}: video_path in meta/info.json must be a path with {{video_key}}, {{chunk_index}} and "
                f"{{file_index}}, found {pattern[:80]!r}."
            )
        return self.root / pattern.format(video_key=camera, chunk_index=chunk, file_index=file)

    def episode_files(self) -> list[Path]:
        """The parquet files of meta/episodes/, in order."""
        return sorted((self.root / "meta/episodes").glob("*/*.parquet"))

    def check_cameras(self) -> None:
        """Raise InspireError for a camera that LeRobot cannot make a policy's feature of."""
        for name in self.cameras:
            shape, axes = self.info["features"][name]["shape"], self.info["features"][name].get("names")
            if len(shape) != 3 or not isinstance(axes, list) or len(axes) != 3:
                raise InspireError(
                    f"{self.root}: the image {name} must have three axes with names, as LeRobot writes them (height, "
                    f"width, channels); meta/info.json says shape {shape}, names {axes}."
                )

    def content_sha256(self) -> str:
        """Return a hash of all files of the dataset, and of where they lie in its folder. Hidden files do not count.

        Of videos and images only the size, the first and the last bytes count, so that large datasets are quick.
        """
        digests = {}
        for path in files_below(self.root):
            name = path.relative_to(self.root).as_posix()
            if not re.search(r"(^|/)\.", name):
                is_media = name.startswith(("videos/", "images/"))
                digests[name] = media_sha256(path) if is_media else file_sha256(path)
        return json_sha256(digests)

    def instruction(self, task: int) -> str:
        """The instruction of a task index. Raises InspireError for an index that meta/tasks.parquet lacks."""
        if task not in self.tasks:
            raise InspireError(
                f"{self.root}: some frames have the task {task}, which meta/tasks.parquet lacks; it has "
                f"{sorted(self.tasks)[:9]}."
            )
        return self.tasks[task]

    def frames_by_instruction(self) -> dict[str, str]:
        """Instruction → SHA-256 of the frames that have it: their episodes, and how many frames in a row of each.

        This tells whether instructions were modified or episodes renumbered.
        """
        runs: dict[str, list[tuple[int, int]]] = {}
        previous = None
        for segment, _ in self.segments():
            of_text, frames = runs.setdefault(segment.instruction, []), len(segment)
            if previous == (segment.instruction, segment.episode):  # goes on in the next file
                frames += of_text.pop()[1]
            of_text.append((segment.episode, frames))
            previous = segment.instruction, segment.episode
        return {text: json_sha256(frames) for text, frames in runs.items()}

    def segments(
        self, columns: Sequence[str] = (), path: Path | None = None
    ) -> Iterator[tuple["Segment", dict[str, NDArray[Any]]]]:
        """Yield the frames of each episode, cut where the instruction changes, with their columns (T, …).

        path: of one data file; None reads all, in order.
        """
        for file in self.data_files() if path is None else [path]:
            rows = self.read(file, columns)
            for span in rows.episodes():
                for part, run in enumerate(rows.of_one_task(span)):
                    episode, instruction = (
                        int(rows.episode_index[span.start]),
                        int(rows.task_index[run.start]),
                    )
                    yield (
                        Segment(
                            episode, part, self.instruction(instruction), file, run, run.start - span.start
                        ),
                        {name: values[run] for name, values in rows.columns.items()},
                    )

    def read(self, path: Path, columns: Sequence[str]) -> "Rows":
        """Read `columns` of one data file.

        Raises:
            InspireError: the file is damaged or lacks a column, or a column has another width than meta/info.json says.
        """
        table, features = read_table(path, [*columns, "episode_index", "task_index"]), self.info["features"]
        values = {name: _values(path, table, name, features.get(name)) for name in columns}
        return Rows(values, integers(path, table, "episode_index"), integers(path, table, "task_index"))

    def column(self, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """A column of numbers of the whole dataset, (N, n), and the episode of each row, (N,)."""
        parts = [self.read(path, (name,)) for path in self.data_files()]
        values = [part.columns[name].reshape(len(part.episode_index), -1) for part in parts]
        return np.concatenate(values), np.concatenate([part.episode_index for part in parts])

    def data_files(self) -> list[Path]:
        """The parquet files of the frames, in order."""
        return sorted((self.root / "data").glob("*/*.parquet"))

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
        names_of = {}
        for column, feature in self.info["features"].items():
            names = _flat_names(feature.get("names"))
            size = int(np.prod(feature.get("shape") or (1,)))
            if feature["dtype"] not in _IMAGES and len(names) == size:
                names_of[column] = names
        return names_of

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the columns that hold images."""
        return tuple(name for name, f in self.info["features"].items() if f["dtype"] in _IMAGES)


@dataclass(frozen=True)
class Segment:
    """The frames of one episode that have one instruction. `part` is above 0 only where the task changes within it.

    file: of the data. rows: in that file. start: the first frame's number within the episode.
    """

    episode: int
    part: int
    instruction: str
    file: Path
    rows: slice
    start: int

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start


@dataclass(frozen=True)
class Rows:
    """N frames of one data file: columns (N, …), episode_index (N,) and task_index (N,)."""

    columns: dict[str, NDArray[Any]]
    episode_index: NDArray[np.int64]
    task_index: NDArray[np.int64]

    def episodes(self) -> Iterator[slice]:
        """The rows of each episode."""
        yield from slices([*self.starts().tolist(), len(self.episode_index)])

    def of_one_task(self, span: slice) -> Iterator[slice]:
        """Cut an episode's rows where the task changes: LeRobot stores a task with every frame."""
        changes = span.start + 1 + np.flatnonzero(np.diff(self.task_index[span]))
        yield from slices([span.start, *changes.tolist(), span.stop])

    def starts(self) -> NDArray[np.intp]:
        """Rows at which an episode begins, (E,)."""
        if not len(self.episode_index):
            return np.zeros(0, dtype=np.intp)
        return np.flatnonzero(np.diff(self.episode_index, prepend=self.episode_index[0] - 1))


_UNREADABLE = (OSError, pa.ArrowException, ValueError, KeyError, TypeError, OverflowError, MemoryError)
"""What pyarrow raises for files that are damaged."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into an error that names it."""
    try:
        yield
    except InspireError:
        raise
    except _UNREADABLE as error:
        raise InspireError(f"{path} is damaged or truncated: {reason_of(error)[:200]}.") from None


def read_table(path: Path, columns: Sequence[str], episode: int | None = None) -> pa.Table:
    """Read columns of a parquet file, of one episode or of all.

    Raises:
        InspireError: the file is damaged, or lacks a column.
    """
    with _readable(path):
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


def _values(path: Path, table: pa.Table, name: str, feature: Mapping[str, Any] | None) -> NDArray[Any]:
    """A column of numbers, (N,) or (N, n), of the width that its feature declares."""
    with _readable(path):
        try:
            values = matrix(table[name])
        except InspireError as error:
            raise InspireError(f"{path}, column {name}: {error}") from None
    width = 1 if values.ndim == 1 else values.shape[1]
    if feature is not None and len(values) and width != math.prod(feature["shape"]):
        raise InspireError(
            f"{path}: {name} has {counted(width, 'number')} in each frame; meta/info.json says {feature['shape']}."
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
                with _readable(source):
                    part = file.read_row_group(group, columns=kept)
                for name, (column, _) in made.items():
                    part = part.append_column(name, column.slice(first, len(part)))
                first += len(part)
                writer.write_table(part.select(schema.names).cast(schema))


def _joined(spans: Sequence[tuple[float, float, int]], frame_s: float) -> list[tuple[float, float]]:
    """Spans of seconds, sorted; those that follow each other as one."""
    joined: list[tuple[float, float]] = []
    for start, end, _ in spans:
        if joined and start < joined[-1][1] + 1.5 * frame_s:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def slices(edges: Sequence[int]) -> Iterator[slice]:
    """The slices between consecutive edges."""
    return itertools.starmap(slice, itertools.pairwise(edges))


def _flat_names(names: Any) -> tuple[str, ...]:
    """Return the names in order: of a list, nested lists, {"motors": […]}, or {name: index}."""
    if isinstance(names, dict):
        if names and all(isinstance(index, int) for index in names.values()):
            return tuple(str(name) for name in sorted(names, key=names.__getitem__))
        return tuple(name for part in names.values() for name in _flat_names(part))
    if isinstance(names, (list, tuple)):
        return tuple(name for part in names for name in _flat_names(part))
    return () if names is None else (str(names),)


def _check_version(root: Path, info: dict[str, Any]) -> None:
    version = info.get("codebase_version")
    if version is None:
        raise InspireError(
            f"{root}: meta/info.json has no codebase_version, which LeRobot writes into every dataset. It is damaged, "
            "or no LeRobot dataset."
        )
    if str(version).startswith("v3"):
        return
    message = f"{root} has LeRobot's format {str(version)[:20]}; v3.0 is needed. "
    if version != "v2.1":
        raise InspireError(message + "LeRobot's converter takes v2.1.")
    root = root.absolute()
    before = root.with_name(f"{root.name}_old")
    moved = (
        f" Move {before} away first: the converter would put it in place of {root}."
        if before.exists()
        else ""
    )
    name, folder = shlex.quote(f"local/{root.name}"), shlex.quote(os.fspath(root))
    raise InspireError(
        f"{message}This command converts it here, keeps the old files as {before.name} and sends nothing to the hub: "
        f"{_CONVERTER} --repo-id={name} --root={folder} --push-to-hub=false"
        f"{moved}"
    )


def _read_tasks(root: Path) -> dict[int, str]:
    path = root / "meta/tasks.parquet"
    if not path.is_file():
        raise InspireError(f"{root} has no meta/tasks.parquet: no instruction is known.")
    with _readable(path):
        names = pq.read_schema(path).names
    column = "task" if "task" in names else "__index_level_0__"
    table = read_table(path, ["task_index", column])
    if not pa.types.is_string(table[column].type) and not pa.types.is_large_string(table[column].type):
        raise InspireError(f"{path}: instructions must be text, found {table[column].type}.")
    numbers = integers(path, table, "task_index").tolist()
    if len(set(numbers)) != len(numbers):
        raise InspireError(f"{path} has two instructions for one task index.")
    tasks = {}
    for number, text in zip(numbers, table[column].to_pylist(), strict=True):
        tasks[number] = text or ""
        size = len(tasks[number].encode())
        if size > MAX_INSTRUCTION_BYTES:
            raise InspireError(
                f"{path}: instruction {number} has {size} bytes, at most {MAX_INSTRUCTION_BYTES} are read: "
                f"{tasks[number][:60]!r} …"
            )
    return tasks
