"""What openpi's clients send → what our agents see.

    observation/image        uint8 (H, W, 3), or (3, H, W), or float in 0..1     → pixels["image"]
                             (time, H, W, 3) for a policy that looks back, the oldest first
    observation/wrist_image  likewise; also under observation/image2             → pixels["image2"]
    observation/state        (state_dim,) numbers                                → agent_pos
    prompt                   text; `instruction` overrules it and is kept until the next

An image is scaled to the policy's size when it has the policy's proportions, and refused otherwise. Which way up a
image stands and what the state's numbers mean is between robot and demonstrations: send what was trained on.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from inspire_vla.errors import InspireError

PREFIX = "observation/"
ALIASES = {"image2": ("observation/wrist_image",), "wrist": ("observation/wrist_image",)}
"""Further keys under which a camera's image is found, after observation/<camera>."""
MAX_PIXELS = 4096
MAX_INSTRUCTION = 1000
OPTIONS = ("drafts", "instruction", "overrides", "prompt", "session", "undecodable")


@dataclass(frozen=True)
class Request:
    """One observation, checked.

    Attributes:
        observation: {"pixels": {camera: (size, size, 3) uint8}, "agent_pos": (state_dim,) float32}; images are
            (time, size, size, 3) where several were sent.
        overrides: {mention: word} that replace the model's answers.
        drafts: {mention: word} expected; None to use those of the connection.
        session: whose drafts, where one connection serves several robots.
        undecodable: answer with `actions: nil` instead of an error where the model said no action.
        unused: keys that were sent and not looked at.
    """

    observation: dict[str, Any]
    instruction: str
    overrides: dict[str, str]
    drafts: dict[str, str] | None
    session: str
    undecodable: bool
    unused: tuple[str, ...]


