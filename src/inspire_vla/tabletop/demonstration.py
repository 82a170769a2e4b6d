"""One demonstration of the scripted expert, from its seed. Needs no LeRobot, so that workers start fast."""

import functools
import zlib
from dataclasses import dataclass

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.labels.dataset_writer import Demonstration, png
from inspire_vla.tabletop.disturbance import Disturbance
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.suites import SUITES
from inspire_vla.tabletop.tasks import Task

MAX_ATTEMPTS = 20
"""Seeds tried for one episode before the expert is said to be unable to do the task."""


@dataclass(frozen=True)
class Conditions:
    """Everything but the episode's number that fixes a demonstration."""

    suite: str
    seed: int
    cameras: tuple[str, ...]
    image_size: int
    noise: float
    perturbations: float
    layout_randomness: float


def task_of(conditions: Conditions, episode: int) -> Task:
    """Round-robin: episode e is of task e modulo the number of tasks."""
    tasks = SUITES[conditions.suite]
    return tasks[episode % len(tasks)]


def seed_of(conditions: Conditions, task: Task, number: int, attempt: int) -> int:
    """The seed of the `number`-th episode of a task. 63 bits: evaluation's small seeds are never met again."""
    names = (zlib.crc32(conditions.suite.encode()), zlib.crc32(task.name.encode()))
    words = np.random.SeedSequence((conditions.seed, *names, number, attempt)).generate_state(2, np.uint32)
    return int(words[0] & 0x7FFFFFFF) << 32 | int(words[1])


def demonstrate(conditions: Conditions, episode: int) -> Demonstration:
    """Demonstrate episode `episode`; a failed attempt is replaced by the next seed.

    Raises:
        InspireError: the expert failed `MAX_ATTEMPTS` times.
    """
    task = task_of(conditions, episode)
    number = episode // len(SUITES[conditions.suite])
    failed: list[int] = []
    for attempt in range(MAX_ATTEMPTS):
        seed = seed_of(conditions, task, number, attempt)
        rows = _attempt(_environment(conditions, task.name), seed, conditions)
        if rows is not None:
            break
        failed.append(seed)
    else:
        raise InspireError(
            f"The expert failed {MAX_ATTEMPTS} times at {task.name!r} with noise {conditions.noise}, "
            f"perturbations {conditions.perturbations} and layout_randomness {conditions.layout_randomness}. "
            "Less of any may help."
        )
    images = {name: tuple(png(row[0]["pixels"][name]) for row in rows) for name in conditions.cameras}
    return Demonstration(
        task_name=task.name,
        instruction=task.instruction,
        mentions=task.words,
        seed=seed,
        failed_seeds=tuple(failed),
        images=images,
        state=np.stack([row[0]["agent_pos"] for row in rows]).astype(np.float32),
        action=np.stack([row[2] for row in rows]).astype(np.float32),
        gripper_to_object_m=np.stack([row[1]["gripper_to_object_m"] for row in rows]).astype(np.float32),
        grasped=np.stack([row[1]["grasped"] for row in rows]).astype(bool),
    )


@functools.lru_cache(maxsize=32)
def _environment(conditions: Conditions, task_name: str) -> TabletopEnv:
    task = next(task for task in SUITES[conditions.suite] if task.name == task_name)
    return TabletopEnv(
        task,
        cameras=conditions.cameras,
        image_size=conditions.image_size,
        layout_randomness=conditions.layout_randomness,
    )


def _attempt(
    env: TabletopEnv, seed: int, conditions: Conditions
) -> list[tuple[dict, dict, np.ndarray]] | None:
    """(observation, info, clean action) of each step; None when the episode did not succeed."""
    env.render()  # the first image after another scene's may be stale: this one is thrown away
    observation, info = env.reset(seed=seed)
    expert = Expert(env)
    disturbed = Disturbance(
        np.random.default_rng((seed, 1)), noise=conditions.noise, perturbations=conditions.perturbations
    )
    rows = []
    done = truncated = False
    while not (done or truncated):
        action = expert.action()
        rows.append((observation, info, action))
        observation, _, done, truncated, info = env.step(disturbed(action))
    return rows if info["is_success"] else None
