"""One observation, in the form in which LeRobot, openpi or gymnasium writes it, as an `Agent` takes it.

    gymnasium  {"pixels": {"front": image}, "agent_pos": state}
    LeRobot    {"observation.images.front": image, "observation.state": state, "task": instruction}
    openpi     {"observation/front": image, "observation/state": state, "prompt": instruction}

An image is (H, W, 3) or (3, H, W), uint8 or a float from 0 to 1, of numpy or torch; with an axis of time before it, the
oldest first, for a policy that takes several (`n_obs_steps`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from inspire_vla.errors import InspireError, counted

_ALIASES = {"image2": ("observation/wrist_image",), "wrist": ("observation/wrist_image",)}
"""openpi's further keys of a camera, after observation/<camera>."""
_CAMERA_PREFIXES = ("observation.images.", "observation.")
STATES = ("agent_pos", "observation.state", "observation/state")
INSTRUCTIONS = ("task", "prompt")
MAX_STRETCH = 0.01
"""Aspect ratios may differ by this share, as rounding to whole pixels makes them."""
EXPECTED = (
    'An observation is {"pixels": {camera: image}, "agent_pos": state}, {"observation.images.CAMERA": image, '
    '"observation.state": state}, or {"observation/CAMERA": image, "observation/state": state}.'
)


def camera_of(key: str) -> str:
    """A camera's name, of its feature: "observation.images.front" → "front", "observation.image" → "image"."""
    prefix = next((prefix for prefix in _CAMERA_PREFIXES if key.startswith(prefix)), "")
    return key.removeprefix(prefix)


def openpi_keys(camera: str, others: Iterable[str], taken: Collection[str] = ()) -> tuple[str, ...]:
    """openpi's keys of a camera: its own, then further ones that stand for no other camera of the policy.

    others: the policy's other cameras; taken: keys that were given to some of them.
    """
    theirs = {key for other in others for key in (f"observation/{other}", *_ALIASES.get(other, ()))}
    further = (key for key in _ALIASES.get(camera, ()) if key not in theirs and key not in taken)
    return (f"observation/{camera}", *further)


def read_observation(
    observation: Any, cameras: Sequence[str], state_dim: int, n_obs_steps: int = 1
) -> dict[str, Any]:
    """An observation as {"pixels": {camera: (H, W, 3) uint8}, "agent_pos": (state_dim,) float32}.

    Images have an axis of time before it where they were given one. Whatever the policy does not take is left out.

    Raises:
        InspireError: another form, a missing camera or state, or values that are no image; says what is expected.
    """
    if not isinstance(observation, Mapping):
        raise InspireError(f"{EXPECTED} Found {type(observation).__name__}.")
    nested = observation.get("pixels", {})
    if not isinstance(nested, Mapping):
        raise InspireError(f"'pixels' must be a map from cameras to images, found {type(nested).__name__}.")
    pixels = {}
    for camera in cameras:
        others = [other for other in cameras if other != camera]
        keys = [*(prefix + camera for prefix in _CAMERA_PREFIXES), *openpi_keys(camera, others)]
        places = [(nested, camera), *((observation, key) for key in keys)]
        image = next((place[key] for place, key in places if key in place), None)
        if image is None:
            has = sorted(map(str, nested or observation))
            raise InspireError(f"The policy needs camera {camera!r}; found {has}. {EXPECTED}")
        pixels[camera] = as_images(image, f"camera {camera!r}", n_obs_steps)
    read: dict[str, Any] = {"pixels": pixels}
    if state_dim:
        key = next((key for key in STATES if key in observation), None)
        if key is None:
            has = sorted(map(str, observation))
            raise InspireError(
                f"The policy needs {counted(state_dim, 'number')}, 'agent_pos'; found {has}. {EXPECTED}"
            )
        read["agent_pos"] = as_state(observation[key], key, state_dim)
    return read


def instruction_of(observation: Any) -> str:
    """The instruction in an observation. Raises InspireError where it holds none."""
    found = (observation.get(key) for key in INSTRUCTIONS) if isinstance(observation, Mapping) else ()
    for text in found:
        if isinstance(text, str) and text.strip():
            return text
    raise InspireError(
        'Give an instruction: act(observation, "put …"), or a "task" or "prompt" in the observation.'
    )


def as_images(value: Any, name: str, n_obs_steps: int = 1) -> UInt8[np.ndarray, "*time height width 3"]:
    """An image, or images over time, as uint8 with the channels last. `name` of the camera, for errors.

    Raises InspireError for anything else.
    """
    array = _array(value, name)
    many = n_obs_steps > 1
    if array.ndim in (3, 4) and array.shape[-1] != 3 and array.shape[-3] == 3:
        array = np.moveaxis(array, -3, -1)
    if (
        array.ndim not in (3, 4)
        or array.shape[-1] != 3
        or 0 in array.shape
        or (array.ndim == 4 and len(array) > n_obs_steps)
    ):
        what = f"1 to {n_obs_steps} images" if many else "one image"
        raise InspireError(
            f"The policy takes {what} of {name}; found an array {array.shape}, where (height, width, 3)"
            f"{', (time, height, width, 3)' if many else ''} or channels first is possible."
        )
    if array.ndim == 4 and not many:
        array = array[0]
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # also for NaN
            raise InspireError(
                f"The image of {name} holds {low:.3g} to {high:.3g}; floats from 0 to 1 or uint8 are possible."
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InspireError(
            f"The image of {name} is {array.dtype}; uint8 (0 to 255) or floats from 0 to 1 are possible."
        )
    return array


def check_aspect_ratio(name: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Check that an image can be scaled to the policy's size without stretching it.

    Args:
        name: of the image, for the error.
        size, wanted: (height, width) of the image, and that of the policy's.

    Raises InspireError for another aspect ratio. A size that is rounded to whole pixels is accepted: up to 1 %.
    """
    (height, width), (rows, columns) = size, expected
    if abs(height * columns - width * rows) > MAX_STRETCH * width * rows:
        raise InspireError(
            f"{name} is {height} × {width}; the policy takes {rows} × {columns}, which is another aspect ratio. Crop "
            "or pad it as the demonstrations were."
        )


def scaled(
    images: UInt8[np.ndarray, "*time height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "*time new_height new_width 3"]:
    """Images of `size` (height, width), bilinear; the aspect ratio follows the size."""
    height, width = images.shape[-3:-1]
    if (height, width) == tuple(size):
        return images
    from PIL import Image

    flat = np.ascontiguousarray(images).reshape(-1, height, width, 3)
    new = [Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR) for one in flat]
    return np.stack([np.asarray(one) for one in new]).reshape(*images.shape[:-3], *size, 3)


def as_state(value: Any, key: str, state_dim: int) -> Float32[np.ndarray, " state_dim"]:
    """A robot's state. Raises InspireError, which names `key`, for anything but finite numbers."""
    state = _array(value, repr(key))
    if state.shape != (state_dim,) or state.dtype.kind not in "fiub":
        raise InspireError(
            f"{key!r} must be {counted(state_dim, 'number')}, found an array {state.shape} of {state.dtype}."
        )
    with np.errstate(over="ignore"):
        state = state.astype(np.float32)
    if not np.isfinite(state).all():
        raise InspireError(f"{key!r} holds NaN or infinite values.")
    return state


def _array(value: Any, name: str) -> np.ndarray:
    """A numpy array of an array, a tensor on any device, or nested lists."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()  # numpy has no bfloat16
    try:
        return np.asarray(value)
    except ValueError:
        raise InspireError(f"{name} holds lists of different lengths.") from None
