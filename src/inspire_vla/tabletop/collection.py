"""Collect labelled demonstrations of the scripted expert as a LeRobot v3 dataset. An interrupted call can be resumed.

An episode depends only on (suite, seed, task, number), not on the process that makes it. Two collections with the same
settings are therefore equal, byte for byte.
"""

import functools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels import LabelInfo, ModeRule
from inspire_vla.labels.collected_dataset import (
    CollectionRecord,
    check_numbers,
    collect_demonstrations,
    seed_sequence,
)
from inspire_vla.labels.dataset_writer import png
from inspire_vla.labels.demonstration import Demonstration
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.perturbations import ActionPerturber
from inspire_vla.spatial import Frame
from inspire_vla.tabletop.benchmark import tasks_of
from inspire_vla.tabletop.env import CONTROL_HZ, LARGEST_IMAGE, TabletopEnv
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.scene import check_layout_randomness
from inspire_vla.tabletop.tasks import Task

MAX_OBJECTS = 4
"""Width of the label columns: the maximum number of mentions in an instruction of any suite."""
MAX_ATTEMPTS = 20
"""Attempts at one episode before the expert counts as unable to do the task."""
ROBOT_TYPE = "inspire_tabletop"
NOISE = 0.15
"""Default standard deviation of the action noise, in units of the action: 6 mm per step."""


# --- one demonstration


@dataclass(frozen=True)
class Conditions:
    """Everything that determines a demonstration, except its number."""

    suite: str
    seed: int
    cameras: tuple[str, ...]
    image_size: int
    noise: float
    perturbations: float
    layout_randomness: float

    def __post_init__(self) -> None:
        check_layout_randomness(self.layout_randomness)


def task_of(conditions: Conditions, episode: int) -> Task:
    """Return the task of an episode: number modulo the number of tasks (round-robin)."""
    tasks = tasks_of(conditions.suite)
    return tasks[episode % len(tasks)]


def seed_of(conditions: Conditions, task: Task, number: int, attempt: int) -> int:
    """Return the seed of the `number`-th episode of a task. It has 63 bits, so it is no evaluation seed."""
    sequence = seed_sequence(conditions.seed, conditions.suite, task.name, number, attempt)
    words = sequence.generate_state(2, np.uint32)
    return int(words[0] & 0x7FFFFFFF) << 32 | int(words[1])


def demonstrate(conditions: Conditions, episode: int) -> Demonstration:
    """Make a demonstration. A failed attempt is repeated with the next seed.

    Raises:
        InspireError: the expert failed `MAX_ATTEMPTS` times.
    """
    task = task_of(conditions, episode)
    number = episode // len(tasks_of(conditions.suite))
    env = _environment(conditions, episode % len(tasks_of(conditions.suite)))
    failed: list[int] = []
    for attempt in range(MAX_ATTEMPTS):
        seed = seed_of(conditions, task, number, attempt)
        rows = _attempt(env, seed, conditions)
        if rows is not None:
            break
        failed.append(seed)
    else:
        raise InspireError(
            f"The expert failed {MAX_ATTEMPTS} times at {task.name!r} with noise {conditions.noise}, "
            f"perturbations {conditions.perturbations} and layout_randomness {conditions.layout_randomness}. "
            "Lower values may help."
        )
    observations, infos, actions = zip(*rows, strict=True)
    return Demonstration(
        task_name=task.name,
        instruction=task.instruction,
        mentions=task.mentions,
        seed=seed,
        failed_seeds=tuple(failed),
        images={name: tuple(png(o["pixels"][name]) for o in observations) for name in conditions.cameras},
        state=np.stack([observation["agent_pos"] for observation in observations]).astype(np.float32),
        action=np.stack(actions).astype(np.float32),
        gripper_to_object_m=np.stack([info["gripper_to_object_m"] for info in infos]).astype(np.float32),
        grasped=np.stack([info["grasped"] for info in infos]).astype(bool),
    )


@functools.lru_cache(maxsize=32)
def _environment(conditions: Conditions, task_index: int) -> TabletopEnv:
    return TabletopEnv(
        tasks_of(conditions.suite)[task_index],
        cameras=conditions.cameras,
        image_size=conditions.image_size,
        layout_randomness=conditions.layout_randomness,
    )


