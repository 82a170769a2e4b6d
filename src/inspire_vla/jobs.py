"""Long jobs: resumable work in shards that ends as one folder, settings that have changed, and worker processes."""

import json
import multiprocessing
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.files import atomic_path, disk_errors, folder_lock, read_json, remove, write_json


def usable_cores() -> int:
    """Number of processor cores that this process may run on.

    Where `taskset` or a container restricts the process, this is fewer than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class ResumableJob:
    """Work that writes one file per shard and then assembles the shards into the folder `out`.

        workers ── one file per shard ──▶ .NAME.DOING/ ── assemble ──▶ .NAME.partial/ ── rename ──▶ NAME/

    A shard must depend only on its number and on the settings. Then an interrupted call, made again, computes the
    missing shards only, and `out` is the same as without the interruption. `out` is complete or absent.

    Args:
        settings: JSON values that determine every shard.
        doing: what the job does, as in "collecting"; part of the name of the shards' folder.
    """

    out: Path
    settings: dict[str, Any]
    doing: str = "collecting"

    @property
    def folder(self) -> Path:
        """The folder of the shards."""
        return self.out.with_name(f".{self.out.name}.{self.doing}")

    def shard(self, number: int) -> Path:
        """The file of one shard."""
        return self.folder / f"shard_{number:06d}.npz"

    @contextmanager
    def started(self, *, resume: bool = True, restart_if_changed: bool = False) -> Iterator[str]:
        """Hold the folder alone; keep the shards of an interrupted call that had the same settings. Yields what
        `prepare` returns.

        Args:
            resume: False removes all shards first.
            restart_if_changed: whether shards of other settings are removed. Otherwise they are an error.

        Raises:
            InspireError: another process works on this job or has just finished it, the settings differ, or the disk
                cannot be written.
        """
        with folder_lock(self.out, self.doing), disk_errors(self.out):
            if self.out.exists():
                raise InspireError(f"{self.out} exists. Choose another folder.")
            yield self.prepare(resume=resume, restart_if_changed=restart_if_changed)

    def prepare(self, *, resume: bool = True, restart_if_changed: bool = False) -> str:
        """As `started`, for a caller that holds the folder already. Returns what to say of shards that were removed
        because their settings differed, to be ended by what is done instead; nothing where none were.

        Raises:
            InspireError: the settings differ, and not `restart_if_changed`.
        """
        recorded = self.folder / "settings.json"
        settings = json.loads(json.dumps(self.settings))
        changed = ""
        if resume and recorded.exists():
            changed = changed_settings(read_json(recorded, dict[str, Any]), settings)
        if changed and not restart_if_changed:
            raise InspireError(
                f"An interrupted call left shards in {self.folder} and had other settings ({changed}). Repeat these, "
                "choose another folder, or remove what was left (inspire collect --restart; resume=False)."
            )
        if changed or not resume or not recorded.exists():  # shards without settings: a removal was killed
            remove(self.folder)
            write_json(recorded, settings)
        return changed and f"An interrupted call had other settings ({changed})"

    def shards(self) -> list[Path]:
        """The shards that exist, in order."""
        return sorted(self.folder.glob("shard_*.npz"))

    def missing(self, count: int) -> list[int]:
        """The numbers below `count` whose shards do not exist."""
        return [number for number in range(count) if not self.shard(number).exists()]

    def finish(self, assemble: Callable[[Path], Any]) -> Any:
        """Let `assemble` create a folder, rename it to `out`, and remove the shards. Returns what it returns."""
        with atomic_path(self.out) as partial:
            result = assemble(partial)
        remove(self.folder)
        return result


_UNRECORDED = object()
_LONGEST_VALUE = 80
_CHANGES_SHOWN = 5


def changed_settings(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in which settings two calls differ, as in "image_size: there 128, now 64". Nothing where they are equal.

    Of settings within settings, these alone are named, as in "policy.seed". Of a digest no value is shown.
    """
    changes = list(_changes("", earlier, now))
    more = len(changes) - _CHANGES_SHOWN
    return "; ".join([*changes[:_CHANGES_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _changes(path: str, earlier: Mapping[Any, Any], now: Mapping[Any, Any]) -> Iterator[str]:
    for key in {**earlier, **now}:
        name = f"{path}{key}"
        before, after = earlier.get(key, _UNRECORDED), now.get(key, _UNRECORDED)
        if before == after or repr(before) == repr(after):  # NaN is not equal to itself
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(f"{name}.", before, after)
        elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
            yield from _changes(f"{name}.", dict(enumerate(before)), dict(enumerate(after)))
        else:
            shown = [_shown(value) for value in (before, after)]
            yield f"{name}: another" if shown[0] == shown[1] else f"{name}: there {shown[0]}, now {shown[1]}"


def _shown(value: Any) -> str:
    if value is _UNRECORDED:
        return "not recorded"
    text = repr(value)
    if re.fullmatch("'[0-9a-f]{64}'", text):
        return "a digest"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def map_in_processes[T](function: Callable[[int], T], numbers: Sequence[int], processes: int) -> Iterator[T]:
    """Yield `function(number)` for each number, as the calls finish. With one process or none, no worker is started.

    Workers are spawned, because OpenGL contexts do not survive a fork. They end when this process is killed
    or interrupted, in the middle of their calls.

    Raises:
        InspireError: a worker process died.
    """
    processes = min(processes, len(numbers))
    if processes <= 1:
        yield from map(function, numbers)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(pickle.dumps(function),),
    )
    try:
        for future in as_completed([pool.submit(_call, number) for number in numbers]):
            yield future.result()
    except BrokenProcessPool as error:
        raise InspireError(
            "A worker process died, perhaps for lack of memory. What was finished before is kept; run the same command "
            "again to continue, with fewer processes if need be."
        ) from error
    except KeyboardInterrupt:  # Ctrl-C, or SIGTERM to this process alone: calls that run are not waited for
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_function: Callable[[int], Any]
"""In a worker: what it calls. It is sent once, because it may hold a list of all that is to be done."""


def _start_worker(function: bytes) -> None:
    global _function
    exit_with_parent()  # before anything is imported
    _function = pickle.loads(function)


def _call(number: int) -> Any:
    return _function(number)


def exit_with_parent() -> None:
    """In a worker of multiprocessing: exit when the parent has ended, however it ended, even in the middle of work."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
