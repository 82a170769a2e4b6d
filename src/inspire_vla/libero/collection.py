"""Demonstrations of LIBERO's tasks without a download: the scripted expert acts, what it does is recorded and labelled.

Scenes are drawn anew from the task file's own regions, as for LIBERO's demonstrations; the fixed initial states that
evaluation starts from are never used. The expert acts without images; the states it went through are then set
again and rendered, so that only successful attempts cost images.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from inspire_vla import __version__
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.jobs import ResumableJob, map_in_processes
from inspire_vla.labels import ModeRule
from inspire_vla.labels.dataset_writer import Demonstration, save_demonstration, save_skipped
from inspire_vla.libero.bddl import SUITES, instruction_of, read_problem, task_files
from inspire_vla.libero.benchmark import MAX_STEPS
from inspire_vla.libero.expert import Expert, able
from inspire_vla.libero.recording import (
    check_cameras,
    demonstration_of,
    labels_for,
    observe,
    simulation,
    write_dataset,
)
from inspire_vla.libero.simulation import SETTLING_STEPS, Truth, require_libero
from inspire_vla.spatial import Frame

MAX_ATTEMPTS = 4
COLLECTION_FILE = "meta/inspire_collection.json"
NOISE = 0.05
"""Default noise of executed translations, in units of the action: 2.5 mm of what is asked for in a step."""


@dataclass(frozen=True)
class Conditions:
    """What fixes a demonstration, besides its number."""

    suite: str
    tasks: tuple[str, ...]
    seed: int
    cameras: tuple[str, ...]
    image_size: int | None
    noise: float


@dataclass(frozen=True)
class CollectReport:
    """What came out. attempts: task → (successful, tried); unable: task → why the expert was not asked."""

    root: Path
    episodes: int
    frames: int
    attempts: dict[str, tuple[int, int]]
    unable: dict[str, str]

    def __str__(self) -> str:
        lines = [
            f"{self.root}: {self.episodes} episodes, {self.frames} frames. The expert, successes of attempts:"
        ]
        for task, (successful, tried) in self.attempts.items():
            lines.append(f"  {successful:4d} of {tried:4d} ({100 * successful / tried:3.0f} %)  {task}")
        lines += [f"  cannot do: {task} ({why})" for task, why in self.unable.items()]
        return "\n".join(lines)


def collect(
    suite: str,
    episodes: int,
    out: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    processes: int = 1,
    image_size: int | None = 128,
    cameras: Sequence[str] = ("image", "image2"),
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    noise: float = NOISE,
    resume: bool = True,
    progress: bool = True,
) -> CollectReport:
    """Let the expert demonstrate; write `out`, a LeRobot dataset like that of `import_demonstrations`.

    Args:
        episodes: dealt round-robin to the tasks that the expert can do. One that fails MAX_ATTEMPTS times is left out
            and counted.
        tasks: only these, by their files' names; None: all of the suite.
        image_size: pixels; None for no images, which are most of the time.

    Raises:
        InspireError: an unknown suite or task, numbers out of range, no task the expert can do, `out` exists and is
            not the finished dataset of this very call, LIBERO is not installed.
    """
    if suite not in SUITES:
        raise InspireError(f"unknown LIBERO suite {suite!r}.{did_you_mean(suite, SUITES)}")
    for name, number, low in (("episodes", episodes, 1), ("processes", processes, 1), ("seed", seed, 0)):
        if number < low:
            raise InspireError(f"{name} must be at least {low}, found {number}.")
    if not 0 <= noise <= 1:
        raise InspireError(f"noise must be between 0 and 1, found {noise!r}.")
    if image_size is not None and not 16 <= image_size <= 1024:
        raise InspireError(f"image_size must be between 16 and 1024 pixels, found {image_size}.")
    require_libero()
    files = {path.stem: path for path in task_files(suite)}
    for task in tasks or ():
        if task not in files:
            raise InspireError(f"unknown task {task!r} of {suite}.{did_you_mean(task, files)}")
    reasons = {
        task: able(read_problem(files[task]), instruction_of(files[task])) for task in (tasks or files)
    }
    unable = {task: why for task, why in reasons.items() if why}
    chosen = tuple(task for task, why in reasons.items() if not why)
    if not chosen:
        raise InspireError(f"the expert can do none of these tasks: {unable}.")
    shown = check_cameras(cameras) if image_size else ()
    conditions = Conditions(suite, chosen, seed, shown, image_size, float(noise))
    labels = labels_for(
        [files[task] for task in chosen], {}, modes, frame, ModeRule(), {"source": "LIBERO, scripted expert"}
    )
    settings = json.loads(
        json.dumps(
            asdict(conditions) | {"episodes": episodes, "version": __version__, "labels": labels.to_json()}
        )
    )
    out = Path(out).absolute()
    if out.exists():
        return _finished(out, settings, unable)
    job = ResumableJob(out, settings)
    make = partial(_make, conditions, job)
    with job.started(resume=resume):
        missing = job.missing(episodes)
        with tqdm(
            total=episodes,
            initial=episodes - len(missing),
            desc=f"demonstrating {suite}",
            disable=not progress,
        ) as bar:
            for _ in map_in_processes(make, missing, processes):
                bar.update()
        record = job.finish(partial(_assemble, conditions, labels, episodes, job, make, progress))
    return _report(out, record, unable)


def _make(conditions: Conditions, job: ResumableJob, episode: int) -> None:
    demonstration, failed = demonstrate(conditions, episode)
    if demonstration is None:
        save_skipped(f"the expert failed {len(failed)} times", job.shard(episode), failed)
    else:
        save_demonstration(demonstration, job.shard(episode))


def demonstrate(conditions: Conditions, episode: int) -> tuple[Demonstration | None, tuple[int, ...]]:
    """Episode `episode`, or None; and the seeds of the attempts that failed."""
    task = conditions.tasks[episode % len(conditions.tasks)]
    path = next(path for path in task_files(conditions.suite) if path.stem == task)
    env = simulation(str(path), conditions.image_size)
    failed: list[int] = []
    for attempt in range(MAX_ATTEMPTS):
        seed = seed_of(conditions, task, episode // len(conditions.tasks), attempt)
        found = try_once(env, path, conditions, seed)
        if found is not None:
            states, actions, truth = found
            rows = [
                observe(env.env, truth, conditions.cameras, conditions.image_size, state) for state in states
            ]
            shown = demonstration_of(
                rows, actions, truth, task, conditions.cameras, seed=seed, failed_seeds=tuple(failed)
            )
            return shown, tuple(failed)
        failed.append(seed)
    return None, tuple(failed)


def seed_of(conditions: Conditions, task: str, number: int, attempt: int) -> int:
    """Seed of an attempt at the `number`-th episode of a task: 32 bits, which is what LIBERO takes."""
    names = (zlib.crc32(conditions.suite.encode()), zlib.crc32(task.encode()))
    return int(
        np.random.SeedSequence((conditions.seed, *names, number, attempt)).generate_state(1, np.uint32)[0]
    )


def try_once(
    env: Any, path: Path, conditions: Conditions, seed: int
) -> tuple[list[np.ndarray], np.ndarray, Truth] | None:
    """One attempt in a scene drawn from `seed`; `env` is that of the task file `path`.

    Returns states before each of the T actions, the clean actions (T, 7), and the truth's eye; None if the goal was not
    reached in time.
    """
    env.seed(seed)
    env.reset()
    for _ in range(SETTLING_STEPS):
        env.env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    problem, truth = read_problem(path), Truth(env.env, path)
    generator = np.random.default_rng((seed, 1))
    states: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    things = {goal[1] for goal in problem.goal}
    for action in Expert(env, problem, truth).actions():
        states.append(env.get_sim_state().copy())
        actions.append(action)
        executed = action.astype(np.float64)
        executed[:3] += generator.normal(0.0, conditions.noise, 3)
        env.env.step(executed.clip(-1.0, 1.0))
        if env.check_success() and not any(map(truth.grasped, things)):
            return states, np.stack(actions), truth
        if len(actions) >= MAX_STEPS[conditions.suite]:
            return None
    return None


def _assemble(
    conditions: Conditions,
    labels: Any,
    episodes: int,
    job: ResumableJob,
    make: Any,
    progress: bool,
    folder: Path,
) -> dict[str, Any]:
    found = write_dataset(
        folder,
        labels,
        [job.shard(number) for number in range(episodes)],
        name=conditions.suite,
        image_size=conditions.image_size,
        cameras=conditions.cameras,
        make_again=make,
        progress=progress,
    )
    rows = []
    for number, one in enumerate(found):
        task = conditions.tasks[number % len(conditions.tasks)]
        if isinstance(one, str):
            rows.append({"task": task, "left_out": one, "failed": MAX_ATTEMPTS})
        else:
            failed = len(one.failed_seeds)
            rows.append({"task": task, "seed": one.seed, "frames": len(one), "failed": failed})
    record = {"settings": job.settings, "episodes": rows}
    (folder / COLLECTION_FILE).write_text(
        json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return record


def _finished(out: Path, settings: dict[str, Any], unable: dict[str, str]) -> CollectReport:
    """The report of a dataset that is already there, if it is the one asked for."""
    try:
        record = json.loads((out / COLLECTION_FILE).read_text(encoding="utf-8"))
        same = record["settings"] == settings
    except (OSError, ValueError, KeyError, TypeError):
        raise InspireError(f"{out} exists and is no collected dataset; choose another folder.") from None
    if not same:
        raise InspireError(
            f"{out} exists, collected with other settings. Choose another folder, or delete it."
        )
    return _report(out, record, unable)


def _report(out: Path, record: dict[str, Any], unable: dict[str, str]) -> CollectReport:
    attempts: dict[str, tuple[int, int]] = {}
    for row in record["episodes"]:
        successful, tried = attempts.get(row["task"], (0, 0))
        success = "left_out" not in row
        attempts[row["task"]] = (successful + success, tried + success + row["failed"])
    made = [row for row in record["episodes"] if "left_out" not in row]
    return CollectReport(out, len(made), sum(row["frames"] for row in made), attempts, unable)
