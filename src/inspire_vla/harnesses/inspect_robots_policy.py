"""A policy of inspect-robots, whose transcript holds what the model said about each object.

    inspect-robots run --policy inspire_vla -P checkpoint=runs/mine -P state=joint_pos -P cameras=front:top …

The transcript of a trial is a list of chat messages, two for each decision, as inspect-robots' viewer shows them. The
assistant's message also holds the parts by name:

    {"role": "assistant", "content": "the red mug: left (0.97)", "step": 12,
     "objects": ["the red mug"], "answers": ["left"], "confidences": [0.97], "overridden": [false]}
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from inspire_vla.backbones.devices import check_device
from inspire_vla.episode_conventions import MAX_UNDECODABLE_IN_A_ROW
from inspire_vla.errors import InspireError, counted
from inspire_vla.harnesses import how_to_install
from inspire_vla.serving.observations import STATE_KEY, ObservationReader, Options, check_cameras

try:
    from inspect_robots.errors import ConfigError
    from inspect_robots.policy import PolicyBase, PolicyConfig, PolicyInfo
    from inspect_robots.scene import Scene
    from inspect_robots.spaces import (
        ABSOLUTE_CONTROL_MODES,
        ActionSemantics,
        Box,
        CameraSpec,
        ObservationSpace,
    )
    from inspect_robots.types import Action, ActionChunk, Observation
except ModuleNotFoundError as error:
    if error.name != "inspect_robots":
        raise
    raise ModuleNotFoundError(how_to_install("inspect-robots"), name=error.name) from None


class PolicyRefused(InspireError, ConfigError):
    """The arguments of a policy cannot be used. inspect-robots ends with the message alone."""


class InspirePolicy(PolicyBase):
    """One of our checkpoints as a policy of inspect-robots. From a command line, maps are written a:b,c:d.

    Args:
        checkpoint: a folder, the name of an included one, or user/name on the hub.
        cameras: camera of the policy → camera of the embodiment, where their names differ.
        state: keys of the embodiment's state, in the order of the policy's; needed if the policy takes a state. Units
            must be those of the demonstrations. inspect-robots' `joint_pos` is in rad, LeRobot's is often in degrees.
        control_mode, rotation_repr, gripper, frame: what an action means, in inspect-robots' words, for its check of
            policy and embodiment. A checkpoint does not know. None: not declared.
        overrides: {mention: answer} used in place of the model's answers.
        device: cpu, cuda, …; by default the checkpoint's.

    Raises:
        PolicyRefused: no such checkpoint or device, an unknown camera, no `state` for a policy that takes one, answers
            that the policy cannot be given, or a policy with several observation steps.
    """

    def __init__(
        self,
        checkpoint: str,
        cameras: str | Mapping[str, str] = "",
        state: str = "",
        control_mode: str | None = None,
        rotation_repr: str = "none",
        gripper: str = "none",
        frame: str = "base",
        overrides: str | Mapping[str, str] = "",
        device: str | None = None,
    ) -> None:
        try:
            from inspire_vla.policies import agent_factory, check_overrides, configured, describe

            check_device(device)
            about = describe(checkpoint)
            given = _pairs(cameras, "cameras")
            check_cameras(given, about["cameras"])
            names = {camera: camera for camera in about["cameras"]} | given
            self._state = tuple(key.strip() for key in state.split(",") if key.strip())
            if about["state_dim"] and not self._state:
                raise InspireError(
                    f"{checkpoint} takes a state of {counted(about['state_dim'], 'number')}: give `state`, the keys "
                    "of the embodiment's state in that order, such as state=eef_pos,gripper."
                )
            self._overrides = _pairs(overrides, "overrides")
            check_overrides(about, self._overrides)
            if (steps := configured(checkpoint).get("n_obs_steps", 1)) > 1:
                raise InspireError(
                    f"{checkpoint} takes {steps} images in a row of each camera, and inspect-robots shows a "
                    "policy only those at which it decides."
                )
            self._agent = agent_factory(checkpoint, device)()
            self._reader = ObservationReader.of(self._agent.config, names)
            semantics = None
            if control_mode is not None:
                semantics = ActionSemantics(control_mode, rotation_repr, gripper, frame)  # type: ignore[arg-type]
            sizes = [(names[camera], *size) for camera, size in self._reader.sizes.items()]
            self.info = PolicyInfo(
                name=about["name"],
                action_space=Box(shape=(about["action_dim"],), semantics=semantics),
                observation_space=ObservationSpace(
                    cameras=tuple(CameraSpec(*size) for size in sizes), state_keys=frozenset(self._state)
                ),
                checkpoint=f"{about['checkpoint']} {about['sha256']}",
            )
            self.config = PolicyConfig(action_horizon=self._agent.n_action_steps, temperature=0.0)
            self._cameras = names
            self._start("")
        except InspireError as error:
            raise PolicyRefused(str(error)) from None

    def reset(self, scene: Scene) -> None:
        """Begin a trial: no earlier answers and actions."""
        self._start(scene.instruction)

    def _start(self, instruction: str) -> None:
        self._instruction = instruction
        self._drafts: dict[str, str] | None = None
        self._last: np.ndarray | None = None
        self._undecodable = 0
        self._messages: list[dict[str, Any]] = []
        self._streamed = 0

    def act(self, observation: Observation) -> ActionChunk:
        """Answer the questions, then return a chunk of `n_action_steps` actions.

        Raises InspireError for an observation without what the policy takes, and for undecodable actions that cannot be
        replaced by holding still.
        """
        if observation.instruction:
            self._instruction = observation.instruction
        step = int(observation.extra.get("env_step", 0))
        request = self._read(observation)
        decision = self._agent.act(
            request.observation, request.instruction, overrides=self._overrides or None, drafts=self._drafts
        )
        self._drafts = decision.answers_by_mention
        self._log(step, decision)
        actions = self._hold_still() if decision.actions is None else decision.actions
        if decision.actions is not None:
            self._undecodable = 0
        actions = np.asarray(actions, dtype=np.float64)[: self._agent.n_action_steps]
        self._last = actions[-1]
        return ActionChunk([Action(data=action) for action in actions])

    def transcript(self) -> list[dict[str, Any]]:
        """Return the messages of the current trial."""
        return copy.deepcopy(self._messages)

    def transcript_delta(self) -> list[dict[str, Any]]:
        """Return the messages since the last call."""
        new, self._streamed = self._messages[self._streamed :], len(self._messages)
        return copy.deepcopy(new)

    def _read(self, observation: Observation) -> Any:
        cameras = {self._cameras[camera] for camera in self._reader.sizes}
        lacking = sorted(cameras - set(observation.images))
        if lacking:
            raise InspireError(
                f"The policy needs the cameras {lacking}; the embodiment has {sorted(observation.images)}. Give "
                "`cameras`, such as cameras=front:top."
            )
        message: dict[str, Any] = {camera: np.asarray(observation.images[camera]) for camera in cameras}
        if self._state:
            absent = [key for key in self._state if key not in observation.state]
            if absent:
                raise InspireError(
                    f"The state lacks {absent}; the embodiment has {sorted(observation.state)}."
                )
            parts = [np.ravel(observation.state[key]) for key in self._state]
            message[STATE_KEY] = np.concatenate(parts).astype(np.float32)
        options = Options.read({"prompt": self._instruction})
        if not options.prompt:
            raise InspireError("The scene has no instruction, and neither has the observation.")
        return self._reader.read(message, options)

    def _log(self, step: int, decision: Any) -> None:
        prompt = [{"type": "text", "text": f"step {step}: {self._instruction}"}]
        for camera in self._reader.sizes:  # inspect-robots puts the stored frame in this place
            prompt.append({"type": "text", "text": f"camera {self._cameras[camera]!r} (step {step}):"})
            prompt.append({"type": "text", "text": "[image omitted: streamed camera frame]"})
        rows = zip(
            decision.mentions, decision.answers, decision.confidences, decision.overridden, strict=True
        )
        lines = [
            f"{mention}: {answer} ({'overridden' if overridden else f'{confidence:.2f}'})"
            for mention, answer, confidence, overridden in rows
        ]
        self._messages += [
            {"role": "user", "content": prompt},
            {
                "role": "assistant",
                "content": "\n".join(lines) or "(asked nothing)",
                "step": step,
                "objects": list(decision.mentions),
                "answers": list(decision.answers),
                "confidences": [round(float(value), 4) for value in decision.confidences],
                "overridden": list(map(bool, decision.overridden)),
                "decodable": bool(decision.decodable),
            },
        ]

    def _hold_still(self) -> np.ndarray:
        """One step without motion, (1, dim), after tokens that stand for no action. The gripper is the last number."""
        self._undecodable += 1
        semantics, last = self.info.action_space.semantics, self._last
        if self._undecodable >= MAX_UNDECODABLE_IN_A_ROW or semantics is None or last is None:
            raise InspireError(f"The tokens stand for no action, {self._undecodable} times in a row.")
        if semantics.control_mode in ABSOLUTE_CONTROL_MODES:
            return last[None]
        still = np.zeros_like(last)
        if semantics.gripper != "none":
            still[-1] = last[-1]
        return still[None]


def _pairs(given: str | Mapping[str, str], name: str) -> dict[str, str]:
    """A map, or "a:b,c:d" from a command line. Raises InspireError for other text."""
    if isinstance(given, Mapping):
        return dict(given)
    pairs = [part.split(":") for part in given.split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise InspireError(f"{name} must be written a:b,c:d; found {given!r}.")
    return {key.strip(): value.strip() for key, value in pairs}