@dataclass(frozen=True)
class ObservationReader:
    """Reads requests for one policy.

    Attributes:
        cameras: {camera of the policy: key under which clients send it}; None for the customary keys.
        sizes: {camera: (height, width)} of the images that the policy was trained on.
        state_dim: length of the state, 0 for a policy without.
        n_obs_steps: how many images of each camera the policy looks at, at most so many may be sent.
    """

    cameras: Mapping[str, str | None]
    sizes: Mapping[str, tuple[int, int]]
    state_dim: int
    n_obs_steps: int = 1

    @classmethod
    def of(cls, config: Any, keys: Mapping[str, str] | None = None) -> "ObservationReader":
        """Return the reader of a policy's configuration; `keys` names the key of a camera.

        Raises InspireError for a camera that the policy does not have.
        """
        features = config.image_features
        names = [key.removeprefix("observation.images.") for key in features]
        for camera in keys or {}:
            if camera not in names:
                raise InspireError(f"The policy has no camera {camera!r}. Possible: {names}.")
        state = config.robot_state_feature
        return cls(
            cameras={name: (keys or {}).get(name) for name in names},
            sizes={name: tuple(f.shape[-2:]) for name, f in zip(names, features.values(), strict=True)},
            state_dim=0 if state is None else state.shape[0],
            n_obs_steps=config.n_obs_steps,
        )

    def read(self, message: Any, instruction: str = "") -> Request:
        """Check a message. `instruction` is the one kept from earlier, which overrules the prompt.

        Raises InspireError naming the key, what it held, and what is possible.
        """
        if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
            raise InspireError(f"An observation is a map with text keys, found {type(message).__name__}.")
        used = set(OPTIONS)
        pixels = {}
        for camera in self.cameras:
            key = self._key(camera, message)
            used.add(key)
            pixels[camera] = self._images(key, message[key], self.sizes[camera])
        observation: dict[str, Any] = {"pixels": pixels}
        if self.state_dim:
            used.add("observation/state")
            observation["agent_pos"] = self._state(message)
        order = _text(message, "instruction") or instruction or _text(message, "prompt")
        if not order:
            raise InspireError("There is no `prompt` (nor `instruction`): the robot must be told what to do.")
        drafts = message.get("drafts")
        return Request(
            observation,
            order,
            _words(message, "overrides"),
            None if drafts is None else _words(message, "drafts"),
            _text(message, "session"),
            message.get("undecodable") is True,
            tuple(sorted(str(key)[:60] for key in message if key not in used)),
        )

    def example(self) -> dict[str, Any]:
        """An observation of nothing in particular, to warm up with."""
        pixels = {camera: np.full((*size, 3), 127, dtype=np.uint8) for camera, size in self.sizes.items()}
        observation: dict[str, Any] = {"pixels": pixels}
        if self.state_dim:
            observation["agent_pos"] = np.zeros(self.state_dim, dtype=np.float32)
        return observation

    def keys(self) -> dict[str, str]:
        """{camera: the key it should be sent under}"""
        return {camera: self._possible(camera)[0] for camera in self.cameras}

    def _possible(self, camera: str) -> tuple[str, ...]:
        declared = self.cameras[camera]
        return (declared,) if declared else (PREFIX + camera, *ALIASES.get(camera, ()))

    def _key(self, camera: str, message: Mapping[str, Any]) -> str:
        possible = self._possible(camera)
        for key in possible:
            if key in message:
                return key
        others = {key for other in self.cameras for key in self._possible(other)}
        images = sorted(
            k
            for k, v in message.items()
            if isinstance(v, np.ndarray) and v.ndim in (3, 4) and k not in others
        )
        near = difflib.get_close_matches(possible[0], images, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InspireError(
            f"The policy looks through camera {camera!r}, sent as {' or '.join(map(repr, possible))}; other images "
            f"found: {[key[:60] for key in images[:10]]}.{hint} "
            f"A server started with --camera {camera}=KEY takes another key."
        )

    def _images(self, key: str, value: Any, size: tuple[int, int]) -> np.ndarray:
        if not isinstance(value, np.ndarray) or value.ndim != 4:
            return _image(key, value, size)
        if not 1 <= len(value) <= self.n_obs_steps:
            one = "one image" if self.n_obs_steps == 1 else f"1 to {self.n_obs_steps} images"
            raise InspireError(f"{key!r} holds {len(value)} images; the policy looks at {one} of a camera.")
        return np.stack([_image(key, image, size) for image in value])

    def _state(self, message: Mapping[str, Any]) -> np.ndarray:
        key = "observation/state"
        if key not in message:
            raise InspireError(
                f"{key!r} is missing: {self.state_dim} numbers. Found: {sorted(message)[:20]}."
            )
        try:
            state = np.asarray(message[key])
        except ValueError as error:
            raise InspireError(f"{key!r} must be {self.state_dim} numbers.") from error
        if state.shape != (self.state_dim,) or state.dtype.kind not in "fiu":
            raise InspireError(
                f"{key!r} must be {self.state_dim} numbers, found shape {state.shape}, dtype {state.dtype}."
            )
        with np.errstate(over="ignore"):
            state = state.astype(np.float32)
        if not np.isfinite(state).all():
            raise InspireError(f"{key!r} holds NaN or infinite values.")
        return state


def _image(key: str, value: Any, size: tuple[int, int]) -> np.ndarray:
    """An image that was sent, as uint8 (height, width, 3) of `size`."""
    if not isinstance(value, np.ndarray):
        raise InspireError(f"{key!r} must be an array (H, W, 3), found {type(value).__name__}.")
    if value.ndim == 3 and value.shape[0] == 3 and value.shape[2] != 3:
        value = value.transpose(1, 2, 0)
    if (
        value.ndim != 3
        or value.shape[2] != 3
        or not 1 <= min(value.shape[:2]) <= max(value.shape[:2]) <= MAX_PIXELS
    ):
        raise InspireError(
            f"{key!r} must be an image (H, W, 3) of at most {MAX_PIXELS} pixels a side, found {value.shape}."
        )
    if value.dtype.kind == "f":
        if not np.isfinite(value).all():
            raise InspireError(f"{key!r} holds NaN or infinite values.")
        if value.min() < 0 or value.max() > 1:
            raise InspireError(
                f"{key!r} holds {value.min():.3g} to {value.max():.3g}: an image of real numbers lies in 0 to 1."
            )
        value = np.rint(value.astype(np.float32) * 255).astype(np.uint8)
    if value.dtype != np.uint8:
        raise InspireError(f"{key!r} must be uint8 (or real numbers in 0 to 1), found {value.dtype}.")
    if value.shape[:2] == size:
        return value
    height, width = size
    if value.shape[0] * width != value.shape[1] * height:
        raise InspireError(
            f"{key!r} is {value.shape[0]} × {value.shape[1]}; the policy looks at {height} × {width}. "
            "Crop or pad to these proportions as the demonstrations were."
        )
    scaled = Image.fromarray(np.ascontiguousarray(value)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled)


def _text(message: Mapping[str, Any], key: str) -> str:
    text = message.get(key, "")
    if not isinstance(text, str) or len(text) > MAX_INSTRUCTION:
        raise InspireError(f"{key!r} must be text of at most {MAX_INSTRUCTION} characters.")
    return text.strip()


def _words(message: Mapping[str, Any], key: str) -> dict[str, str]:
    """Read {mention: word}; a word of nil leaves that answer to the model."""
    words = message.get(key)
    if words is None:
        return {}
    if not isinstance(words, dict) or len(words) > 64:
        raise InspireError(f"{key!r} must be a map of mention to word, found {type(words).__name__}.")
    if not all(isinstance(k, str) and (v is None or isinstance(v, str)) for k, v in words.items()):
        raise InspireError(f"{key!r} must be a map of mention to word, both text.")
    return {mention: word for mention, word in words.items() if word is not None}
