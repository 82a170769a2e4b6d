"""`evaluate`: plays a plan in this process, in several, or on a Ray cluster.

The parent alone writes. A killed run is resumed, under the same plan only.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from inspire_vla.changed_settings import changed_settings
from inspire_vla.dialogue import AnswerRule
from inspire_vla.errors import InspireError, counted
from inspire_vla.evaluation.controls import UNASKED
from inspire_vla.evaluation.episode import EpisodeJob
from inspire_vla.evaluation.plan import Plan
from inspire_vla.evaluation.protocols import Agent
from inspire_vla.evaluation.provenance import commit, now, provenance, versions
from inspire_vla.evaluation.ray_workers import RayCluster, on_ray
from inspire_vla.evaluation.records import EPISODES, EpisodeLog, EpisodeRecord
from inspire_vla.evaluation.runs import RUN, VERSION, Run, read_run, simulator
from inspire_vla.evaluation.workers import EpisodeVideoWriter, Worker, in_processes
from inspire_vla.files import folder_lock, read_json, write_json

LATER_RECORDED = ("settings_sha256",)
"""Of a policy: a run that was begun by a version that did not record it is continued without it."""
MAX_FIRST_CRASHES = 8
"""So many crashes before any episode was played to its end stop a run: something is set up wrongly."""
MAX_LINES = 10
"""So many instructions that are not asked about whole are listed one by one."""


def evaluate(
    out: str | Path,
    plan: Plan,
    *,
    benchmark: Callable[[], Any],
    agent: Callable[[], Agent],
    workers: int = 1,
    slots: int = 4,
    video_writer: EpisodeVideoWriter | None = None,
    progress: bool = True,
    ray: RayCluster | None = None,
    rule: AnswerRule | None = None,
) -> Run:
    """Play the plan's episodes and return the run. Episodes that an earlier call in `out` finished are kept.

    Args:
        out: the run's folder, made if missing.
        workers: processes; 0 plays in this process (for tests and debuggers).
        slots: environments side by side in each process.
        ray: play on the machines of this Ray cluster instead.
        rule: the policy's. With it, the instructions that name more objects than the policy is asked about are listed
            once, before the first episode. Without it, each worker warns of them.

    Raises:
        InspireError: unknown suite or task, `out` is in use or holds a run of another plan or other conditions, full
            disk, or an agent or benchmark that cannot be made.
    """
    folder = Path(out)
    made = benchmark()
    jobs = plan.jobs(made)
    if not jobs:
        index, count = plan.shard
        why = f"shard {index}/{count} has none" if count > 1 else "none of those that were asked for can be"
        raise InspireError(f"There is no episode to play: {why}. Take more episodes, or fewer shards.")
    identity = plan.identity(made)
    suites = {job.suite for job in jobs}
    of_suites = {
        name: {k: v for k, v in getattr(made, name, {}).items() if k in suites}
        for name in ("groups", "changes")
    }
    with folder_lock(folder, "evaluating into"), EpisodeLog(folder / EPISODES) as log:
        info = {"kind": plan.kind, **of_suites, "workers": workers, "slots": slots, **plan.extra}
        _open_run(folder, plan, identity, info, had_episodes=bool(log.records))
        done = {record.key for record in log.records}
        todo = [job for job in jobs if job.key not in done]
        if done:
            _report_kept(folder, jobs, log.records)
        warned = rule is not None and _warn_of_objects_not_asked(made, todo, plan, rule)
        worker = Worker(benchmark, agent, plan.settings, slots, folder, video_writer, warned)
        with _progress_bar(plan, jobs, log.records, progress) as advance:
            records = _play(worker, todo, workers, ray)
            # A resumed run has shown that it works: what is left of it may be one task that crashes.
            for record in records if log.records else _unless_all_crash(records):
                log.append(record)
                advance(record)
        write_json(folder / RUN, read_json(folder / RUN, dict[str, Any]) | {"finished": now()})
    return read_run(folder)


def _report_kept(folder: Path, jobs: Sequence[EpisodeJob], records: Sequence[EpisodeRecord]) -> None:
    """Say how many episodes are not played because an earlier call did, and what that leaves as it is."""
    crashed = sum(record.crashed for record in records)
    lines = [f"{len(records)} of {counted(len(jobs), 'episode')} were played before and are kept in {folder}"]
    if crashed:
        lines.append(f"{crashed} of them crashed and stay failures; another folder plays all again")
    filmed = {job.key for job in jobs if job.record_video}
    if missing := sum(record.key in filmed and record.video is None for record in records):
        lines.append(f"{missing} of them have no video and get none; another folder plays and films them")
    for line in lines:
        print(f"note: {line}.", file=sys.stderr)


def _warn_of_objects_not_asked(
    benchmark: Any, jobs: Sequence[EpisodeJob], plan: Plan, rule: AnswerRule
) -> bool:
    """Say which instructions name more objects than the policy is asked about. False if they are not known here."""
    if not hasattr(benchmark, "instructions"):
        return False
    suites = {suite: benchmark.instructions(suite) for suite in dict.fromkeys(job.suite for job in jobs)}
    lines = [] if plan.control == UNASKED else rule.not_asked(suites[job.suite][job.task] for job in jobs)
    more = [f"and {counted(len(lines) - MAX_LINES, 'more instruction')}"] if len(lines) > MAX_LINES else []
    for line in [*lines[:MAX_LINES], *more]:
        print(f"warning: {line}", file=sys.stderr)
    return True


def _open_run(
    folder: Path,
    plan: Plan,
    identity: dict[str, Any],
    more: Mapping[str, Any],
    *,
    had_episodes: bool,
) -> None:
    """Write run.json, or check that the existing one is of the same plan and note the resumption.

    One without an episode, as a run that ended by an error leaves it, is replaced.
    """
    path = folder / RUN
    if path.exists() and had_episodes:
        info = read_run(folder).info
        before = {key: info.get("plan", {}).get(key) for key in identity}
        policy = identity["policy"]
        known = {key: policy[key] for key in LATER_RECORDED if key in policy}
        before["policy"] = known | (before["policy"] or {})
        recorded = simulator(info)
        now_played = identity | (recorded and simulator({"kind": plan.kind, "versions": versions()}))
        if changed := changed_settings(before | recorded, now_played):
            raise InspireError(
                f"{folder} holds a run of another plan ({changed}). Give another folder."
                f"{_begun_by_another_version(info)}"
            )
        info.setdefault("resumed", []).append({k: v for k, v in provenance().items() if k != "machine"})
        info.pop("finished", None)
    else:
        if had_episodes:
            raise InspireError(f"{folder} holds episodes of an unknown plan: no {RUN}. Give another folder.")
        info = {
            "version": VERSION, "policy": dict(plan.policy), "plan": identity, **more, **provenance(),
        }  # fmt: skip
    write_json(path, info)


def _begun_by_another_version(info: Mapping[str, Any]) -> str:
    """What to say of a run that another version of this package began, which may record other settings."""
    run_commit, this_commit = (
        str(value or "").removesuffix("+changes") for value in (info.get("commit"), commit())
    )
    if not run_commit or run_commit == this_commit:
        return ""
    return (
        f" The run was begun with inspire_vla at commit {run_commit[:7]}. If you changed none of these settings, that "
        f"version continues it: `git checkout {run_commit[:7]}`."
    )


@contextmanager
def _progress_bar(
    plan: Plan,
    jobs: Sequence[EpisodeJob],
    before: Sequence[EpisodeRecord],
    enabled: bool,
) -> Iterator[Callable[[EpisodeRecord], None]]:
    played = list(before)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip

    def state() -> str:
        crashed = sum(bool(record.error) for record in played)
        if plan.kind == "dataset":
            right, scored = (sum(getattr(r, f"answers_{n}") for r in played) for n in ("correct", "scored"))
            successes = (
                f"{right}/{counted(scored, 'answer')} as labelled" if scored else "no answers to compare"
            )
        else:
            successes = f"{sum(bool(record.success) for record in played)}/{len(played)} succeeded"
        return successes + (f", {crashed} crashed" if crashed else "")

    with Progress(*columns, disable=not enabled) as bar:
        task = bar.add_task(str(plan.policy["name"]), total=len(jobs), completed=len(played), state=state())

        def advance(record: EpisodeRecord) -> None:
            played.append(record)
            bar.update(task, advance=1, state=state())

        yield advance


def _play(
    worker: Worker, jobs: list[EpisodeJob], workers: int, ray: RayCluster | None
) -> Iterator[EpisodeRecord]:
    if not jobs:
        return iter(())
    if ray is not None:
        return on_ray(worker, jobs, min(max(1, workers), len(jobs)), ray)
    return worker.play(jobs) if workers == 0 else in_processes(worker, jobs, min(workers, len(jobs)))


def _unless_all_crash(records: Iterator[EpisodeRecord]) -> Iterator[EpisodeRecord]:
    """Pass records on, but stop if all crash, or the first MAX_FIRST_CRASHES: then something is set up wrongly."""
    played: list[EpisodeRecord] = []
    for record in records:
        played.append(record)
        if not record.crashed or len(played) >= MAX_FIRST_CRASHES:
            break
    if played and all(record.crashed for record in played):
        first = played[0]
        which = "episode" if len(played) == 1 else f"first {counted(len(played), 'episode')}"
        raise InspireError(
            f"The {which} crashed, so none was recorded. The first, {first.suite} / {first.task}:\n"
            f"{first.traceback or first.error}"
        )
    yield from played
    yield from records
