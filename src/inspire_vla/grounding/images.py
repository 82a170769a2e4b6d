"""Images with what is in them, in files of a few thousand."""

import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int8, Shaped, UInt8

from inspire_vla.errors import InspireError

NOTHING, ROBOT = -1, -2
"""In `owners`: neither thing nor robot; the robot."""
GRIPPER = "gripper"
HANDLE = "_handle"
"""Ends the name of a cabinet's drawer handle: "brown_cabinet_1_handle"."""


@dataclass(frozen=True)
class Images:
    """N images, each with up to K things. Beyond an image's own things names are "" and numbers 0.

    Attributes:
        pixels: RGB.
        owners: for points on a grid over the image the number of the thing seen there, NOTHING or ROBOT.
        names: "red_cube_1", "brown_cabinet_1_handle" or "gripper".
        places: of each thing's point, from the left and from the top, as shares of the sides; may lie outside.
        visible: share of the image that shows the thing (of a handle: its cabinet).
    """

    pixels: UInt8[np.ndarray, "n height width 3"]
    owners: Int8[np.ndarray, "n rows columns"]
    names: Shaped[np.ndarray, "n k"]
    places: Float32[np.ndarray, "n k 2"]
    visible: Float32[np.ndarray, "n k"]

    def __len__(self) -> int:
        return len(self.pixels)


def mirrored(images: Images, row: int) -> Images:
    """One image alone, its left and right exchanged."""
    own = {field.name: getattr(images, field.name)[row : row + 1] for field in fields(Images)}
    places = own["places"].copy()
    places[0, own["names"][0] != "", 0] = 1 - places[0, own["names"][0] != "", 0]
    return Images(
        **own | {"pixels": own["pixels"][:, :, ::-1], "owners": own["owners"][:, :, ::-1], "places": places}
    )


def save_images(images: Images, path: Path) -> None:
    """Write one file (.npz), whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **{field.name: getattr(images, field.name) for field in fields(Images)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_images(path: Path) -> Images:
    """Read what `save_images` wrote. Raises InspireError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Images(**{field.name: arrays[field.name] for field in fields(Images)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InspireError(f"{path} is damaged ({error}); delete it and draw the images again.") from None
