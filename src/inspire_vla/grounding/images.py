"""Images with the objects they show, in files of a few thousand.

Array axes: n images; k objects of an image; rows, columns of a grid over the image. Positions are (u, v): from the
left and from the top, as fractions of the image's width and height. Places on the table are (right, front) in metres,
as the camera sees them: to the right in the image, and towards the camera.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float32, Int8, Shaped, UInt8
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError
from inspire_vla.files import MADE_AGAIN, open_arrays, write_arrays
from inspire_vla.worker_processes import map_in_processes

IMAGES_PER_FILE = 2048
BACKGROUND, ROBOT = -1, -2
"""Values of `segmentation` that are no object."""
GRIPPER = "gripper"
HANDLE = "_handle"
"""Suffix of the handle of a cabinet's drawer: "brown_cabinet_1_handle"."""


@dataclass(frozen=True)
class Images:
    """N images with up to K objects each. Unused places hold the name "", zeros, and NaN on the table.

    Attributes:
        pixels: RGB.
        segmentation: index of the object at each point of a grid, BACKGROUND or ROBOT.
        names: "red_cube_1" (look, kind and number; "_plate_1" has no look of its own), "brown_cabinet_1_handle" or
            "gripper".
        positions: (u, v) of each object; may lie outside the image.
        on_table: (right, front) of each object that stands on the table, from the camera's foot; NaN: a handle,
            the gripper, or an object that is held.
        visibility: fraction of the image that the object covers (of a handle: its cabinet).
    """

    pixels: UInt8[np.ndarray, "n height width 3"]
    segmentation: Int8[np.ndarray, "n rows columns"]
    names: Shaped[np.ndarray, "n k"]
    positions: Float32[np.ndarray, "n k 2"]
    on_table: Float32[np.ndarray, "n k 2"]
    visibility: Float32[np.ndarray, "n k"]

    @classmethod
    def empty(cls, count: int, image_size: int, grid: int, most: int) -> Self:
        """`count` images to be filled, of `grid` × `grid` points, with room for `most` objects in each."""
        return cls(
            pixels=np.empty((count, image_size, image_size, 3), np.uint8),
            segmentation=np.empty((count, grid, grid), np.int8),
            names=np.zeros((count, most), "U32"),
            positions=np.zeros((count, most, 2), np.float32),
            on_table=np.full((count, most, 2), np.nan, np.float32),
            visibility=np.zeros((count, most), np.float32),
        )

    def __len__(self) -> int:
        return len(self.pixels)


def mirrored(images: Images, row: int) -> Images:
    """One image, flipped horizontally."""
    one = {field.name: getattr(images, field.name)[row : row + 1] for field in fields(Images)}
    used = one["names"][0] != ""
    positions = one["positions"].copy()
    positions[0, used, 0] = 1 - positions[0, used, 0]
    flipped = {name: one[name][:, :, ::-1] for name in ("pixels", "segmentation")}
    on_table = one["on_table"] * np.array([-1, 1], np.float32)
    return Images(**one | flipped | {"positions": positions, "on_table": on_table})


def save_images(images: Images, path: Path) -> None:
    """Write an `.npz` file atomically."""
    write_arrays(path, {field.name: getattr(images, field.name) for field in fields(Images)})


def load_images(path: Path) -> Images:
    """Read what `save_images` wrote. Raises InspireError for a damaged file."""
    with open_arrays(path, remedy=MADE_AGAIN) as arrays:
        return Images(**{field.name: arrays[field.name] for field in fields(Images)})


def draw_images(
    draw: Callable[[int, int, int], Images],
    out: str | Path,
    count: int,
    *,
    seed: int = 0,
    processes: int = 1,
    image_size: int = 96,
    name: str = "images",
) -> list[Path]:
    """Make sure that files with `count` images (rounded up to whole files) are in `out`. Returns the files.

    File i depends on seed, i and image size only, so an interrupted call can be repeated.

    Args:
        draw: (seed, number of images, image size) → the images of one file. Each process calls it.
        name: what the names of the files begin with.

    Raises:
        InspireError: a number out of range, or a worker process that died.
    """
    for what, number in (("count", count), ("processes", processes)):
        if number < 1:
            raise InspireError(f"{what} must be at least 1, found {number}.")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}_{image_size}_seed{seed}_{n:05d}.npz" for n in range(-(-count // IMAGES_PER_FILE))]
    files = [folder / name for name in names]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    with tqdm(total=len(files), initial=len(files) - len(missing), desc="drawing images", unit="file") as bar:
        for _ in map_in_processes(partial(_draw_file, draw, files, seed, image_size), missing, processes):
            bar.update()
    return files


def _draw_file(
    draw: Callable[[int, int, int], Images], files: list[Path], seed: int, image_size: int, number: int
) -> None:
    save_images(draw(seed * 1_000_003 + number, IMAGES_PER_FILE, image_size), files[number])
