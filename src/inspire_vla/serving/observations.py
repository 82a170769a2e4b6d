"""Reads what openpi's clients send, and returns what our agents take.

    observation/image        uint8 (H, W, 3), or (3, H, W), or float in 0..1     → pixels["image"]
                             (time, H, W, 3) for a policy with n_obs_steps > 1, oldest first
    observation/wrist_image  likewise; also under observation/image2             → pixels["image2"]
    observation/state        (state_dim,) numbers                                → agent_pos
    prompt                   text; `instruction` replaces it and stays in force until the next

An image with the policy's aspect ratio is scaled to the policy's size. Other images are refused. Image orientation and
the meaning of the state cannot be checked: send them as in the demonstrations.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.files import describe
from inspire_vla.instruction import MentionRole, override_for
from inspire_vla.lerobot_plugin.observation_forms import (
    as_images,
    as_state,
    camera_of,
    check_aspect_ratio,
    openpi_keys,
    scaled,
)

STATE_KEY = "observation/state"
EXAMPLE_INSTRUCTION = "pick up the red cube"
"""Goes with `ObservationReader.example` in a warm-up; it asks about one object."""
MAX_TEXT_BYTES = 512
"""Longest instruction, mention or word in UTF-8. Tokenizers make at most one token per byte, so tokens are bounded."""


def _check_bytes(text: str) -> str:
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ValueError(f"text of at most {MAX_TEXT_BYTES} bytes in UTF-8 is accepted")
    return text


def _check_together(mentions: list[str | dict[str, str | None]]) -> list[str | dict[str, str | None]]:
    texts = [each if isinstance(each, str) else "".join(map(str, each.values())) for each in mentions]
    if sum(len(text.encode()) for text in texts) > 2 * MAX_TEXT_BYTES:
        raise ValueError(f"mentions of at most {2 * MAX_TEXT_BYTES} bytes in UTF-8 together are accepted")
    return mentions


Text = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_check_bytes)]
Words = Annotated[dict[Text, Text | None], Field(max_length=64)]
Mentions = Annotated[
    list[Text | dict[Text, Text | None]], Field(max_length=64), AfterValidator(_check_together)
]


class Options(BaseModel):
    """The fields of a request besides images and state.

    Attributes:
        prompt: the instruction.
        instruction: replaces the prompt of this and later requests of the session; an empty one ends that at once.
        session: tells the robots of one connection apart; each has its own instruction and drafts.
        overrides: {mention: word} that replace the model's answers; None leaves an answer to the model.
        drafts: {mention: word} expected; None takes the session's last answers.
        mentions: the objects to ask about, in place of those of the instruction, for this request: strings, or maps
            of `mention` and `role`.
        undecodable: reply with `actions: nil` instead of an error if the model's tokens stand for no action.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    prompt: Text = ""
    instruction: Text | None = None
    session: Text = ""
    overrides: Words | None = None
    drafts: Words | None = None
    mentions: Mentions | None = None
    undecodable: bool = False

    @classmethod
    def read(cls, message: Any) -> "Options":
        """Return the options of a message. Raises InspireError naming the field and what was found."""
        if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
            raise InspireError(f"An observation is a map with text keys, found {type(message).__name__}.")
        try:
            return cls.model_validate({key: message[key] for key in cls.model_fields if key in message})
        except ValidationError as error:
            raise InspireError(f"The observation {describe(error)}") from None


@dataclass(frozen=True)
class Request:
    """One validated observation.

    Attributes:
        observation: {"pixels": {camera: (size, size, 3) uint8}, "agent_pos": (state_dim,) float32}; images are
            (time, size, size, 3) if several were sent.
        instruction: the one in force.
        overrides: {mention: word} that replace the model's answers.
        mentions: the objects to ask about; None: those of the instruction.
        unused: keys of the message that the policy does not use.
    """

    observation: dict[str, Any]
    instruction: str
    overrides: dict[str, str]
    mentions: tuple[MentionRole, ...] | None
    options: Options
    unused: tuple[str, ...]


def _no_instruction(options: Options) -> str:
    """Say why a request has no instruction: nothing was sent, or only empty texts."""
    sent = options.model_dump(include={"prompt", "instruction"}, exclude_unset=True, exclude_none=True)
    if not sent:
        return "The observation has no `prompt` and no `instruction`. Send one of them."
    names = " and ".join(f"`{name}`" for name in sent)
    return f"The observation's {names} {'is' if len(sent) == 1 else 'are'} empty. Send the instruction as `prompt`."


def check_cameras(given: Mapping[str, str], names: Sequence[str]) -> None:
    """Check keys of cameras, camera → key.

    Raises InspireError for a camera that is not among the policy's `names`, or a key that stands for something else.
    """
    for camera, key in given.items():
        if camera not in names:
            raise InspireError(f"The policy has no camera {camera!r}.{did_you_mean(camera, names)}")
        if key in (*Options.model_fields, STATE_KEY):
            raise InspireError(f"{key!r} is no key of an image of {camera!r}: it stands for something else.")


