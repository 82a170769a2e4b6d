"""The files of a LeRobot v3 dataset, checked where they are read: nothing is fetched, no image is decoded.

A damaged or incomplete dataset is an InspireError that names the file. Folders inside a dataset may be symbolic links.
"""

import itertools
import os
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from inspire_vla.errors import InspireError, counted
from inspire_vla.files import describe, file_sha256, files_below, json_sha256, media_sha256, read_json
from inspire_vla.labels.parquet import integers, number_column, read_table, readable

MAX_INSTRUCTION_BYTES = 4096
"""Longer instructions are refused: reading the objects in one takes time that grows with its length."""
_IMAGES = ("image", "video")
_NUMBERS = ("float32", "float64", "float16", "int16", "int32", "int64", "int8", "uint8", "bool")
_VIDEO_PATH = re.compile(r"(?:[^{}]|\{(?:video_key|chunk_index|file_index)(?::0?\d{1,2}d)?\})+")
FORMAT = "v3.0"
"""LeRobot's format, and the hub's tag of datasets in it."""
CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30"
_Count = Annotated[int, Field(ge=1)]


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
            with readable(path):
                rows += pq.read_metadata(path).num_rows
        if rows != stated:
            files = f"the {counted(len(self.data_files()), 'file')} of data/"
            raise self.incomplete(
                f"meta/info.json says {counted(stated, 'frame')}, and {rows} are in {files}"
            )
        episodes: list[int] = []
        films: set[Path] = set()
        for path in self.episode_files():
            places = {
                camera: [_video_column(camera, f"{number}_index") for number in ("chunk", "file")]
                for camera in self._filmed
            }
            table = read_table(path, ["episode_index", *itertools.chain(*places.values())])
            episodes += integers(path, table, "episode_index").tolist()
            for camera, columns in places.items():
                chunks, numbers = (integers(path, table, column).tolist() for column in columns)
                films |= {self.video_file(camera, *place) for place in set(zip(chunks, numbers, strict=True))}
        stated = self.info["total_episodes"]
        if len(episodes) != stated or sorted(episodes) != list(range(len(episodes))):
            raise self.incomplete(
                f"meta/info.json says {counted(stated, 'episode')}, the files of meta/episodes/ list {len(episodes)}"
            )
        missing = sorted(film.relative_to(self.root).as_posix() for film in films if not film.is_file())
        if missing:
            raise self.incomplete(
                f"{len(missing)} of {counted(len(films), 'video')} missing, such as {missing[:3]}"
            )

    def incomplete(self, what: str) -> InspireError:
        """The error for a dataset of which files are missing or damaged. what: a part of a sentence."""
        return InspireError(
            f"{self.root} is incomplete: {what}. Copy the missing or damaged files into it, or download the dataset "
            "again; nothing is fetched into this folder."
        )

    def check_order(self) -> None:
        """Check that the frames of each episode follow each other. LeRobot and this package rely on it.

        Raises InspireError for rows in another order, and for an episode in several places.
        """
        seen: set[int] = set()
        for path in self.data_files():
            rows = self.read(path, ("frame_index",))
            for span in rows.episodes():
                episode, numbers = int(rows.episode_index[span.start]), rows.columns["frame_index"][span]
                if episode in seen or not np.array_equal(numbers.ravel(), np.arange(span.stop - span.start)):
                    raise InspireError(
                        f"{path}: the frames of episode {episode} do not follow each other, with frame_index 0, 1, 2 "
                        "and so on. Sort the rows of the dataset by episode_index and frame_index."
                    )
                seen.add(episode)

    def video_spans(
        self, episodes: Collection[int] | None = None, cameras: Sequence[str] | None = None
    ) -> Iterator["VideoSpan"]:
        """Yield where the videos of these episodes and cameras lie, or of all. Nothing is decoded.

        Raises:
            InspireError: a file of meta/episodes/ is damaged, or lacks a column.
        """
        cameras = self._filmed if cameras is None else cameras
        if not cameras:
            return
        for path in self.episode_files():
            places = {
                camera: [
                    _video_column(camera, what) for what in ("chunk_index", "file_index", "from_timestamp")
                ]
                for camera in cameras
            }
            table = read_table(path, ["episode_index", "length", *itertools.chain(*places.values())])
            index, lengths = integers(path, table, "episode_index"), integers(path, table, "length")
            chosen = np.ones(len(index), bool) if episodes is None else np.isin(index, list(episodes))
            duration_s = (lengths[chosen] - 1) / float(self.info["fps"])
            for camera, (chunk, number, begin) in places.items():
                chunks, numbers = (integers(path, table, column)[chosen] for column in (chunk, number))
                first_s = number_column(path, table, begin)[chosen].astype(float)
                spans = zip(index[chosen], chunks, numbers, first_s, first_s + duration_s, strict=True)
                for episode, of_chunk, of_file, start_s, end_s in spans:
                    file = self.video_file(camera, int(of_chunk), int(of_file))
                    yield VideoSpan(file, float(start_s), float(end_s), int(episode))

    @property
    def _filmed(self) -> list[str]:
        """The cameras whose images are stored as video."""
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
                episode = int(rows.episode_index[span.start])
                for part, run in enumerate(rows.of_one_task(span)):
                    instruction = self.instruction(int(rows.task_index[run.start]))
                    segment = Segment(episode, part, instruction, file, run, run.start - span.start)
                    yield segment, {name: values[run] for name, values in rows.columns.items()}

    def read(self, path: Path, columns: Sequence[str], episode: int | None = None) -> "Rows":
        """Read `columns` of one data file, of one episode or of all.

        Raises:
            InspireError: the file is damaged or lacks a column, or a column has another width than meta/info.json says.
        """
        table = read_table(path, [*columns, "episode_index", "task_index"], episode)
        features = self.info["features"]
        values = {
            name: number_column(path, table, name, features.get(name, {}).get("shape")) for name in columns
        }
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


