"""Episodes over several processes of this machine. When one dies, what it was playing has failed; the rest goes on."""

import hashlib
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

from inspire_vla.errors import InspireError
from inspire_vla.evaluation.episode import EpisodeJob, RolloutSettings
from inspire_vla.evaluation.footage import Footage, write_footage
from inspire_vla.evaluation.protocols import Agent, Benchmark
from inspire_vla.evaluation.records import EpisodeRecord
from inspire_vla.evaluation.rollout import rollout
from inspire_vla.jobs import usable_cores

_LONGEST_NAME = 80
EpisodeVideoWriter = Callable[[Path, Sequence[Any], float, Mapping[str, Any]], None]
"""(path of the mp4, frames (H, W, 3) uint8, frames a second, the episode's record as a dictionary)"""


@dataclass(frozen=True)
class Worker:
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
        path = self.folder / "videos" / job.suite / f"{_file_name(job.task)}_{job.episode:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(path, footage.frames, footage.fps, vars(record))
        write_footage(path.with_suffix(".npz"), footage.actions, footage.states)
        return path.relative_to(self.folder).as_posix()


def _file_name(task: str) -> str:
    """The task in letters that a file's name may have; a long one is cut, and told apart by its hash."""
    name = "".join(c if c.isalnum() else "_" for c in task)
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}_{hashlib.sha256(task.encode()).hexdigest()[:8]}"


@dataclass
class _Process:
    process: Any
    connection: Connection
    left: dict[tuple[str, str, int], EpisodeJob]
    playing: dict[tuple[str, str, int], EpisodeJob] = field(default_factory=dict)
    started: bool = False


def in_processes(worker: Worker, jobs: list[EpisodeJob], count: int) -> Iterator[EpisodeRecord]:
    """Yield records as workers send them. Processes are spawned: forks and rendering contexts don't mix."""
    context = multiprocessing.get_context("spawn")
    with _threads_per_worker(count):
        running = [_launch(context, worker, share) for share in shares(jobs, count)]
        try:
            while running:
                ready = wait([p.connection for p in running])
                for process in [p for p in running if p.connection in ready]:
                    try:
                        kind, value = process.connection.recv()
                    except (EOFError, OSError):  # died, perhaps in the middle of a message
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


def _launch(context: Any, worker: Worker, jobs: list[EpisodeJob]) -> _Process:
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
    yield from failures(process.playing.values(), policy, reason)


def failures(jobs: Iterable[EpisodeJob], policy: str, reason: str) -> Iterator[EpisodeRecord]:
    """Records of episodes that were lost: each is a failure, with its reason."""
    for job in jobs:
        yield EpisodeRecord(
            job.suite, job.task, job.task, job.episode, job.seed, False, 0, policy, error=reason, crashed=True
        )  # fmt: skip


def shares(jobs: Sequence[EpisodeJob], count: int) -> list[list[EpisodeJob]]:
    """Deal jobs out in stretches of about the same length, so that a worker keeps its environments."""
    return [list(jobs[len(jobs) * i // count : len(jobs) * (i + 1) // count]) for i in range(count)]


def _serve(connection: Connection, worker: Worker, jobs: list[EpisodeJob]) -> None:
    serve(connection.send, worker, jobs)


def serve(send: Callable[[tuple[str, Any]], None], worker: Worker, jobs: list[EpisodeJob]) -> None:
    """A worker's life: play, send, say done. What stops it as a whole is sent as an error."""
    try:
        for record in worker.play(jobs, on_start=lambda job: send(("start", job))):
            send(("record", record))
        send(("done", None))
    except (BrokenPipeError, KeyboardInterrupt):
        return  # the parent has gone
    except InspireError as error:
        send(("error", str(error)))
    except Exception:
        send(("error", "a worker stopped:\n" + traceback.format_exc()))


@contextmanager
def _threads_per_worker(workers: int) -> Iterator[None]:
    """Share the cores out while workers are spawned; what the user set is left alone.

    Threads that wait must sleep, not spin: on a busy machine spinning made a decision fifty times slower.
    """
    wanted = {"OMP_NUM_THREADS": str(max(1, usable_cores() // workers)), "OMP_WAIT_POLICY": "PASSIVE"}
    mine = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)
