"""What an evaluation leaves behind: RUN/run.json (provenance) and RUN/episodes.jsonl (one line an episode).

Lines are only ever appended, each flushed to the disk before the next episode counts as done. A kill can tear
the last line; it is dropped when the run is opened again, and that episode is played again.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError

EPISODES = "episodes.jsonl"
RUN = "run.json"
VERSION = 1


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode. A crashed episode has `error` and counts as a failure.

    Attributes:
        forward_passes: how often the backbone ran.
        drafts_accepted: answers of the last decision that the model confirmed (speculative decoding).
        answers_scored, answers_correct: answers with a known truth that the model gave itself, and how many are right.
        confusion: {truth: {answer: count}} of the scored answers.
        confusion_by_mention: the same for the first, second, … mention.
        answers_to_override: answers given under a control that replaces them. None in older records.
        answers_overridden: how many of those the control replaced; an object without a known truth keeps the
            policy's own answer. None in older records.
        timeline: [step, answers, truths, confidences] of every decision, overridden answers included.
        gripper: [step, "open", "closed" or "holding"], an entry for each change.
        init_state: number of the fixed initial state, for benchmarks that have some.
        crashed: an exception or the death of the worker ended the episode, not the policy. None in older records.
    """

    suite: str
    task: str
    instruction: str
    episode: int
    seed: int
    success: bool
    steps: int
    policy: str = ""
    error: str | None = None
    traceback: str | None = None
    mentions: tuple[str, ...] = ()
    decisions: int = 0
    undecodable: int = 0
    answers_scored: int = 0
    answers_correct: int = 0
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    confusion_by_mention: tuple[dict[str, dict[str, int]], ...] = ()
    forward_passes: int = 0
    drafts_accepted: int = 0
    inference_ms_median: float | None = None
    batch_mean: float | None = None
    wall_s: float = 0.0
    video: str | None = None
    timeline: tuple[tuple[int, tuple[str, ...], tuple[str | None, ...], tuple[float, ...]], ...] = ()
    gripper: tuple[tuple[int, str], ...] = ()
    init_state: int | None = None
    crashed: bool | None = None
    answers_to_override: int | None = None
    answers_overridden: int | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What pairs an episode with another policy's: (suite, task, seed)."""
        return (self.suite, self.task, self.seed)

    def to_json(self) -> str:
        """One line, without its end."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> "EpisodeRecord":
        """Inverse of `to_json`. Unknown keys (of a later version) are left out; missing ones raise."""
        data = json.loads(line)
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        for key in ("mentions", "confusion_by_mention"):
            values[key] = tuple(values.get(key, ()))
        values["timeline"] = tuple(
            (step, tuple(answers), tuple(truths), tuple(confidences))
            for step, answers, truths, confidences in values.get("timeline", ())
        )
        values["gripper"] = tuple((step, state) for step, state in values.get("gripper", ()))
        try:
            return cls(**values)
        except TypeError as error:
            raise InspireError(f"not an episode record ({error}): {line[:120]!r}") from error


def write_json(path: Path, data: Any) -> None:
    """Write `data` so that `path` holds either the old content or all of the new, never a part."""
    partial = path.with_name(path.name + ".partial")
    with disk_errors(path):
        with partial.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, ensure_ascii=False, default=str)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` (full disk, no permission) into an InspireError."""
    try:
        yield
    except OSError as error:
        raise InspireError(
            f"cannot write {path}: {error.strerror or error}. What was finished before is safe; "
            f"make room and run the same command again to go on."
        ) from error


def read_episodes(path: Path) -> tuple[list[EpisodeRecord], int]:
    """Return the records of a JSONL file and the number of bytes that hold whole records.

    A torn last line is left out. Anything else unreadable raises InspireError with its line number.
    """
    records: list[EpisodeRecord] = []
    whole = 0
    if not path.exists():
        return records, whole
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)
        try:
            if last and not line.endswith(b"\n"):
                break
            records.append(EpisodeRecord.from_json(line.decode("utf-8")))
        except ValueError as error:
            if last:
                break
            raise InspireError(f"{path}, line {number}: {error}") from error
        whole += len(line)
    return records, whole


class EpisodeLog:
    """The append-only file of one run. Opening it drops a torn last line and locks out a second writer."""

    def __init__(self, path: Path):
        self.path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)  # nothing is left to be written when closing
        try:
            _lock(self._file, path)
            self.records, self._size = read_episodes(path)
            self._file.truncate(self._size)
        except BaseException:
            self._file.close()
            raise

    def append(self, record: EpisodeRecord) -> None:
        """Append one record and wait until it is on the disk; on an error the file stays as it was."""
        line = (record.to_json() + "\n").encode("utf-8")
        with disk_errors(self.path):
            try:
                left = memoryview(line)
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(line)
        self.records.append(record)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "EpisodeLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(file: Any, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InspireError(
            f"{path} is being written by another run; wait for it or give another folder."
        ) from error


@dataclass(frozen=True)
class Run:
    """A finished or unfinished evaluation: its folder, its run.json and its episodes."""

    path: Path
    info: dict[str, Any]
    records: tuple[EpisodeRecord, ...]

    @property
    def name(self) -> str:
        """The policy's name as given to the evaluation."""
        return str(self.info.get("policy", {}).get("name") or self.path.name)


def read_run(path: str | Path) -> Run:
    """Read RUN/run.json and RUN/episodes.jsonl. Raises InspireError when `path` is not such a folder."""
    folder = Path(path)
    if not folder.is_dir():
        near = sorted(p.parent.name for p in folder.parent.glob(f"*/{RUN}")) if folder.parent.is_dir() else []
        raise InspireError(f"no run at {folder}: no such folder. Runs beside it: {near}.")
    if not (folder / RUN).is_file():
        raise InspireError(
            f"{folder} is not a run: it holds no {RUN}. Possible: {sorted(p.name for p in folder.iterdir())}."
        )
    try:
        info = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InspireError(f"{folder / RUN} cannot be read: {error}.") from error
    if info.get("version", VERSION) > VERSION:
        raise InspireError(f"{folder} was written by a later version ({info['version']} > {VERSION}).")
    records, _ = read_episodes(folder / EPISODES)
    return Run(folder, info, tuple(records))
