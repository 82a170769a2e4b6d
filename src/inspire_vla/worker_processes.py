"""Worker processes that end with their parent."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from inspire_vla.errors import GO_ON, MachineFault


def usable_cores() -> int:
    """Number of processor cores that this process may run on.

    Where `taskset` or a container restricts the process, this is fewer than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_processes[T](function: Callable[[int], T], numbers: Sequence[int], processes: int) -> Iterator[T]:
    """Yield `function(number)` for each number, as the calls finish. With one process or none, no worker is started.

    Workers are spawned, because OpenGL contexts do not survive a fork. They end when this process is killed
    or interrupted, in the middle of their calls.

    Raises:
        MachineFault: a worker process died.
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
        raise MachineFault(
            f"A worker process died, perhaps for lack of memory; fewer processes may help. {GO_ON}"
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
