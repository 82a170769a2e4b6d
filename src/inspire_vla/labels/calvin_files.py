"""The files of a split of CALVIN, each checked where it is read. Nothing in them is run.

training/episode_0000123.npz    a frame: robot_obs (15), scene_obs (24), rel_actions (7), rgb_static, rgb_gripper
training/lang_annotations/auto_lang_ann.npy      {"language": {"ann": […]}, "info": {"indx": [(first, last), …]}}
training/scene_info.npy                          {"calvin_scene_A": [first, last], …}
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspire_vla.errors import GO_ON, InspireError, MachineFault, reason_of
from inspire_vla.files import machine_faults
from inspire_vla.labels.demonstration import finite_as_stored

CAMERAS = {"image": "rgb_static", "image2": "rgb_gripper"}
"""Camera of the dataset, with the name that LIBERO's has → array of a frame."""
ARRAYS = {"robot_obs": 15, "scene_obs": 24, "rel_actions": 7}
"""Array of a frame → how many numbers it holds."""


def read_annotations(split: Path) -> list[tuple[str, int, int]]:
    """Return (instruction, first frame, last frame) of each annotated sequence.

    Raises:
        InspireError: there are none.
    """
    path = split / "lang_annotations" / "auto_lang_ann.npy"
    record = _load_plain(path, "language annotations")
    try:
        texts, spans = record["language"]["ann"], record["info"]["indx"]
        return [(str(text), int(a), int(b)) for text, (a, b) in zip(texts, spans, strict=True)]
    except (LookupError, ValueError, TypeError, OverflowError) as error:
        raise InspireError(f"{path} holds no language annotations of CALVIN: {reason_of(error)}.") from None


def read_scene_info(split: Path) -> dict[str, tuple[int, int]]:
    """Return scene → (first frame, last frame), {} without such a file. Raises InspireError for other content."""
    path = split / "scene_info.npy"
    if not path.exists():
        return {}
    record = _load_plain(path, "scenes")
    try:
        return {str(name): (int(span[0]), int(span[-1])) for name, span in record.items()}
    except (AttributeError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise InspireError(f"{path} holds no scenes of CALVIN: {reason_of(error)}.") from None


class _PlainUnpickler(pickle.Unpickler):
    """Loads numpy arrays and nothing else: a pickle could run any code."""

    _ALLOWED = frozenset(
        (module, name)
        for core in ("numpy.core", "numpy._core")
        for module, name in (
            (f"{core}.multiarray", "_reconstruct"),
            (f"{core}.multiarray", "scalar"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        )
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of annotations")
        return super().find_class(module, name)


def _load_plain(path: Path, what: str) -> Any:
    """Load a pickled Python object from an .npy file. Raises InspireError if there is none, or it is unsafe."""
    try:
        with machine_faults(path), open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version[0] == 1:
                np.lib.format.read_array_header_1_0(file)
            else:
                np.lib.format.read_array_header_2_0(file)
            return np.asarray(_PlainUnpickler(file).load()).item()
    except MachineFault:
        raise
    except Exception as error:  # whatever a damaged pickle leads to
        raise InspireError(f"{path} holds no {what} of CALVIN: {reason_of(error)}.") from None


def frame_file(split: Path, number: int) -> Path:
    """The file of a frame, by its number in the recordings."""
    return split / f"episode_{number:07d}.npz"


def read_frame(
    split: Path,
    number: int,
    image_sizes: Mapping[str, int | None] = {},
) -> dict[str, NDArray[Any]]:
    """Read arrays of one frame: robot_obs (15,), scene_obs (24,), rel_actions (7,), images uint8 (side, side, 3).

    Args:
        image_sizes: camera → side of the image that the frame must have of it; None for any. Of others none is read.

    Raises:
        MachineFault: the frame cannot be read.
        InspireError: the frame is missing or damaged, or an array is missing or is not CALVIN's. The message begins
            with the name of the file.
    """
    path = frame_file(split, number)
    try:
        with machine_faults(path), np.load(path, allow_pickle=False) as arrays:
            frame = {name: _numbers(arrays, name, size) for name, size in ARRAYS.items()}
            for camera, side in image_sizes.items():
                frame[CAMERAS[camera]] = _image(arrays, CAMERAS[camera], side)
            return frame
    except MachineFault:
        raise
    except FileNotFoundError:
        if not split.is_dir():  # perhaps on a drive that is gone
            raise MachineFault(f"{split} is gone. {GO_ON}") from None
        raise InspireError(f"{path.name}: the frame is missing") from None
    except InspireError as error:
        raise InspireError(f"{path.name}: {error}") from None
    except Exception as error:  # zip, zlib and numpy have their own
        raise InspireError(f"{path.name}: the file is damaged ({type(error).__name__})") from None


def _numbers(arrays: Mapping[str, NDArray[Any]], name: str, size: int) -> NDArray[Any]:
    needed = f"{size} finite numbers are needed"
    array = _array(arrays, name, needed)
    if array.shape != (size,) or array.dtype.kind not in "fiu":
        raise InspireError(f"{name} is {_described(array)}; {needed}")
    finite = finite_as_stored(array)
    if not finite.all():
        raise InspireError(f"number {int(finite.argmin())} of {name} is {array[finite.argmin()]}; {needed}")
    return array


def _image(arrays: Mapping[str, NDArray[Any]], name: str, side: int | None) -> NDArray[Any]:
    needed = f"a uint8 image of shape {(side, side, 3) if side else '(side, side, 3)'} is needed"
    array = _array(arrays, name, needed)
    side = side or (len(array) if array.ndim else 0)
    if array.dtype != np.uint8 or not side or array.shape != (side, side, 3):
        raise InspireError(f"{name} is {_described(array)}; {needed}")
    return array


def _array(arrays: Mapping[str, NDArray[Any]], name: str, needed: str) -> NDArray[Any]:
    if name not in arrays:
        raise InspireError(f"{name} is missing; {needed}")
    try:
        return arrays[name]
    except ValueError as error:  # an array of Python objects, which could run any code
        raise InspireError(f"{name} cannot be read ({reason_of(error)}); {needed}") from None


def _described(array: NDArray[Any]) -> str:
    return f"{'text' if array.dtype.kind in 'US' else array.dtype} of shape {array.shape}"


def find_layout(split: Path, numbers: Sequence[int], images: bool) -> tuple[dict[str, int], set[str]]:
    """Return camera → side of its images, and the names of all arrays, of the first of these frames that can be read.

    Raises:
        InspireError: none can, or the static camera is missing and not left out.
    """
    why = ""
    for number in numbers:
        path = frame_file(split, number)
        try:
            names = _array_names(path)
            cameras = {camera: None for camera, name in CAMERAS.items() if images and name in names}
            frame = read_frame(split, number, cameras)
        except MachineFault:
            raise
        except InspireError as error:
            why = str(error) if not why or path.exists() else why
            continue
        if images and CAMERAS["image"] not in names:
            raise InspireError(
                f"{path} has no image {CAMERAS['image']}; --image-size 0 imports the frames without images."
            )
        return {camera: len(frame[CAMERAS[camera]]) for camera in cameras}, names
    raise InspireError(
        f"nothing could be imported from {split}: of no sequence the first frame can be read. {why}."
    )


def _array_names(path: Path) -> set[str]:
    """The names of the arrays of a frame, none where the file cannot be read: `read_frame` says why."""
    try:
        with machine_faults(path), np.load(path, allow_pickle=False) as arrays:
            return set(arrays.files)
    except MachineFault:
        raise
    except Exception:
        return set()
