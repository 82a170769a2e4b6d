"""One demonstration of the scripted expert, from its seed to a file. Needs no LeRobot, so that workers start fast."""

import functools
import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from inspire_vla.errors import InspireError
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.expert import Expert, disturbed
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
    layout_randomness: float


@dataclass(frozen=True)
class Demonstration:
    """What was seen and done in T control steps; row t is the state before action t.

    pictures: camera → T pictures as PNG bytes; state float32 (T, 8); action float32 (T, 7); gripper_to_object_m
    float32 (T, k, 3), metres, base frame, and grasped bool (T, k), both in the order of the mentions.
    """

    task_name: str
    instruction: str
    mentions: tuple[str, ...]
    seed: int
    failed_seeds: tuple[int, ...]
    pictures: dict[str, tuple[bytes, ...]]
    state: np.ndarray
    action: np.ndarray
    gripper_to_object_m: np.ndarray
    grasped: np.ndarray

    def __len__(self) -> int:
        return len(self.action)


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
        rows = _attempt(_environment(conditions, task.name), seed, conditions.noise)
        if rows is not None:
            break
        failed.append(seed)
    else:
        raise InspireError(
            f"The expert failed {MAX_ATTEMPTS} times at {task.name!r} with noise {conditions.noise} and "
            f"layout_randomness {conditions.layout_randomness}. Less of either may help."
        )
    pictures = {name: tuple(_png(row[0]["pixels"][name]) for row in rows) for name in conditions.cameras}
    return Demonstration(
        task_name=task.name,
        instruction=task.instruction,
        mentions=task.words,
        seed=seed,
        failed_seeds=tuple(failed),
        pictures=pictures,
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


def _attempt(env: TabletopEnv, seed: int, noise: float) -> list[tuple[dict, dict, np.ndarray]] | None:
    """(observation, info, clean action) of each step; None when the episode did not succeed."""
    env.render()  # the first picture after another scene's may be stale: this one is thrown away
    observation, info = env.reset(seed=seed)
    expert, generator = Expert(env), np.random.default_rng((seed, 1))
    rows = []
    done = truncated = False
    while not (done or truncated):
        action = expert.action()
        rows.append((observation, info, action))
        executed = disturbed(action, generator, noise) if noise else action
        observation, _, done, truncated, info = env.step(executed)
    return rows if info["is_success"] else None


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def save_demonstration(demonstration: Demonstration, path: Path) -> None:
    """Write one file (.npz), whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    arrays: dict[str, np.ndarray] = {
        "state": demonstration.state,
        "action": demonstration.action,
        "gripper_to_object_m": demonstration.gripper_to_object_m,
        "grasped": demonstration.grasped,
        "names": np.array([demonstration.task_name, demonstration.instruction, *demonstration.mentions]),
        "seeds": np.array([demonstration.seed, *demonstration.failed_seeds], dtype=np.int64),
    }
    for name, pictures in demonstration.pictures.items():
        arrays[f"png.{name}"] = np.frombuffer(b"".join(pictures), dtype=np.uint8)
        arrays[f"png_sizes.{name}"] = np.array([len(picture) for picture in pictures], dtype=np.int64)
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_demonstration(path: Path) -> Demonstration:
    """Read what `save_demonstration` wrote. Raises InspireError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        pictures = {
            name.removeprefix("png."): _cut(stored[name], stored[name.replace("png.", "png_sizes.", 1)])
            for name in stored
            if name.startswith("png.")
        }
        task_name, instruction, *mentions = stored["names"].tolist()
        seed, *failed = stored["seeds"].tolist()
        return Demonstration(
            task_name=task_name,
            instruction=instruction,
            mentions=tuple(mentions),
            seed=seed,
            failed_seeds=tuple(failed),
            pictures=pictures,
            **{name: stored[name] for name in ("state", "action", "gripper_to_object_m", "grasped")},
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InspireError(f"{path} is damaged ({error}); delete it and run again.") from None


def _cut(data: np.ndarray, sizes: np.ndarray) -> tuple[bytes, ...]:
    ends = sizes.cumsum()
    return tuple(data[end - size : end].tobytes() for size, end in zip(sizes, ends, strict=True))
