"""Episodes over several worker processes. ray_workers.py does the same on a Ray cluster.

A worker makes its own benchmark and agent, plays its share of the jobs and sends messages to the parent. If a worker
dies, the episodes it was playing are failures, and a new worker takes over the rest of its share.
"""

import hashlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast

from inspire_vla.dialogue import NOT_ASKED
from inspire_vla.errors import InspireError
from inspire_vla.evaluation.episode import EpisodeJob, RolloutSettings
from inspire_vla.evaluation.protocols import Agent, Benchmark
from inspire_vla.evaluation.recording import Recording
from inspire_vla.evaluation.records import EpisodeKey, EpisodeRecord
from inspire_vla.evaluation.rollout import failed, rollout
from inspire_vla.worker_processes import exit_with_parent, usable_cores

_LONGEST_NAME = 80
"""Bytes: file systems take 255, which 80 Chinese letters alone nearly fill."""
_GRACE_S = 0.3
"""A worker that was terminated may be so together with this process. Then it ends before the worker's death counts."""
EpisodeVideoWriter = Callable[[Path, Sequence[Any], float, Mapping[str, Any]], None]
"""(path of the mp4, frames (H, W, 3) uint8, frames per second, the episode's record as a dictionary)"""
Message = tuple[str, Any]
"""("start", EpisodeJob), ("record", EpisodeRecord), ("video", (name, bytes)), ("error", text) or ("done", None)"""


@dataclass(frozen=True)
class Worker:
    """What a worker needs; sent to it pickled.

    warned: whether the parent has said which instructions name more objects than the policy is asked about.
    """

    benchmark: Callable[[], Benchmark]
    agent: Callable[[], Agent]
    settings: RolloutSettings
    slots: int
    folder: Path
    video_writer: EpisodeVideoWriter | None
    warned: bool = False

    def play(
        self, jobs: Iterable[EpisodeJob], on_start: Callable[[EpisodeJob], None] | None = None
    ) -> Iterator[EpisodeRecord]:
        """Play jobs one after another in this process."""
        write = None if self.video_writer is None else partial(self._write_video, self.video_writer)
        before, NOT_ASKED.disabled = NOT_ASKED.disabled, self.warned
        try:
            yield from rollout(
                jobs, self.benchmark(), self.agent(), self.settings,
                slots=self.slots, video_writer=write, on_start=on_start,
            )  # fmt: skip
        finally:
            NOT_ASKED.disabled = before

    def _write_video(
        self, writer: EpisodeVideoWriter, job: EpisodeJob, record: EpisodeRecord, recording: Recording
    ) -> str:
        part = f"_part{job.part}" if job.part else ""
        path = self.folder / "videos" / job.suite / f"{_file_name(job.task)}_{job.episode:03d}{part}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(path, recording.frames, recording.fps, vars(record))
        recording.write_arrays(path.with_suffix(".npz"))
        return path.relative_to(self.folder).as_posix()

    def serve(self, send: Callable[[Message], None], jobs: list[EpisodeJob]) -> None:
        """Play jobs in a worker and send messages. An error that stops the worker as a whole is sent, too."""
        try:
            for record in self.play(jobs, on_start=lambda job: send(("start", job))):
                send(("record", record))
            send(("done", None))
        except (BrokenPipeError, KeyboardInterrupt):
            return  # the parent has ended
        except InspireError as error:
            send(("error", str(error)))
        except Exception:
            send(("error", "A worker stopped:\n" + traceback.format_exc()))


def _file_name(task: str) -> str:
    """Return the task as a file name; a long one is cut and made unique by its hash."""
    name = "".join(c if c.isalnum() else "_" for c in task)
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    begin = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return f"{begin}_{hashlib.sha256(task.encode()).hexdigest()[:8]}"


def split_jobs(jobs: Sequence[EpisodeJob], count: int) -> list[list[EpisodeJob]]:
    """Split jobs into contiguous parts of about the same length, so that a worker keeps its environments."""
    return [list(jobs[len(jobs) * i // count : len(jobs) * (i + 1) // count]) for i in range(count)]


@dataclass
class Share:
    """A worker's jobs as the parent knows them: not started yet, and being played."""

    waiting: dict[EpisodeKey, EpisodeJob]
    playing: dict[EpisodeKey, EpisodeJob] = field(default_factory=dict)
    started: bool = False
    done: bool = False

    @classmethod
    def of(cls, jobs: Iterable[EpisodeJob]) -> "Share":
        """The share of a worker that has not begun."""
        return cls({job.key: job for job in jobs})

    def receive(self, kind: str, value: Any) -> Iterator[EpisodeRecord]:
        """Take a message; yield the record that it holds, if any."""
        if kind == "start":
            self.started = True
            self.playing[value.key] = self.waiting.pop(value.key)
        elif kind == "record":
            self.playing.pop(value.key, None)
            yield value
        elif kind == "done":
            self.done = True
        else:
            raise InspireError(value)

    def record_worker_death(self, policy: str, reason: str, advice: str) -> Iterator[EpisodeRecord]:
        """Yield a failure for each episode being played. A death before the first episode ends the run."""
        if not self.started:
            raise InspireError(f"{reason} before it could start an episode. {advice}")
        for job in self.playing.values():
            yield failed(job, policy, reason)


def in_processes(worker: Worker, jobs: list[EpisodeJob], count: int) -> Iterator[EpisodeRecord]:
    """Play jobs in `count` processes; yield records as they arrive. Spawned: forks break rendering contexts."""
    context = multiprocessing.get_context("spawn")
    running: dict[Any, tuple[Any, Share]] = {}  # connection: process, share

    def launch(share: Sequence[EpisodeJob]) -> None:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_serve_process, args=(theirs, worker, list(share)), daemon=True)
        process.start()
        theirs.close()
        running[ours] = process, Share.of(share)

    with _threads_per_worker(count):
        try:
            for part in split_jobs(jobs, count):
                launch(part)
            while running:
                for connection in cast(list[Any], wait(list(running))):
                    process, share = running[connection]
                    dead = False
                    try:
                        kind, value = connection.recv()
                    except (EOFError, OSError):  # died, perhaps in the middle of a message
                        dead = True
                    else:
                        yield from share.receive(kind, value)
                    if dead or share.done:
                        del running[connection]
                        process.join()
                        connection.close()
                    if dead:
                        if process.exitcode == -signal.SIGTERM:
                            time.sleep(_GRACE_S)
                        code = process.exitcode
                        how = f"signal {-code}" if code and code < 0 else f"exit code {code}"
                        yield from share.record_worker_death(
                            worker.settings.policy,
                            f"the worker process died ({how})",
                            "Fewer --workers need less memory; in Python, evaluate(…, workers=0) shows the error.",
                        )
                        if share.waiting:
                            launch(list(share.waiting.values()))
        finally:
            for connection, (process, _) in running.items():
                process.terminate()
                process.join()
                connection.close()


def _serve_process(connection: Any, worker: Worker, jobs: list[EpisodeJob]) -> None:
    exit_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the parent ends the workers
    worker.serve(connection.send, jobs)


@contextmanager
def _threads_per_worker(workers: int) -> Iterator[None]:
    """Divide the cores among workers while they are spawned; what the user has set is kept.

    Waiting threads sleep instead of spinning, which takes the cores from others (benchmarks/waiting_threads.py).
    """
    variables = {"OMP_NUM_THREADS": str(max(1, usable_cores() // workers)), "OMP_WAIT_POLICY": "PASSIVE"}
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
