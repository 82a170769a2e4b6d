"""A demonstration: one episode in a file of its own, a shard, which worker processes write without LeRobot."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import MADE_AGAIN, open_arrays, write_arrays


class SkippedDemonstration(InspireError):
    """There is no demonstration; the message says why. attempts: how many failed."""

    def __init__(self, why: str, attempts: int = 0) -> None:
        super().__init__(why)
        self.attempts = attempts


@dataclass(frozen=True)
class Demonstration:
    """T control steps of one episode; row t is the state before action t.

    images: camera → T images as PNG bytes. state: float32 (T, 8). action: float32 (T, 7).
    gripper_to_object_m: float32 (T, k, 3) metres, base frame. grasped: bool (T, k); both in the order of the mentions.
    failed_seeds: attempts that failed before this one. dropped: number of steps left out because they did nothing.
    """

    task_name: str
    instruction: str
    mentions: tuple[str, ...]
    images: dict[str, tuple[bytes, ...]]
    state: np.ndarray
    action: np.ndarray
    gripper_to_object_m: np.ndarray
    grasped: np.ndarray
    seed: int = 0
    failed_seeds: tuple[int, ...] = ()
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.action)


_ARRAYS = ("state", "action", "gripper_to_object_m", "grasped")


def save_demonstration(demonstration: Demonstration, path: Path) -> None:
    """Write one .npz file atomically."""
    arrays: dict[str, np.ndarray] = {
        **{name: getattr(demonstration, name) for name in _ARRAYS},
        "names": np.array([demonstration.task_name, demonstration.instruction, *demonstration.mentions]),
        "seeds": np.array([demonstration.seed, *demonstration.failed_seeds], dtype=np.int64),
        "dropped": np.array(demonstration.dropped, dtype=np.int64),
    }
    for name, images in demonstration.images.items():
        arrays[f"png.{name}"] = np.frombuffer(b"".join(images), dtype=np.uint8)
        arrays[f"png_sizes.{name}"] = np.array([len(image) for image in images], dtype=np.int64)
    write_arrays(path, arrays)


def save_skipped(why: str, path: Path) -> None:
    """Write a file that says why there is no demonstration."""
    write_arrays(path, {"left_out": np.array(why)})


def load_or_make(path: Path, make: Callable[[], object]) -> Demonstration:
    """Load a demonstration. If the file is damaged, because the machine stopped during writing, make it again.

    Raises:
        SkippedDemonstration, MachineFault: as `load_demonstration`.
    """
    try:
        return load_demonstration(path)
    except (SkippedDemonstration, MachineFault):
        raise
    except InspireError:
        path.unlink()
        make()
        return load_demonstration(path)


def load_demonstration(path: Path) -> Demonstration:
    """Read what `save_demonstration` wrote.

    Raises:
        SkippedDemonstration: `save_skipped` wrote it.
        MachineFault: the file cannot be read.
        InspireError: the file is damaged.
    """
    with open_arrays(path, remedy=MADE_AGAIN) as stored:
        if "left_out" in stored:
            raise SkippedDemonstration(str(stored["left_out"]))
        images = {
            name.removeprefix("png."): _split(stored[name], stored[name.replace("png.", "png_sizes.", 1)])
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
            dropped=int(stored["dropped"]),
            images=images,
            **{name: stored[name] for name in _ARRAYS},
        )


def _split(data: np.ndarray, sizes: np.ndarray) -> tuple[bytes, ...]:
    ends = sizes.cumsum()
    return tuple(data[end - size : end].tobytes() for size, end in zip(sizes, ends, strict=True))


def finite_as_stored(values: np.ndarray) -> np.ndarray:
    """Whether each number is finite in a dataset, which holds float32. Shape: that of `values`."""
    with np.errstate(over="ignore"):
        finite: np.ndarray = np.isfinite(values.astype(np.float32))
    return finite
