"""Images with the objects they show, in files of a few thousand.

Array axes: n images; k objects of an image; rows, columns of a grid over the image. Positions are (u, v): from the
left and from the top, as fractions of the image's width and height. Places on the table are (right, front) in metres,
as the camera sees them: to the right in the image, and towards the camera.
"""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int8, Shaped, UInt8

from inspire_vla.errors import InspireError
from inspire_vla.files import atomic_path

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
        names: "red_cube_1", "brown_cabinet_1_handle" or "gripper".
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
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez(file, **{field.name: getattr(images, field.name) for field in fields(Images)})


def load_images(path: Path) -> Images:
    """Read what `save_images` wrote. Raises InspireError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Images(**{field.name: arrays[field.name] for field in fields(Images)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InspireError(f"{path} is damaged ({error}); delete it and render the images again.") from None
