"""Collect labelled demonstrations of a suite as a LeRobot v3 dataset.

    workers ──a file per episode──▶ .NAME.collecting/episode_000123.npz
            ──one writer──▶ .NAME.assembling/ ──rename──▶ NAME/

Each episode is fixed by (suite, seed, task, number) alone, whoever makes it and when. So the run may be killed at
any moment: started again it makes the missing episodes, and the dataset comes out the same, byte for byte.
"""

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from inspire_vla import __version__
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.labels import LabelInfo, ModeRule
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.spatial import Frame
from inspire_vla.tabletop.demonstration import (
    Conditions,
    demonstrate,
    load_demonstration,
    save_demonstration,
    task_of,
)
from inspire_vla.tabletop.suites import SUITES

MAX_OBJECTS = 4
"""Width of the label columns: the most mentions of an instruction of any suite."""
COLLECTION_FILE = "meta/inspire_collection.json"
NOISE = 0.15
"""Default noise of the executed action, in units of it: 6 mm a step."""


@dataclass(frozen=True)
class CollectReport:
    """What came out. `failed`: task name → attempts of the expert that failed and were replaced."""

    root: Path
    episodes: int
    frames: int
    failed: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        tried = self.episodes + sum(self.failed.values())
        done = f"{self.episodes} episodes, {self.frames} frames, in {self.seconds:.0f} s"
        lines = [f"{self.root}: {done}; the expert succeeded in {self.episodes} of {tried} attempts."]
        lines += [f"  failed and replaced: {count} × {task}" for task, count in sorted(self.failed.items())]
        return "\n".join(lines)


def collect(
    suite: str,
    episodes: int,
    out: str | Path,
    *,
    seed: int = 0,
    processes: int = 1,
    image_size: int = 96,
    wrist: bool = False,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    noise: float = NOISE,
    layout_randomness: float = 0.0,
    resume: bool = True,
    progress: bool = True,
) -> CollectReport:
    """Let the expert demonstrate, label every frame, write `out`: a dataset that stock LeRobot tools open.

    Columns: observation.images.image (and image2, the wrist camera), observation.state (8,), action (7,),
    observation.answers.<mode> int16 (MAX_OBJECTS,), and the privileged truth that the labels come from:
    privileged.gripper_to_object_m float32 (3·MAX_OBJECTS,) and privileged.grasped int16 (MAX_OBJECTS,), zero
    beyond the objects of the instruction.

    Args:
        episodes: successful episodes, dealt round-robin to the suite's tasks.
        out: folder to make; it must not exist, unless it is the finished dataset of this very call.
        noise: standard deviation of the noise on executed translations; the clean action is what is recorded.
        layout_randomness: see scenes.py.
        resume: go on from what an interrupted call with the same settings left; else begin anew.

    Raises:
        InspireError: an unknown suite, mode or frame; numbers out of range; `out` exists; an interrupted call
            had other settings; the disk is full; a worker died.
    """
    started = time.monotonic()
    if suite not in SUITES:
        raise InspireError(f"Unknown suite {suite!r}.{did_you_mean(str(suite), SUITES)}")
    for name, number, low in (("episodes", episodes, 1), ("processes", processes, 1), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise InspireError(f"{name} must be a whole number of at least {low}, found {number!r}.")
    for name, value in (("noise", noise), ("layout_randomness", layout_randomness)):
        if not 0 <= value <= 1:
            raise InspireError(f"{name} must be between 0 and 1, found {value!r}.")
    if isinstance(image_size, bool) or not isinstance(image_size, int) or not 16 <= image_size <= 640:
        raise InspireError(f"image_size must be between 16 and 640 pixels, found {image_size!r}.")
    cameras = ("image", "image2") if wrist else ("image",)
    conditions = Conditions(suite, seed, cameras, image_size, float(noise), float(layout_randomness))
    labels = LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes={mode: ModeRule() for mode in modes},
        tasks={task.instruction: task.words for task in SUITES[suite]},
        max_objects=MAX_OBJECTS,
        labeller=LABELLER,
    )
    settings = json.loads(
        json.dumps(asdict(conditions) | {"version": __version__, "labels": labels.to_json()})
    )
    out = Path(out).absolute()
    if out.exists():
        return _finished(out, settings, episodes)
    work, assembling = out.with_name(f".{out.name}.collecting"), out.with_name(f".{out.name}.assembling")
    with _said_clearly(work), _alone(work):
        _begin(work, settings, resume)
        _make_missing(conditions, episodes, work, processes, progress)
        shutil.rmtree(assembling, ignore_errors=True)
        record = _assemble(conditions, labels, episodes, work, assembling, settings, progress)
        os.replace(assembling, out)
        shutil.rmtree(work, ignore_errors=True)
    return _report(out, record, time.monotonic() - started)


def _shard(work: Path, episode: int) -> Path:
    return work / f"episode_{episode:06d}.npz"