class VideoSpan(NamedTuple):
    """An episode's images of one camera, within a video.

    first_s, last_s: the times of its first and its last image in the file, seconds.
    """

    file: Path
    first_s: float
    last_s: float
    episode: int


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


def _video_column(camera: str, what: str) -> str:
    """The column of meta/episodes/ that tells something of a camera's videos."""
    return f"videos/{camera}/{what}"


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
    """Raise InspireError for another format than LeRobot's v3.0, with the command that converts it."""
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
        f"{CONVERTER} --repo-id={name} --root={folder} --push-to-hub=false"
        f"{moved}"
    )


def _read_tasks(root: Path) -> dict[int, str]:
    """Task index → instruction. Raises InspireError for what is no table of tasks, or an instruction too long."""
    path = root / "meta/tasks.parquet"
    if not path.is_file():
        raise InspireError(f"{root} has no meta/tasks.parquet: no instruction is known.")
    with readable(path):
        names = pq.read_schema(path).names
    column = "task" if "task" in names else "__index_level_0__"
    table = read_table(path, ["task_index", column])
    if not pa.types.is_string(table[column].type) and not pa.types.is_large_string(table[column].type):
        raise InspireError(f"{path}: instructions must be text, found {table[column].type}.")
    indices = integers(path, table, "task_index").tolist()
    if len(set(indices)) != len(indices):
        raise InspireError(f"{path} has two instructions for one task index.")
    tasks = {}
    for index, text in zip(indices, table[column].to_pylist(), strict=True):
        tasks[index] = text or ""
        size = len(tasks[index].encode())
        if size > MAX_INSTRUCTION_BYTES:
            raise InspireError(
                f"{path}: instruction {index} has {size} bytes, at most {MAX_INSTRUCTION_BYTES} are read: "
                f"{tasks[index][:60]!r} …"
            )
    return tasks
