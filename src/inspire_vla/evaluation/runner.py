"""Play many episodes over several processes, and lose nothing: not by a kill, not by a crash.

The parent alone writes. Workers make their own benchmark and agent, play one share of the jobs and send records
through a pipe. When a worker process dies (out of memory, a crash in a driver), the episodes it was
playing are failures with that reason, and a new worker takes over the rest.
"""

from collections.abc import Callable, Iterator, Sequence
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

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.episode import EpisodeJob, RolloutSettings
from inspire_vla.evaluation.on_ray import RayCluster, on_ray
from inspire_vla.evaluation.plan import EvaluationPlan
from inspire_vla.evaluation.protocols import Agent, Benchmark
from inspire_vla.evaluation.provenance import now, provenance
from inspire_vla.evaluation.records import (
    EPISODES,
    RUN,
    VERSION,
    EpisodeLog,
    EpisodeRecord,
    Run,
    read_run,
    write_json,
)
from inspire_vla.evaluation.workers import EpisodeVideoWriter, Worker, in_processes

MAX_FIRST_CRASHES = 8


def evaluate(
    out: str | Path,
    plan: EvaluationPlan,
    *,
    benchmark: Callable[[], Benchmark],
    agent: Callable[[], Agent],
    workers: int = 1,
    slots: int = 4,
    video_writer: EpisodeVideoWriter | None = None,
    progress: bool = True,
    ray: RayCluster | None = None,
) -> Run:
    """Play the plan's episodes and return the run; what an earlier call in `out` finished is kept.

    Args:
        out: the run's folder, made if missing.
        workers: processes; 0 plays in this process (for tests and debuggers).
        slots: environments side by side in each process.
        ray: play on this Ray cluster's machines instead of this one's processes.

    Raises:
        InspireError: unknown suite or task, `out` holds a run of another plan, of a benchmark under other conditions
            or is in use, full disk, or an agent or benchmark that cannot be made.
    """
    folder = Path(out)
    played = benchmark()
    jobs, identity = plan.jobs(played), plan.identity(played)
    with EpisodeLog(folder / EPISODES) as log:
        _open_run(folder, plan, identity, workers, slots, had_episodes=bool(log.records))
        done = {record.key for record in log.records}
        todo = [job for job in jobs if job.key not in done]
        worker = Worker(benchmark, agent, _settings(plan), slots, folder, video_writer)
        with _progress_bar(plan, jobs, log.records, progress) as advance:
            records = _records(worker, todo, workers, ray)
            # A run that goes on has shown that it can: what is left of it may be the one task that crashes.
            for record in records if log.records else _unless_all_crash(records):
                log.append(record)
                advance(record)
    _close_run(folder)
    return read_run(folder)


def _settings(plan: EvaluationPlan) -> RolloutSettings:
    return RolloutSettings(str(plan.policy["name"]), plan.n_action_steps, plan.max_steps, plan.control)


def _open_run(
    folder: Path,
    plan: EvaluationPlan,
    identity: dict[str, Any],
    workers: int,
    slots: int,
    *,
    had_episodes: bool,
) -> None:
    """Write run.json, or check that the one there is of the same plan and note the resumption."""
    path = folder / RUN
    if path.exists():
        info = read_run(folder).info
        before = {"conditions": identity["conditions"]} | info.get("plan", {})  # not told by runs of before
        different = {k: (before.get(k), v) for k, v in identity.items() if before.get(k) != v}
        if different:
            found = "; ".join(f"{k}: there {was!r}, now {will!r}" for k, (was, will) in different.items())
            raise InspireError(f"{folder} holds a run of another plan ({found}). Give another folder.")
        info.setdefault("resumed", []).append({k: v for k, v in provenance().items() if k != "machine"})
        info.pop("finished", None)
    else:
        if had_episodes:
            raise InspireError(
                f"{folder} holds episodes but no {RUN}; it is not clear of what. Give another folder."
            )
        info = {
            "version": VERSION,
            "policy": dict(plan.policy),
            "plan": identity,
            "workers": workers,
            "slots": slots,
            **dict(plan.extra),
            **provenance(),
        }
    write_json(path, info)


def _close_run(folder: Path) -> None:
    info = read_run(folder).info
    info["finished"] = now()
    write_json(folder / RUN, info)


@contextmanager
def _progress_bar(
    plan: EvaluationPlan, jobs: Sequence[EpisodeJob], before: Sequence[EpisodeRecord], enabled: bool
) -> Iterator[Callable[[EpisodeRecord], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    counts = {
        "n": len(before),
        "success": sum(r.success for r in before),
        "crashed": sum(bool(r.error) for r in before),
    }

    def state() -> str:
        rate = f"{counts['success']}/{counts['n']} succeeded"
        return rate + (f", {counts['crashed']} crashed" if counts["crashed"] else "")

    with Progress(*columns, disable=not enabled) as bar:
        task = bar.add_task(str(plan.policy["name"]), total=len(jobs), completed=len(before), state=state())

        def advance(record: EpisodeRecord) -> None:
            counts["n"] += 1
            counts["success"] += record.success
            counts["crashed"] += bool(record.error)
            bar.update(task, advance=1, state=state())

        yield advance


def _records(
    worker: Worker, jobs: list[EpisodeJob], workers: int, ray: RayCluster | None
) -> Iterator[EpisodeRecord]:
    if not jobs:
        return
    if ray is not None:
        yield from on_ray(worker, jobs, min(max(1, workers), len(jobs)), ray)
        return
    if workers == 0:
        yield from worker.play(jobs)
        return
    yield from in_processes(worker, jobs, min(workers, len(jobs)))


def _unless_all_crash(records: Iterator[EpisodeRecord]) -> Iterator[EpisodeRecord]:
    """Pass records on; but when the first MAX_FIRST_CRASHES all crash, stop: that is a mistake, not a measurement."""
    crashed: list[EpisodeRecord] = []
    for record in records:
        crashed.append(record)
        if record.crashed:
            if len(crashed) >= MAX_FIRST_CRASHES:
                raise InspireError(
                    f"the first {len(crashed)} episodes all crashed, so none was recorded. "
                    f"The last, {record.suite} / {record.task}:\n{record.traceback or record.error}"
                )
            continue
        yield from crashed
        break
    else:
        yield from crashed
    yield from records
