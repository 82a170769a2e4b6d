"""The files of a run: RUN/run.json (plan, provenance), RUN/episodes.jsonl (a line per episode), RUN/videos.

Lines are only appended, and each is synced to the disk before the next episode counts as done. A kill can cut the last
line; it is dropped when the run is opened again, and its episode is played again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypedDict
from zipfile import BadZipFile

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from inspire_vla.errors import InspireError, reason_of
from inspire_vla.evaluation.confusion import Confusion
from inspire_vla.evaluation.offline import OfflineScores
from inspire_vla.files import atomic_path, describe, disk_errors, json_sha256, read_json

EPISODES = "episodes.jsonl"
RUN = "run.json"
VERSION = 1
NOT_ASKED_ABOUT = ""
"""The answer, in a timeline, about an object of another instruction of the same episode."""
SEED_OFFSET = 10**12
"""Added to the seeds of the second training seed's episodes, twice to the third's; far from any episode's seed."""


EpisodeKey = tuple[str, str, int]
"""(suite, task, seed): what pairs an episode with another policy's."""
TimelineEntry = tuple[int, tuple[str, ...], tuple[str | None, ...], tuple[float, ...]]
"""(step, answers, truths, confidences) of a decision."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode. A crashed episode has `error` and counts as a failure.

    Attributes:
        instruction: where it changed during the episode, all of them, with arrows between them.
        mentions: all objects that were asked about, in order.
        forward_passes: how often the backbone ran.
        drafts_accepted: answers of the last decision that the model confirmed (speculative decoding).
        answers_scored, answers_correct: answers with a known truth that the model gave itself, and how many are right.
        answers_to_override: answers given under a control that replaces them.
        answers_overridden: how many of those the control replaced; an object without a known truth keeps the
            policy's own answer.
        confusion: {true answer: {given answer: count}} of the scored answers.
        confusion_by_mention: the same for the first, second, … mention.
        timeline: (step, answers, truths, confidences) of every decision, overridden answers included. The three run
            parallel to `mentions`; those of an early decision may end before objects of a later instruction.
        gripper: (step, "open", "closed" or "holding"), an entry for each change.
        offline: for recorded frames: the actions against the demonstrated ones. `success` is None then.
        goals: of a task with several goals: the control step after which each first held; None: it never did. All of
            them must hold at once.
        init_state: number of the fixed initial state, for benchmarks that have some.
        crashed: an exception or the death of the worker ended the episode, not the policy.
        video: path relative to the run's folder; of pooled runs to that of the first.
    """

    suite: str
    task: str
    instruction: str
    episode: int
    seed: int
    success: bool | None
    steps: int
    policy: str = ""
    error: str | None = None
    traceback: str | None = None
    mentions: tuple[str, ...] = ()
    decisions: int = 0
    undecodable: int = 0
    answers_scored: int = 0
    answers_correct: int = 0
    confusion: Confusion = field(default_factory=dict)
    confusion_by_mention: tuple[Confusion, ...] = ()
    forward_passes: int = 0
    drafts_accepted: int = 0
    inference_ms_median: float | None = None
    batch_mean: float | None = None
    wall_s: float = 0.0
    video: str | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    gripper: tuple[tuple[int, str], ...] = ()
    goals: tuple[int | None, ...] = ()
    init_state: int | None = None
    crashed: bool = False
    answers_to_override: int = 0
    answers_overridden: int = 0
    offline: OfflineScores | None = None

    @property
    def key(self) -> EpisodeKey:
        return (self.suite, self.task, self.seed)

    def to_json(self) -> str:
        """Return one line, without its end."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> "EpisodeRecord":
        """Inverse of `to_json`. Unknown keys are ignored; raises InspireError for missing or wrong ones."""
        try:
            return _schema().validate_json(line)
        except ValidationError as error:
            raise InspireError(f"An episode record {describe(error)}") from None


@cache
def _schema() -> TypeAdapter[EpisodeRecord]:
    return TypeAdapter(EpisodeRecord)


def read_episodes(path: Path) -> tuple[list[EpisodeRecord], int]:
    """Return the records of a JSON-lines file and the number of bytes that hold whole records.

    A last line without its end, which a kill leaves, is left out. Raises InspireError with the line number for anything
    else unreadable.
    """
    records: list[EpisodeRecord] = []
    size = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            records.append(EpisodeRecord.from_json(line))
        except InspireError as error:
            raise InspireError(f"{path}, line {number}: {error}") from None
        size += len(line)
    return records, size


class EpisodeLog:
    """The append-only episodes file of one run. Opening it drops an incomplete last line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records, self._size = read_episodes(path)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)  # nothing is left to be written when closing
            self._file.truncate(self._size)

    def append(self, record: EpisodeRecord) -> None:
        """Append one record and wait until it is on the disk. On an error the file stays as it was."""
        line = (record.to_json() + "\n").encode("utf-8")
        with disk_errors(self.path):
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(line)
        self.records.append(record)

    def close(self) -> None:
        """Close the file; no record can be added any more."""
        self._file.close()

    def __enter__(self) -> "EpisodeLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_OPEN: ConfigDict = {"extra": "allow"}


