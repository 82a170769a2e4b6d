"""Collect demonstrations of LIBERO's tasks by the scripted expert, without a download.

Scenes are sampled from the regions of the task file, as for LIBERO's own demonstrations. The fixed initial states that
evaluation starts from are never used. The expert acts without images. The states of a successful attempt are then set
again and rendered, so that failed attempts cost no images.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.labels import ModeRule
from inspire_vla.labels.collected_dataset import (
    CollectionRecord,
    check_numbers,
    collect_demonstrations,
    seed_sequence,
)
from inspire_vla.labels.demonstration import Demonstration, SkippedDemonstration
from inspire_vla.libero.benchmark import MAX_STEPS
from inspire_vla.libero.dataset import DATASET, LARGEST_IMAGE, check_cameras, label_info, make_demonstration
from inspire_vla.libero.expert import Expert, unsupported_reason
from inspire_vla.libero.installation import require_libero
from inspire_vla.libero.rendering import Rendering, check_rendering
from inspire_vla.libero.simulation import SETTLING_STEPS, GroundTruth, observe, shared_simulation
from inspire_vla.libero.tasks import (
    SPLIT_SUITES,
    SUITES,
    base_suite,
    instruction_of,
    read_problem,
    task_files,
)
from inspire_vla.perturbations import LIBERO, ActionPerturber
from inspire_vla.spatial import Frame

MAX_ATTEMPTS = 4
NOISE = 0.05
"""Default standard deviation of the noise on executed translations, in units of the action: 2.5 mm per step."""


@dataclass(frozen=True)
class Conditions:
    """Everything that determines a demonstration, except its number."""

    suite: str
    tasks: tuple[str, ...]
    seed: int
    cameras: tuple[str, ...]
    image_size: int | None
    noise: float
    render: Rendering = "full"
    perturbations: float = 0.0


@dataclass(frozen=True)
class EpisodeEntry:
    """How one episode was made. `failed`: attempts that failed. `skipped`: why there is no episode."""

    task: str
    failed: int
    seed: int = 0
    frames: int = 0
    skipped: str | None = None


@dataclass(frozen=True)
class CollectReport:
    """Result of a collection. attempts: task → (successes, attempts). unsupported: task → why."""

    root: Path
    episodes: int
    frames: int
    attempts: dict[str, tuple[int, int]]
    unsupported: dict[str, str]

    def __str__(self) -> str:
        size = f"{counted(self.episodes, 'episode')}, {counted(self.frames, 'frame')}"
        lines = [f"{self.root}: {size}. The expert's successes:"]
        for task, (successes, attempts) in self.attempts.items():
            lines.append(f"  {successes:4d} of {attempts:4d} ({100 * successes / attempts:3.0f} %)  {task}")
        lines += [f"  not supported: {task} ({why})" for task, why in self.unsupported.items()]
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
    perturbations: float = 0.0,
    render: Rendering = "full",
    resume: bool = True,
    progress: bool = True,
) -> CollectReport:
    """Collect episodes of the expert into `out`, a LeRobot dataset like that of `import_demonstrations`.

    Args:
        episodes: distributed round-robin over the tasks that the expert supports. An episode that fails MAX_ATTEMPTS
            times is skipped and counted.
        tasks: names of task files; None for the whole suite.
        image_size: in pixels; None for no images, which take most of the time.
        noise: standard deviation of the noise on executed translations. The clean action is recorded.
        perturbations: probability per step that the end effector is pushed or the gripper flipped for some steps. See
            ActionPerturber.
        render: how images are drawn, see rendering.py.

    Raises:
        InspireError: an unknown suite or task, one of `tasks` that the expert cannot do, a number out of range, `out`
            exists and is not the finished dataset of the same call, or LIBERO is not installed, or what `render` needs.
    """
    check_suite(suite)
    probabilities = {"noise": noise, "perturbations": perturbations}
    numbers = {"episodes": episodes, "processes": processes, "seed": seed}
    check_numbers(image_size=image_size, largest_image=LARGEST_IMAGE, probabilities=probabilities, **numbers)
    require_libero()
    check_rendering(render)
    files, unsupported = supported_tasks(suite, tasks)
    cameras = check_cameras(cameras) if image_size else ()
    conditions = Conditions(
        suite, tuple(files), seed, cameras, image_size, float(noise), render, float(perturbations)
    )
    labels = label_info(
        list(files.values()),
        {},
        modes,
        frame,
        ModeRule(),
        {"source": "LIBERO, scripted expert", "render": render},
    )
    out = Path(out).absolute()
    record = collect_demonstrations(
        out,
        asdict(conditions) | {"episodes": episodes},
        episodes,
        partial(demonstrate, conditions),
        labels,
        entry=partial(_entry, tuple(files)),
        entry_type=EpisodeEntry,
        resume=resume,
        processes=processes,
        progress=progress,
        order=lambda number: (
            number % len(files)
        ),  # a task's episodes in a row: to make its simulation takes seconds
        name=suite,
        image_size=image_size,
        cameras=cameras,
        **DATASET,
    )
    return _report(out, record, unsupported)


def check_suite(suite: str) -> None:
    """Raise InspireError for a suite that cannot be collected."""
    if suite not in (*SUITES, *SPLIT_SUITES):
        raise InspireError(f"unknown LIBERO suite {suite!r}.{did_you_mean(suite, (*SUITES, *SPLIT_SUITES))}")


def supported_tasks(suite: str, tasks: Sequence[str] | None) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the tasks that the expert can do, with their files, and why it cannot do the others.

    Args:
        tasks: names of task files; None for the whole suite.

    Raises:
        InspireError: an unknown suite or task, or one of `tasks` that the expert cannot do.
    """
    check_suite(suite)
    files = {path.stem: path for path in task_files(suite)}
    for task in tasks or ():
        if task not in files:
            raise InspireError(f"unknown task {task!r} of {suite}.{did_you_mean(task, files)}")
    chosen = {task: files[task] for task in tasks or files}
    reasons = {
        task: unsupported_reason(read_problem(path), instruction_of(path)) for task, path in chosen.items()
    }
    unsupported = {task: why for task, why in reasons.items() if why}
    if tasks and unsupported:
        why = "".join(f"\n  {task}: {reason}" for task, reason in unsupported.items())
        raise InspireError(f"the scripted expert cannot do {len(unsupported)} of these tasks:{why}")
    return {task: path for task, path in chosen.items() if task not in unsupported}, unsupported


