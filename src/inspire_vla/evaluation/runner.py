"""Play many episodes over several processes, and lose nothing: not by a kill, not by a crash.

The parent alone writes. Workers make their own benchmark and agent, play one share of the jobs and send records
through a pipe. When a worker process dies (out of memory, a crash in a driver), the episodes it was
playing are failures with that reason, and a new worker takes over the rest.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
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
from inspire_vla.evaluation.footage import Footage, write_footage
from inspire_vla.evaluation.protocols import Agent, Benchmark, select_tasks
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
from inspire_vla.evaluation.rollout import EpisodeJob, RolloutSettings, rollout
from inspire_vla.evaluation.truth import CONTROLS

FIRST_SEED = 1_000_000
"""Seeds of evaluation start here, far from those of demonstrations, so that no initial state was trained on."""

MAX_FIRST_CRASHES = 8

EpisodeVideoWriter = Callable[[Path, Sequence[Any], float, Mapping[str, Any]], None]
"""(path of the mp4, frames (H, W, 3) uint8, frames a second, the episode's record as a dictionary)"""


@dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate. Fixed before it starts; a run is resumed only under the same plan.

    `policy`: what run.json says of the policy, at least {"name": …}. `videos_per_task`: how many episodes of a task
    to film, in the first `filmed_tasks` tasks of each suite (None: in all). `shard`: (i, n) plays every n-th episode
    from the i-th. `extra`: more for run.json.
    """

    suites: tuple[str, ...]
    episodes_per_task: int
    policy: Mapping[str, Any]
    tasks: tuple[str, ...] | None = None
    first_seed: int = FIRST_SEED
    n_action_steps: int | None = None
    max_steps: int | None = None
    control: str = "own"
    videos_per_task: int = 0
    filmed_tasks: int | None = None
    shard: tuple[int, int] = (0, 1)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.episodes_per_task < 1:
            raise InspireError(f"episodes_per_task must be at least 1, found {self.episodes_per_task}.")
        if self.control not in CONTROLS:
            raise InspireError(f"unknown control of answers {self.control!r}. Possible: {list(CONTROLS)}.")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise InspireError(f"shard must be (i, n) with 0 ≤ i < n, found {self.shard}.")
        if "name" not in self.policy:
            raise InspireError(f"plan.policy must hold a name, found {dict(self.policy)}.")

    def jobs(self, benchmark: Benchmark) -> list[EpisodeJob]:
        """Return the episodes in a fixed order: task by task, so that an environment is used again."""
        tasks = select_tasks(benchmark, self.suites, self.tasks)
        filmed = {st for s in self.suites for st in [t for t in tasks if t[0] == s][: self.filmed_tasks]}
        jobs = [
            EpisodeJob(*st, e, self.first_seed + e, record_video=e < self.videos_per_task and st in filmed)
            for st in tasks
            for e in range(self.episodes_per_task)
        ]
        return jobs[self.shard[0] :: self.shard[1]]

    def identity(self) -> dict[str, Any]:
        """What must agree for a run to be resumed."""
        return {
            "suites": list(self.suites),
            "tasks": None if self.tasks is None else list(self.tasks),
            "episodes_per_task": self.episodes_per_task,
            "policy": dict(self.policy),
            "first_seed": self.first_seed,
            "n_action_steps": self.n_action_steps,
            "max_steps": self.max_steps,
            "control": self.control,
            "shard": list(self.shard),
        }


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
) -> Run:
    """Play the plan's episodes and return the run; what an earlier call in `out` finished is kept.

    Args:
        out: the run's folder, made if missing.
        workers: processes; 0 plays in this process (for tests and debuggers).
        slots: environments side by side in each process.

    Raises:
        InspireError: unknown suite or task, `out` holds a run of another plan or is in use, full disk, or an
            agent or benchmark that cannot be made.
    """
    folder = Path(out)
    jobs = plan.jobs(benchmark())
    with EpisodeLog(folder / EPISODES) as log:
        _open_run(folder, plan, workers, slots, had_episodes=bool(log.records))
        done = {record.key for record in log.records}
        todo = [job for job in jobs if job.key not in done]
        worker = _Worker(benchmark, agent, _settings(plan), slots, folder, video_writer)
        with _progress_bar(plan, jobs, log.records, progress) as advance:
            for record in _unless_all_crash(_records(worker, todo, workers)):
                log.append(record)
                advance(record)
    _close_run(folder)
    return read_run(folder)


def _settings(plan: EvaluationPlan) -> RolloutSettings:
    return RolloutSettings(str(plan.policy["name"]), plan.n_action_steps, plan.max_steps, plan.control)


def _open_run(folder: Path, plan: EvaluationPlan, workers: int, slots: int, *, had_episodes: bool) -> None:
    """Write run.json, or check that the one there is of the same plan and note the resumption."""
    path = folder / RUN
    if path.exists():
        info = read_run(folder).info
        before, wanted = info.get("plan", {}), plan.identity()
        different = {k: (before.get(k), v) for k, v in wanted.items() if before.get(k) != v}
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
            "plan": plan.identity(),
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


@dataclass(frozen=True)
class _Worker:
    """What a worker process needs; sent to it pickled."""

    benchmark: Callable[[], Benchmark]
    agent: Callable[[], Agent]
    settings: RolloutSettings
    slots: int
    folder: Path
    video_writer: EpisodeVideoWriter | None

    def play(
        self, jobs: Iterable[EpisodeJob], on_start: Callable[[EpisodeJob], None] | None = None
    ) -> Iterator[EpisodeRecord]:
        write = None if self.video_writer is None else partial(self._write_video, self.video_writer)
        return rollout(
            jobs, self.benchmark(), self.agent(), self.settings,
            slots=self.slots, video_writer=write, on_start=on_start,
        )  # fmt: skip

    def _write_video(
        self, writer: EpisodeVideoWriter, job: EpisodeJob, record: EpisodeRecord, footage: Footage
    ) -> str:
        name = "".join(c if c.isalnum() else "_" for c in job.task)[:80]
        path = self.folder / "videos" / job.suite / f"{name}_{job.episode:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(path, footage.frames, footage.fps, vars(record))
        write_footage(path.with_suffix(".npz"), footage.actions, footage.states)
        return path.relative_to(self.folder).as_posix()


def _records(worker: _Worker, jobs: list[EpisodeJob], workers: int) -> Iterator[EpisodeRecord]:
    if not jobs:
        return
    if workers == 0:
        yield from worker.play(jobs)
        return
    yield from _in_processes(worker, jobs, min(workers, len(jobs)))


def _unless_all_crash(records: Iterator[EpisodeRecord]) -> Iterator[EpisodeRecord]:
    """Pass records on; but when the first MAX_FIRST_CRASHES all crash, stop: that is a mistake, not a measurement."""
    crashed: list[EpisodeRecord] = []
    for record in records:
        crashed.append(record)
        if record.error and record.traceback:
            if len(crashed) >= MAX_FIRST_CRASHES:
                raise InspireError(
                    f"the first {len(crashed)} episodes all crashed, so none was recorded. "
                    f"The last, {record.suite} / {record.task}:\n{record.traceback}"
                )
            continue
        yield from crashed
        break
    else:
        yield from crashed
    yield from records


@dataclass
class _Process:
    process: Any
    connection: Connection
    left: dict[tuple[str, str, int], EpisodeJob]
    playing: dict[tuple[str, str, int], EpisodeJob] = field(default_factory=dict)
    started: bool = False


def _in_processes(worker: _Worker, jobs: list[EpisodeJob], count: int) -> Iterator[EpisodeRecord]:
    """Yield records as workers send them. Processes are spawned: forks and rendering contexts don't mix."""
    context = multiprocessing.get_context("spawn")
    shares = [jobs[len(jobs) * i // count : len(jobs) * (i + 1) // count] for i in range(count)]
    with _threads_per_worker(count):
        running = [_launch(context, worker, share) for share in shares]
        try:
            while running:
                ready = wait([p.connection for p in running])
                for process in [p for p in running if p.connection in ready]:
                    try:
                        kind, value = process.connection.recv()
                    except EOFError:
                        running.remove(process)
                        yield from _bury(process, worker.settings.policy)
                        if process.left:
                            running.append(_launch(context, worker, list(process.left.values())))
                        continue
                    if kind == "start":
                        process.started = True
                        process.playing[value.key] = process.left.pop(value.key)
                    elif kind == "record":
                        process.playing.pop(value.key, None)
                        yield value
                    elif kind == "done":
                        running.remove(process)
                        process.process.join()
                        process.connection.close()
                    else:
                        raise InspireError(value)
        finally:
            for process in running:
                process.process.terminate()
                process.process.join()
                process.connection.close()


def _launch(context: Any, worker: _Worker, jobs: list[EpisodeJob]) -> _Process:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, worker, jobs), daemon=True)
    process.start()
    theirs.close()
    return _Process(process, ours, {job.key: job for job in jobs})


def _bury(process: _Process, policy: str) -> Iterator[EpisodeRecord]:
    """Yield failures for what a dead worker was playing. Death before the first episode ends the run."""
    process.process.join()
    process.connection.close()
    code = process.process.exitcode
    reason = (
        f"the worker process died ({'signal ' + str(-code) if code and code < 0 else f'exit code {code}'})"
    )
    if not process.started:
        raise InspireError(f"{reason} before it could start an episode; run with workers=0 to see why.")
    for job in process.playing.values():
        yield EpisodeRecord(
            job.suite, job.task, job.task, job.episode, job.seed, False, 0, policy, error=reason
        )  # fmt: skip


def _serve(connection: Connection, worker: _Worker, jobs: list[EpisodeJob]) -> None:
    """A worker's life: play, send, say done. What stops it as a whole is sent as an error."""
    try:
        for record in worker.play(jobs, on_start=lambda job: connection.send(("start", job))):
            connection.send(("record", record))
        connection.send(("done", None))
    except (BrokenPipeError, KeyboardInterrupt):
        return  # the parent has gone
    except InspireError as error:
        connection.send(("error", str(error)))
    except Exception:
        connection.send(("error", "a worker stopped:\n" + traceback.format_exc()))


@contextmanager
def _threads_per_worker(workers: int) -> Iterator[None]:
    """Share the cores out while workers are spawned; what the user set is left alone.

    Threads that wait must sleep, not spin: on a busy machine spinning made a decision fifty times slower.
    """
    wanted = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)), "OMP_WAIT_POLICY": "PASSIVE"}
    mine = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