class _Policy(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str | None
    mention_overrides: dict[str, Any] | None


class _Plan(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    suites: list[str]
    episodes_per_task: int
    first_seed: int
    conditions: dict[str, Any]
    dataset: dict[str, Any]
    labels_sha256: str | None
    shard: tuple[int, int]


class _HeldOut(TypedDict, total=False):
    known: bool
    trained_on: list[int]


class _RunFile(TypedDict, total=False):
    """What is read of a run.json; older ones have less."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    version: int
    policy: _Policy
    plan: _Plan
    kind: str
    groups: dict[str, str]
    trained_on: list[str] | None
    held_out: _HeldOut
    dataset: dict[str, Any]
    resumed: list[dict[str, Any]]
    unfinished: list[str]
    machine: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class Run:
    """An evaluation, finished or not: its folder, its run.json and its episodes."""

    path: Path
    info: dict[str, Any]
    records: tuple[EpisodeRecord, ...]

    @property
    def name(self) -> str:
        """The policy's name as given to the evaluation."""
        return str(self.info.get("policy", {}).get("name") or self.path.name)

    @property
    def is_offline(self) -> bool:
        """Whether the policy was evaluated on recorded frames, not played in a simulator."""
        return self.info.get("kind") == "dataset"

    @property
    def conditions(self) -> dict[str, Any]:
        """What the episodes depend on besides suite, task and seed: the benchmark's conditions, the step limit."""
        plan = self.info.get("plan", {})
        return {k: plan[k] for k in ("max_steps",) if k in plan} | plan.get("conditions", {})

    @property
    def labels_sha256(self) -> str | None:
        """Of a run on recorded frames: a hash of the labels that answers were compared with; None without any."""
        return self.info.get("plan", {}).get("labels_sha256")

    @property
    def played(self) -> dict[str, Any]:
        """Everything that must agree where episodes of several runs count as one result."""
        plan = self.info.get("plan", {})
        of_policy = {k: plan[k] for k in ("n_action_steps", "control", "labels_sha256") if k in plan}
        if "policy" in plan:
            of_policy["mention_overrides"] = plan["policy"].get("mention_overrides")
        return self.conditions | of_policy


def check_no_file_of_run(target: Path) -> None:
    """Raise InspireError where `target` is run.json or episodes.jsonl of a run."""
    if target.name in (RUN, EPISODES) and target.exists():
        raise InspireError(f"{target} is a file of the run in {target.parent}. Give another file.")


def read_run(path: str | Path) -> Run:
    """Read RUN/run.json and RUN/episodes.jsonl. Raises InspireError when `path` is not such a folder."""
    folder = Path(path)
    if not folder.is_dir():
        near = sorted(p.parent.name for p in folder.parent.glob(f"*/{RUN}")) if folder.parent.is_dir() else []
        raise InspireError(
            f"No run at {folder}: no such folder. Runs beside it: {', '.join(near) or 'none'}."
        )
    if not (folder / RUN).is_file():
        found = sorted(p.name for p in folder.iterdir())
        raise InspireError(f"{folder} is not a run: it holds no {RUN}. Found: {found}.")
    info = read_json(folder / RUN, dict[str, Any])
    version = info.get("version", VERSION)
    if isinstance(version, int) and version > VERSION:
        raise InspireError(
            f"{folder} was written by a later version of inspire_vla: its {RUN} is of version {version}, and this one "
            f"reads up to {VERSION}. Update the package to read it."
        )
    read_json(folder / RUN, _RunFile)
    return Run(folder, info, tuple(read_episodes(folder / EPISODES)[0]))


def differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return {key: (first's, other's)} of the values that both have and that differ."""
    return {key: (first[key], other[key]) for key in first if key in other and first[key] != other[key]}


def pool(runs_by_seed: Sequence[Sequence[Run]], name: str) -> Run:
    """Return all episodes of several training seeds as one run; an outer entry per seed, an inner one per run.

    Episodes of different training seeds get different episode seeds (see `SEED_OFFSET`). So an episode of the base
    policy still meets the same episode of the InSpire policy with the same training seed, if both are pooled alike.

    The pooled run is finished if all are. Its "unfinished" names the others.

    Raises InspireError without runs, and for runs that were played under different conditions.
    """
    if not runs_by_seed or not all(runs_by_seed):
        raise InspireError(f"There are no runs of {name!r} to pool.")
    first = runs_by_seed[0][0]
    records = [
        replace(
            record,
            seed=record.seed + number * SEED_OFFSET,
            policy=name,
            video=_video_from(first, run, record),
        )
        for number, runs in enumerate(runs_by_seed)
        for run in runs
        for record in run.records
    ]
    pooled = [run for runs in runs_by_seed for run in runs]
    for run in pooled:
        if changed := differing(first.played, run.played):
            found = "; ".join(
                f"{key}: there {there!r}, here {here!r}" for key, (there, here) in changed.items()
            )
            raise InspireError(
                f"{run.path} was not played as {first.path} was ({found}), so their episodes are no one result."
            )
    info = first.info | {
        "policy": {**first.info.get("policy", {}), "name": name},
        "groups": {suite: group for run in pooled for suite, group in run.info.get("groups", {}).items()},
        "pooled": [str(run.path) for run in pooled],
    }
    if unfinished := [str(run.path) for run in pooled if "finished" not in run.info]:
        info = {key: value for key, value in info.items() if key != "finished"} | {"unfinished": unfinished}
    return Run(first.path, info, tuple(records))


def _video_from(first: Run, run: Run, record: EpisodeRecord) -> str | None:
    """The video's path relative to the first run of a pool: each run has videos of the same names."""
    if record.video is None or run is first:
        return record.video
    return Path(os.path.relpath(run.path / record.video, first.path)).as_posix()


def join_shards(runs: Sequence[Run]) -> list[Run]:
    """Return the runs, the shards of one plan (`inspire evaluate --shard`) as one run in the place of the first.

    Its "unfinished" names shards that are not finished or not given.
    """
    joined: dict[str, list[Run]] = {}
    for number, run in enumerate(runs):
        plan = run.info.get("plan", {})
        index, count = plan.get("shard", (0, 1))
        whole = {key: value for key, value in plan.items() if key != "shard"}
        key = json_sha256([whole, count, run.name]) if count > 1 else str(number)
        if any(run.info["plan"]["shard"] == other.info["plan"]["shard"] for other in joined.get(key, ())):
            raise InspireError(f"{run.path} is shard {index}/{count} of {run.name!r}, which is given twice.")
        joined.setdefault(key, []).append(run)
    return [_whole(shards) for shards in joined.values()]


def _whole(shards: Sequence[Run]) -> Run:
    _, count = shards[0].info.get("plan", {}).get("shard", (0, 1))
    if count == 1:
        return shards[0]
    run = pool([shards], shards[0].name)
    given = {shard.info["plan"]["shard"][0] for shard in shards}
    missing = [f"shard {index}/{count}, which is not given" for index in range(count) if index not in given]
    if not missing:
        return run
    info = {key: value for key, value in run.info.items() if key != "finished"}
    return replace(run, info=info | {"unfinished": [*info.get("unfinished", ()), *missing]})


@dataclass
class Recording:
    """What is recorded of a filmed episode besides its record.

    Attributes:
        frames: (H, W, 3) uint8, before the first step and after each; they become the video.
        actions: (action_dim,) float32, as executed, one per step.
        states: (state_dim,) float32, as observed, one per frame; none if the environment gives none.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    fps: float = 10.0
    actions: list[np.ndarray] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)

    def write_arrays(self, path: Path) -> None:
        """Write actions and states as a compressed .npz file."""
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, actions=_table(self.actions), states=_table(self.states))


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return actions (T, action_dim) and states (T + 1, state_dim) of a recording; both empty without a file.

    Raises InspireError for a file of another kind.
    """
    if not path.is_file():
        return _table(()), _table(())
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["actions"], arrays["states"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InspireError(
            f"{path} does not hold an episode's actions and states: {reason_of(error)}."
        ) from error


def _table(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.array(rows, dtype=np.float32) if len(rows) else np.zeros((0, 0), np.float32)