@dataclass(frozen=True)
class ObservationReader:
    """Reads the requests for one policy.

    Attributes:
        cameras: {camera of the policy: key under which clients send it}; None for the default keys.
        sizes: {camera: (height, width)} of the images in training.
        state_dim: length of the state, 0 for a policy without one.
        n_obs_steps: most images of each camera in one request.
    """

    cameras: Mapping[str, str | None]
    sizes: Mapping[str, tuple[int, int]]
    state_dim: int
    n_obs_steps: int = 1

    @classmethod
    def of(cls, config: Any, keys: Mapping[str, str] | None = None) -> "ObservationReader":
        """Return the reader for a policy's configuration. `keys` gives the key of a camera.

        Raises InspireError for a camera that the policy does not have.
        """
        features = config.image_features
        names = list(map(camera_of, features))
        check_cameras(keys or {}, names)
        state = config.robot_state_feature
        return cls(
            cameras={name: (keys or {}).get(name) for name in names},
            sizes={name: tuple(f.shape[-2:]) for name, f in zip(names, features.values(), strict=True)},
            state_dim=0 if state is None else state.shape[0],
            n_obs_steps=config.n_obs_steps,
        )

    def read(self, message: Mapping[str, Any], options: Options, instruction: str = "") -> Request:
        """Validate a message. `instruction` is that of earlier requests of the session and replaces the prompt.

        Raises InspireError naming the key, what was found, and what is possible.
        """
        used = {*Options.model_fields, STATE_KEY} if self.state_dim else {*Options.model_fields}
        pixels = {}
        for camera in self.cameras:
            key = self._find_key(camera, message)
            used.add(key)
            pixels[camera] = self._images(camera, key, message[key])
        observation: dict[str, Any] = {"pixels": pixels}
        if self.state_dim:
            observation["agent_pos"] = self._state(message)
        instruction = (instruction if options.instruction is None else options.instruction) or options.prompt
        if not instruction:
            raise InspireError(_no_instruction(options))
        return Request(
            observation,
            instruction,
            {mention: word for mention, word in (options.overrides or {}).items() if word is not None},
            None if options.mentions is None else override_for(options.mentions),
            options,
            tuple(sorted(key[:60] for key in message if key not in used)),
        )

    def example(self) -> dict[str, Any]:
        """Return a grey observation, for the warm-up."""
        pixels = {camera: np.full((*size, 3), 127, dtype=np.uint8) for camera, size in self.sizes.items()}
        observation: dict[str, Any] = {"pixels": pixels}
        if self.state_dim:
            observation["agent_pos"] = np.zeros(self.state_dim, dtype=np.float32)
        return observation

    def keys(self) -> dict[str, str]:
        """Return {camera: the key that clients should use}."""
        return {camera: self._keys_of(camera)[0] for camera in self.cameras}

    def _keys_of(self, camera: str) -> tuple[str, ...]:
        if (declared := self.cameras[camera]) is not None:
            return (declared,)
        others = {other: key for other, key in self.cameras.items() if other != camera}
        return openpi_keys(camera, others, [key for key in others.values() if key is not None])

    def _find_key(self, camera: str, message: Mapping[str, Any]) -> str:
        possible = self._keys_of(camera)
        for key in possible:
            if key in message:
                return key
        known = {key for other in self.cameras for key in self._keys_of(other)}
        images = sorted(
            key
            for key, value in message.items()
            if isinstance(value, np.ndarray) and value.ndim in (3, 4) and key not in known
        )
        near = difflib.get_close_matches(possible[0], images, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InspireError(
            f"The policy needs camera {camera!r}, sent as {' or '.join(map(repr, possible))}; other images "
            f"found: {[key[:60] for key in images[:10]]}.{hint} "
            f"Start the server with --camera {camera}=KEY to use another key."
        )

    def _images(self, camera: str, key: str, value: Any) -> np.ndarray:
        """The images of a camera in the policy's size. Raises InspireError for another aspect ratio."""
        images = as_images(value, repr(key), self.n_obs_steps)
        check_aspect_ratio(repr(key), images.shape[-3:-1], self.sizes[camera])
        return scaled(images, self.sizes[camera])

    def _state(self, message: Mapping[str, Any]) -> np.ndarray:
        if STATE_KEY not in message:
            raise InspireError(
                f"{STATE_KEY!r} is missing: {counted(self.state_dim, 'number')}. Found: {sorted(message)[:20]}."
            )
        return as_state(message[STATE_KEY], STATE_KEY, self.state_dim)