def _begin(work: Path, settings: dict[str, Any], resume: bool) -> None:
    plan = work / "settings.json"
    if not resume:
        for path in work.glob("episode_*.npz"):
            path.unlink()
        plan.unlink(missing_ok=True)
    for path in work.glob(".*.tmp"):
        path.unlink()
    if plan.exists():
        found = json.loads(plan.read_text())
        if found != settings:
            differing = sorted(key for key in settings | found if settings.get(key) != found.get(key))
            raise InspireError(
                f"An interrupted collection in {work} had another {', '.join(differing)}. "
                "Collect with the settings it had, into another folder, or with resume=False to throw it away."
            )
        return
    temporary = plan.with_suffix(".tmp")
    temporary.write_text(json.dumps(settings))
    os.replace(temporary, plan)


def _make_missing(conditions: Conditions, episodes: int, work: Path, processes: int, progress: bool) -> None:
    missing = [episode for episode in range(episodes) if not _shard(work, episode).exists()]
    with tqdm(total=episodes, initial=episodes - len(missing), unit="episode", disable=not progress) as bar:
        bar.set_description(f"demonstrating {conditions.suite}")
        failed = 0
        for attempts in _made(conditions, missing, work, min(processes, len(missing))):
            failed += attempts
            bar.update()
            bar.set_postfix(failed=failed, refresh=False)


def _made(conditions: Conditions, missing: list[int], work: Path, processes: int) -> Iterator[int]:
    """Make the missing episodes; yields the number of failed attempts as each is done."""
    if processes <= 1:
        for episode in missing:
            yield _work(conditions, episode, work)
        return
    context = multiprocessing.get_context("spawn")  # OpenGL contexts do not survive a fork
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_follow_parent, initargs=(os.getpid(),)
    )
    try:
        for done in as_completed([pool.submit(_work, conditions, episode, work) for episode in missing]):
            yield done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work(conditions: Conditions, episode: int, work: Path) -> int:
    demonstration = demonstrate(conditions, episode)
    save_demonstration(demonstration, _shard(work, episode))
    return len(demonstration.failed_seeds)


def _follow_parent(parent: int) -> None:
    """In a worker: leave when the parent is killed, which a pool does not notice."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _assemble(
    conditions: Conditions,
    labels: LabelInfo,
    episodes: int,
    work: Path,
    assembling: Path,
    settings: dict[str, Any],
    progress: bool,
) -> dict[str, Any]:
    """Write the dataset from the episodes' files. Returns the record of the collection."""
    from inspire_vla.tabletop.dataset_writer import (
        TabletopDatasetWriter,
    )  # LeRobot and torch, seconds to import

    rows: list[dict[str, Any]] = []
    with TabletopDatasetWriter(assembling, conditions, labels) as writer:
        for episode in tqdm(
            range(episodes), desc="writing the dataset", unit="episode", disable=not progress
        ):
            path = _shard(work, episode)
            try:
                demonstration = load_demonstration(path)
            except InspireError:  # the machine went down while it was written
                path.unlink()
                _work(conditions, episode, work)
                demonstration = load_demonstration(path)
            if demonstration.task_name != task_of(conditions, episode).name:
                raise InspireError(f"{path} is of task {demonstration.task_name!r}: from another collection?")
            writer.add(demonstration)
            rows.append(
                {
                    "task": demonstration.task_name,
                    "seed": demonstration.seed,
                    "frames": len(demonstration),
                    "failed_seeds": list(demonstration.failed_seeds),
                }
            )
    record = {"settings": settings, "episodes": rows}
    (assembling / COLLECTION_FILE).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record


def _finished(out: Path, settings: dict[str, Any], episodes: int) -> CollectReport:
    """The report of a dataset that is already there, if it is the one asked for."""
    try:
        record = json.loads((out / COLLECTION_FILE).read_text())
        same = record["settings"] == settings and len(record["episodes"]) == episodes
    except (OSError, ValueError, KeyError, TypeError):
        raise InspireError(f"{out} exists and is no collected dataset; choose another folder.") from None
    if not same:
        raise InspireError(
            f"{out} exists: a dataset of {len(record['episodes'])} episodes collected with other settings or "
            "another number of them. Choose another folder, or delete it."
        )
    return _report(out, record, 0.0)


def _report(out: Path, record: dict[str, Any], seconds: float) -> CollectReport:
    failed: Counter[str] = Counter()
    for row in record["episodes"]:
        if row["failed_seeds"]:
            failed[row["task"]] += len(row["failed_seeds"])
    frames = sum(row["frames"] for row in record["episodes"])
    return CollectReport(out, len(record["episodes"]), frames, dict(failed), seconds)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold the lock of the working folder: two collections into one folder would mix."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InspireError(f"Another collection is writing into {work}.") from None
        yield


@contextmanager
def _said_clearly(work: Path) -> Iterator[None]:
    kept = f"Finished episodes are kept in {work}; run the same command again to go on."
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