def _attempt(
    env: TabletopEnv, seed: int, conditions: Conditions
) -> list[tuple[dict, dict, np.ndarray]] | None:
    """Return (observation, info, clean action) of each step, or None if the episode failed."""
    env.render()  # the first image after another scene's may be stale: discard one
    observation, info = env.reset(seed=seed)
    expert = Expert(env)
    rng = np.random.default_rng((seed, 1))
    perturb = ActionPerturber(rng, noise=conditions.noise, perturbations=conditions.perturbations)
    rows = []
    done = truncated = False
    while not (done or truncated):
        action = expert.action()
        rows.append((observation, info, action))
        observation, _, done, truncated, info = env.step(perturb(action))
    return rows if info["is_success"] else None


# --- the dataset


@dataclass(frozen=True)
class EpisodeEntry:
    """How one episode was made."""

    task: str
    seed: int
    frames: int
    failed_seeds: tuple[int, ...]


@dataclass(frozen=True)
class CollectReport:
    """Result of a collection. `failed`: task name → failed attempts of the expert, which were repeated."""

    root: Path
    episodes: int
    frames: int
    failed: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        attempts = self.episodes + sum(self.failed.values())
        done = (
            f"{counted(self.episodes, 'episode')}, {counted(self.frames, 'frame')}, in {self.seconds:.0f} s"
        )
        lines = [
            f"{self.root}: {done}; the expert succeeded in {self.episodes} of {counted(attempts, 'attempt')}."
        ]
        lines += [f"  failed and repeated: {count} × {task}" for task, count in sorted(self.failed.items())]
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
    perturbations: float = 0.0,
    layout_randomness: float = 0.0,
    resume: bool = True,
    progress: bool = True,
) -> CollectReport:
    """Collect successful episodes of the expert with a label for every frame, as a LeRobot dataset in `out`.

    Columns: observation.images.image (and image2, the wrist camera), observation.state (8,), action (7,),
    observation.answers.<mode> int16 (MAX_OBJECTS,), and the privileged state that the labels come from:
    privileged.gripper_to_object_m float32 (3·MAX_OBJECTS,) and privileged.grasped int16 (MAX_OBJECTS,), zero
    beyond the objects of the instruction.

    Args:
        episodes: number of successful episodes, distributed round-robin over the suite's tasks.
        out: folder to create. It must not exist, unless it is the finished dataset of the same call.
        noise: standard deviation of the noise on executed translations. The clean action is recorded.
        perturbations: probability per step that the end effector is pushed or the gripper flipped for some steps.
            With 0.04 an episode has one or two. See ActionPerturber.
        layout_randomness: probability that an object stands anywhere on the table; see scene.py.
        resume: continue an interrupted call with the same settings; False starts again.

    Raises:
        InspireError: an unknown suite, mode or frame; a number out of range; `out` exists; an interrupted call had
            other settings; the disk is full; a worker process died.
    """
    started = time.monotonic()
    tasks = tasks_of(suite)
    probabilities = {"noise": noise, "perturbations": perturbations, "layout_randomness": layout_randomness}
    numbers = {"episodes": episodes, "processes": processes, "seed": seed}
    check_numbers(image_size=image_size, largest_image=LARGEST_IMAGE, probabilities=probabilities, **numbers)
    cameras = ("image", "image2") if wrist else ("image",)
    conditions = Conditions(
        suite=suite,
        seed=seed,
        cameras=cameras,
        image_size=image_size,
        noise=float(noise),
        perturbations=float(perturbations),
        layout_randomness=float(layout_randomness),
    )
    labels = LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes={mode: ModeRule() for mode in modes},
        tasks={task.instruction: task.mentions for task in tasks},
        max_objects=MAX_OBJECTS,
        labeller=LABELLER,
    )
    out = Path(out).absolute()
    record = collect_demonstrations(
        out,
        asdict(conditions),
        episodes,
        partial(demonstrate, conditions),
        labels,
        entry=_entry,
        entry_type=EpisodeEntry,
        resume=resume,
        processes=processes,
        progress=progress,
        name=suite,
        fps=CONTROL_HZ,
        robot_type=ROBOT_TYPE,
        image_size=image_size,
        cameras=cameras,
    )
    return _report(out, record, time.monotonic() - started)


def _entry(_: int, made: Demonstration | str) -> EpisodeEntry:
    assert isinstance(made, Demonstration)  # none is ever skipped
    return EpisodeEntry(made.task_name, made.seed, len(made), made.failed_seeds)


def _report(out: Path, record: CollectionRecord[EpisodeEntry], seconds: float) -> CollectReport:
    failed = Counter({entry.task: 0 for entry in record.episodes})
    for entry in record.episodes:
        failed[entry.task] += len(entry.failed_seeds)
    frames = sum(entry.frames for entry in record.episodes)
    return CollectReport(out, len(record.episodes), frames, dict(+failed), seconds)
