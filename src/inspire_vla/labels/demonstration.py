"""One labelled demonstration as a file of its own, before it goes into a dataset. Needs no LeRobot."""

import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspire_vla.errors import InspireError


class LeftOut(InspireError):
    """The file says why there is no demonstration."""


@dataclass(frozen=True)
class Demonstration:
    """What was seen and done in T control steps; row t is the state before action t.

    images: camera → T images as PNG bytes; state float32 (T, 8); action float32 (T, 7); gripper_to_object_m
    float32 (T, k, 3), metres, base frame, and grasped bool (T, k), both in the order of the mentions. failed_seeds:
    attempts that failed before this one. dropped: steps left out because they did nothing.
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


def save_demonstration(demonstration: Demonstration, path: Path) -> None:
    """Write one file (.npz), whole or not at all."""
    arrays: dict[str, np.ndarray] = {
        "state": demonstration.state,
        "action": demonstration.action,
        "gripper_to_object_m": demonstration.gripper_to_object_m,
        "grasped": demonstration.grasped,
        "names": np.array([demonstration.task_name, demonstration.instruction, *demonstration.mentions]),
        "seeds": np.array([demonstration.seed, *demonstration.failed_seeds], dtype=np.int64),
        "dropped": np.array(demonstration.dropped, dtype=np.int64),
    }
    for name, images in demonstration.images.items():
        arrays[f"png.{name}"] = np.frombuffer(b"".join(images), dtype=np.uint8)
        arrays[f"png_sizes.{name}"] = np.array([len(image) for image in images], dtype=np.int64)
    _save(path, arrays)


def save_left_out(why: str, path: Path, failed_seeds: tuple[int, ...] = ()) -> None:
    """Write the file of a demonstration that there is none of, and why."""
    _save(path, {"left_out": np.array(why), "seeds": np.array([0, *failed_seeds], dtype=np.int64)})


def load_or_make(path: Path, make: Callable[[], object]) -> Demonstration:
    """Load a demonstration; one that is damaged, since the machine went down while it was written, is made anew.

    Raises LeftOut as `load_demonstration` does.
    """
    try:
        return load_demonstration(path)
    except LeftOut:
        raise
    except InspireError:
        path.unlink()
        make()
        return load_demonstration(path)


def load_demonstration(path: Path) -> Demonstration:
    """Read what `save_demonstration` wrote.

    Raises:
        LeftOut: it was `save_left_out`.
        InspireError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        if "left_out" in stored:
            raise LeftOut(str(stored["left_out"]))
        images = {
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
            dropped=int(stored["dropped"]),
            images=images,
            **{name: stored[name] for name in ("state", "action", "gripper_to_object_m", "grasped")},
        )
    except LeftOut:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InspireError(f"{path} is damaged ({error}); delete it and run again.") from None


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _cut(data: np.ndarray, sizes: np.ndarray) -> tuple[bytes, ...]:
    ends = sizes.cumsum()
    return tuple(data[end - size : end].tobytes() for size, end in zip(sizes, ends, strict=True))