def _entry(tasks: Sequence[str], number: int, made: Demonstration | str) -> EpisodeEntry:
    task = tasks[number % len(tasks)]
    if isinstance(made, str):
        return EpisodeEntry(task, MAX_ATTEMPTS, skipped=made)
    return EpisodeEntry(task, len(made.failed_seeds), made.seed, len(made))


def _report(out: Path, record: CollectionRecord[EpisodeEntry], unsupported: dict[str, str]) -> CollectReport:
    attempts: dict[str, tuple[int, int]] = {}
    for entry in record.episodes:
        successes, total = attempts.get(entry.task, (0, 0))
        success = entry.skipped is None
        attempts[entry.task] = (successes + success, total + success + entry.failed)
    made = [entry for entry in record.episodes if entry.skipped is None]
    return CollectReport(out, len(made), sum(entry.frames for entry in made), attempts, unsupported)


def demonstrate(conditions: Conditions, episode: int) -> Demonstration:
    """Make a demonstration. Raises SkippedDemonstration if all MAX_ATTEMPTS attempts failed."""
    task = conditions.tasks[episode % len(conditions.tasks)]
    path = next(path for path in task_files(conditions.suite) if path.stem == task)
    env = shared_simulation(str(path), conditions.image_size, conditions.render)
    failed: list[int] = []
    for attempt in range(MAX_ATTEMPTS):
        seed = seed_of(conditions, task, episode // len(conditions.tasks), attempt)
        success = attempt_task(env, path, conditions, seed)
        if success is not None:
            states, actions, truth = success
            cameras, pixels = conditions.cameras, conditions.image_size
            rows = [observe(env.env, truth, cameras, pixels, state) for state in states]
            seeds = {"seed": seed, "failed_seeds": tuple(failed)}
            return make_demonstration(rows, actions, truth, task, cameras, **seeds)
        failed.append(seed)
    raise SkippedDemonstration(f"the expert failed {MAX_ATTEMPTS} times", MAX_ATTEMPTS)


def seed_of(conditions: Conditions, task: str, number: int, attempt: int) -> int:
    """Return the seed of an attempt at the `number`-th episode of a task. LIBERO takes 32 bits."""
    sequence = seed_sequence(conditions.seed, conditions.suite, task, number, attempt)
    return int(sequence.generate_state(1, np.uint32)[0])


def attempt_task(
    env: Any, path: Path, conditions: Conditions, seed: int
) -> tuple[list[np.ndarray], np.ndarray, GroundTruth] | None:
    """Let the expert attempt a task in a scene sampled from `seed`. `env` is that of the task file `path`.

    Returns the states before each of the T actions, the clean actions (T, 7) and the ground truth; None if the goal was
    not reached in time.
    """
    env.seed(seed)
    env.reset()
    for _ in range(SETTLING_STEPS):
        env.env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    problem, truth = read_problem(path), GroundTruth(env.env, path)
    perturb = ActionPerturber(
        np.random.default_rng((seed, 1)),
        noise=conditions.noise,
        perturbations=conditions.perturbations,
        size=LIBERO,
    )
    states: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    moved = {goal[1] for goal in problem.goal}
    for action in Expert(env, problem, truth).actions():
        states.append(env.get_sim_state().copy())
        actions.append(action)
        env.env.step(perturb(action).astype(np.float64))
        if env.check_success() and not any(map(truth.grasped, moved)):
            return states, np.stack(actions), truth
        if len(actions) >= MAX_STEPS[base_suite(conditions.suite)]:
            return None
    return None
