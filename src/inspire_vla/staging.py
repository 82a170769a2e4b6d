"""Long work that may be killed at any moment: a file per piece, then one folder, whole or absent.

    workers ──a file per piece──▶ .NAME.WORD/…npz ──one writer──▶ .NAME.assembling/ ──rename──▶ NAME/

A piece must depend on its number and the settings alone, whoever makes it and when. Then the same call, made again,
makes the missing pieces, and NAME comes out the same.
"""

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError


@dataclass(frozen=True)
class Staging:
    """The unfinished side of the folder `out`.

    Args:
        settings: JSON values that fix every piece.
        word: what is being done, as in "collecting"; names the folder of pieces.
    """

    out: Path
    settings: dict[str, Any]
    word: str = "collecting"

    @property
    def folder(self) -> Path:
        """Where the pieces lie."""
        return self.out.with_name(f".{self.out.name}.{self.word}")

    def piece(self, number: int) -> Path:
        """The file of one piece."""
        return self.folder / f"episode_{number:06d}.npz"

    @contextmanager
    def begun(self, *, resume: bool = True, anew_if_other: bool = False) -> Iterator[None]:
        """Hold the folder alone, with the pieces that an interrupted call with the same settings left.

        Args:
            resume: False throws them away.
            anew_if_other: pieces made with other settings are thrown away too; else they are an error.

        Raises:
            InspireError: another call holds it, other settings, a full disk, a worker that died.
        """
        with self._said_clearly(), self._alone():
            self._begin(resume, anew_if_other)
            yield

    def missing(self, count: int) -> list[int]:
        """Numbers of the pieces that are not there."""
        return [number for number in range(count) if not self.piece(number).exists()]

    def finish(self, assemble: Callable[[Path], Any]) -> Any:
        """Let `assemble` make a folder, give it the name `out`, and throw the pieces away. Returns what it returns."""
        assembling = self.out.with_name(f".{self.out.name}.assembling")
        shutil.rmtree(assembling, ignore_errors=True)
        record = assemble(assembling)
        os.replace(assembling, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)
        return record

    def _begin(self, resume: bool, anew_if_other: bool) -> None:
        plan = self.folder / "settings.json"
        settings = json.loads(json.dumps(self.settings))
        for path in self.folder.glob(".*.tmp"):
            path.unlink()
        found = json.loads(plan.read_text()) if plan.exists() else None
        if not resume or (anew_if_other and found != settings):
            for path in self.folder.glob("episode_*.npz"):
                path.unlink()
            plan.unlink(missing_ok=True)
            found = None
        if found is None:
            temporary = plan.with_suffix(".tmp")
            temporary.write_text(json.dumps(settings))
            os.replace(temporary, plan)
        elif found != settings:
            differing = sorted(key for key in settings | found if settings.get(key) != found.get(key))
            raise InspireError(
                f"An interrupted call left pieces in {self.folder} that had another {', '.join(differing)}. "
                "Go on with the settings it had, into another folder, or with resume=False to throw it away."
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two calls into one folder would mix."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InspireError(f"Another call is {self.word} into {self.folder}.") from None
            yield

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        kept = f"What is finished is kept in {self.folder}; run the same command again to go on."
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InspireError(f"The disk is full. Make room. {kept}") from error
            if isinstance(error, PermissionError | NotADirectoryError | FileNotFoundError):
                raise InspireError(f"Cannot write the dataset: {error}.") from error
            raise
        except BrokenProcessPool as error:
            raise InspireError(
                f"A worker process died; out of memory, with too many processes? {kept}"
            ) from error


def in_processes(work: Callable[[int], Any], numbers: Sequence[int], processes: int) -> Iterator[Any]:
    """Yield what `work` returns for each number, as they finish; up to one process works in this one.

    Workers are spawned, since OpenGL contexts do not survive a fork, and leave when this process is killed.
    """
    processes = min(processes, len(numbers))
    if processes <= 1:
        for number in numbers:
            yield work(number)
        return
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_follow_parent,
        initargs=(os.getpid(),),
    )
    try:
        for done in as_completed([pool.submit(work, number) for number in numbers]):
            yield done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _follow_parent(parent: int) -> None:
    """In a worker: leave when the parent is killed, which a pool does not notice."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
