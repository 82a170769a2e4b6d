"""A run, which is an evaluation in a folder: RUN/run.json (plan, provenance), RUN/episodes.jsonl, RUN/videos.

The shards of one plan, and the runs of several training seeds, are put together here.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from pydantic import ConfigDict

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.records import EPISODES, EpisodeRecord, read_episodes
from inspire_vla.files import json_sha256, read_json

RUN = "run.json"
VERSION = 1
SEED_OFFSET = 10**12
"""Added to the seeds of the second training seed's episodes, twice to the third's; far from any episode's seed."""


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
    changes: dict[str, str]
    trained_on: list[str] | None
    tasks_trained_on: dict[str, tuple[int, int]]
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
        """What the episodes depend on besides suite, task and seed: the benchmark's conditions, the step limit, the
        version of the simulator."""
        plan = self.info.get("plan", {})
        limit = {k: plan[k] for k in ("max_steps",) if k in plan}
        return limit | plan.get("conditions", {}) | simulator(self.info)

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


def simulator(info: Mapping[str, Any]) -> dict[str, str]:
    """{"MuJoCo": version} by what a run.json records of its versions; nothing of a run on recorded frames."""
    version = None if info.get("kind") == "dataset" else info.get("versions", {}).get("mujoco")
    return {} if version is None else {"MuJoCo": version}


def check_no_file_of_run(target: Path) -> None:
    """Raise InspireError where `target` is the run.json of a run. Its other files have other endings than a report."""
    if target.name == RUN and target.exists():
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
        names = sorted(p.name for p in folder.iterdir())
        raise InspireError(f"{folder} is not a run: it holds no {RUN}. Found: {names}.")
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
            differences = "; ".join(
                f"{key}: there {there!r}, here {here!r}" for key, (there, here) in changed.items()
            )
            raise InspireError(
                f"{run.path} was not played as {first.path} was ({differences}), so their episodes are no one result."
            )
    info = first.info | {
        "policy": {**first.info.get("policy", {}), "name": name},
        **{
            name: {suite: value for run in pooled for suite, value in run.info.get(name, {}).items()}
            for name in ("groups", "changes")
        },
        **_trained_on(pooled),
        "pooled": [str(run.path) for run in pooled],
    }
    if unfinished := [str(run.path) for run in pooled if "finished" not in run.info]:
        info = {key: value for key, value in info.items() if key != "finished"} | {"unfinished": unfinished}
    return Run(first.path, info, tuple(records))


def _trained_on(runs: Sequence[Run]) -> dict[str, Any]:
    """What the policies of pooled runs were trained on. Counts of tasks add up, so one of none and all is of some."""
    suites = [run.info.get("trained_on") for run in runs]
    tasks: dict[str, tuple[int, int]] = {}
    for run in runs:
        for suite, (known, played) in run.info.get("tasks_trained_on", {}).items():
            before = tasks.get(suite, (0, 0))
            tasks[suite] = before[0] + known, before[1] + played
    of_all = [names for names in suites if names is not None]
    joined = sorted(set().union(*of_all)) if len(of_all) == len(suites) else None
    return {"trained_on": joined, "tasks_trained_on": tasks}


def _video_from(first: Run, run: Run, record: EpisodeRecord) -> str | None:
    """The video's path relative to the first run of a pool: each run has videos of the same names."""
    if record.video is None or run is first:
        return record.video
    # ".." goes up from where links lead.
    video, folder = os.path.realpath(run.path / record.video), os.path.realpath(first.path)
    return Path(os.path.relpath(video, folder)).as_posix()


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
