"""A checkpoint as an agent: plain observations in, actions in the robot's units and the reasoning out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import UInt8
from lerobot.policies import make_pre_post_processors

from inspire_vla.backbones.devices import check_device
from inspire_vla.decoding import Decision
from inspire_vla.errors import InspireError, counted, reason_of
from inspire_vla.instruction import Overrides
from inspire_vla.lerobot_plugin.checkpoint_files import ADAPTER_CONFIG
from inspire_vla.lerobot_plugin.checkpoint_schema import check_checkpoint, read_adapter
from inspire_vla.lerobot_plugin.checkpoints import find, is_adapter
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig, load_config
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.observation_forms import (
    EXPECTED,
    camera_of,
    check_aspect_ratio,
    instruction_of,
    read_observation,
)
from inspire_vla.lerobot_plugin.processor_inspire_vla import tokenizer_step
from inspire_vla.lerobot_plugin.tokenizer import ASKED_MENTIONS, TokenizerParts

Observation = Mapping[str, Any]
"""{"pixels": {camera: (H, W, 3) uint8}, "agent_pos": (state_dim,) float}, as gymnasium environments give it, or in
LeRobot's or openpi's form: see observation_forms.py.

With several observation steps (`n_obs_steps`) images are (time, H, W, 3), the oldest first. Where there are too few, as
at the start of an episode, the oldest image is repeated."""


class Agent:
    """A policy with its processors. Holds nothing of an episode: drafts are handed in by the caller."""

    def __init__(self, policy: InspireVLAPolicy, preprocessor: Any, postprocessor: Any) -> None:
        self.policy, self.preprocessor, self.postprocessor = policy, preprocessor, postprocessor

    @property
    def config(self) -> InspireVLAConfig:
        return self.policy.config

    @property
    def reasoning_enabled(self) -> bool:
        return self.config.reasoning.enabled

    @property
    def answers_precede_action(self) -> bool:
        """Whether the action is conditioned on the answers: not where the questions are asked apart."""
        return not self.config.reasoning.asks_apart

    @property
    def mention_overrides(self) -> Overrides:
        """Instruction → objects to ask about that a person has given: those of the checkpoint, and of `load_policy`."""
        return self.policy.tokenizer.parts.mention_overrides

    @property
    def n_action_steps(self) -> int:
        return self.config.n_action_steps

    @property
    def n_obs_steps(self) -> int:
        """How many images of each camera it takes; an `ObservationHistory` keeps them."""
        return self.config.n_obs_steps

    @overload
    def act(
        self,
        observations: Observation,
        instructions: str | Sequence[str] | None = None,
        overrides: Mapping[str, str] | None = None,
        drafts: Mapping[str, str] | None = None,
        mentions: Sequence[Any] | None = None,
        temperature: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> Decision: ...

    @overload
    def act(
        self,
        observations: Sequence[Observation],
        instructions: str | Sequence[str] | None = None,
        overrides: Sequence[Mapping[str, str] | None] | None = None,
        drafts: Sequence[Mapping[str, str] | None] | None = None,
        mentions: Sequence[Sequence[Any] | None] | None = None,
        temperature: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> list[Decision]: ...

    def act(
        self,
        observations: Any,
        instructions: str | Sequence[str] | None = None,
        overrides: Any = None,
        drafts: Any = None,
        mentions: Any = None,
        temperature: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> Any:
        """Decide for one robot, or for several at once.

        Args:
            observations: one, or a list of them, each in a form of `observation_forms`. For one observation the other
                arguments are its own too; for a list they are lists.
            instructions: one for all, or one for each; None: the "task" or "prompt" in each observation.
            overrides: {mention: answer} to set instead of the model's answers; None leaves an answer to the model.
            drafts: {mention: answer} expected, e.g. the last ones. Only the time depends on them. None at the start of
                an episode.
            mentions: the objects to ask about, in place of those that the instruction names: strings, which need not
                stand in it. None: those of the instruction.
            temperature: 0 takes the best token; above, answers and codes are sampled, by `generator` if given.

        Returns:
            A decision, or a list of them, with actions (chunk_size, action_dim) in the units of the demonstrations.

        Raises:
            InspireError: observations of another form, that lack what the policy takes, or with an image that
                would be stretched; a generator of another kind.
        """
        if isinstance(observations, Mapping):
            of_row = {"overrides": overrides, "drafts": drafts, "mentions": mentions}
            rows = {name: None if given is None else [given] for name, given in of_row.items()}
            (decision,) = self.act(
                [observations], instructions, temperature=temperature, generator=generator, **rows
            )
            return decision
        if not isinstance(generator, np.random.Generator | None):
            raise InspireError(
                f"generator is one of numpy, such as numpy.random.default_rng(3); found {generator!r}."
            )
        batch = self.batch(observations, instructions)
        asked = _rows("mentions", mentions, len(observations))
        overrides, drafts = (
            [None if row is None else _words(name, row) for row in _rows(name, given, len(observations))]
            for name, given in (("overrides", overrides), ("drafts", drafts))
        )
        if mentions is not None:
            batch["info"] = {ASKED_MENTIONS: asked}
        batch = self.preprocessor(batch)
        decisions = self.policy.act(
            batch,
            overrides=[row or {} for row in overrides],
            drafts=drafts,
            temperature=temperature,
            generator=generator,
        )
        return [self._in_robot_units(decision) for decision in decisions]

    def batch(
        self, observations: Sequence[Observation], instructions: str | Sequence[str] | None = None
    ) -> dict[str, Any]:
        """The observations as a batch of LeRobot, not preprocessed yet. Raises InspireError where they do not fit."""
        if not isinstance(observations, Sequence) or isinstance(observations, str):
            raise InspireError(f"{EXPECTED} Or a list of such; found {type(observations).__name__}.")
        if instructions is None:
            instructions = [instruction_of(observation) for observation in observations]
        elif isinstance(instructions, str):
            instructions = [instructions] * len(observations)
        if isinstance(instructions, bytes) or not isinstance(instructions, (Sequence, np.ndarray)):
            raise InspireError(f"An instruction is a string; found {type(instructions).__name__}.")
        if len(observations) != len(instructions) or not observations:
            raise InspireError(
                f"{counted(len(observations), 'observation')} for {counted(len(instructions), 'instruction')}."
            )
        keys = list(self.config.image_features)
        cameras = list(map(camera_of, keys))
        state = self.config.robot_state_feature
        rows = [
            read_observation(one, cameras, state.shape[0] if state else 0, self.n_obs_steps)
            for one in observations
        ]
        batch: dict[str, Any] = {"task": list(instructions)}
        for key, camera in zip(keys, cameras, strict=True):
            images = [self._with_history(row["pixels"][camera]) for row in rows]
            for image in images if self.policy.stretches_images else ():
                check_aspect_ratio(
                    f"camera {camera!r}", image.shape[-3:-1], self.config.image_features[key].shape[-2:]
                )
            if len({image.shape for image in images}) > 1:
                raise InspireError(
                    f"The images of camera {camera!r} differ in size: {[image.shape for image in images]}."
                )
            batch[key] = torch.from_numpy(np.stack(images)).movedim(-1, -3).contiguous().float() / 255
        if state is not None:
            batch["observation.state"] = torch.from_numpy(np.stack([row["agent_pos"] for row in rows]))
        return batch

    def _with_history(
        self, images: UInt8[np.ndarray, "*time height width 3"]
    ) -> UInt8[np.ndarray, "*history height width 3"]:
        """A camera's images, as many as the policy takes; a single one where `n_obs_steps` is 1."""
        length = self.n_obs_steps
        if length == 1:
            return images
        images = images[None] if images.ndim == 3 else images
        return np.concatenate([np.repeat(images[:1], length - len(images), axis=0), images])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a checkpoint: the policy and its two processors."""
        self.policy.save_pretrained(folder)
        self.preprocessor.save_pretrained(folder)
        self.postprocessor.save_pretrained(folder)

    def _in_robot_units(self, decision: Decision) -> Decision:
        if decision.actions is None:
            return decision
        actions = self.postprocessor(torch.from_numpy(decision.actions)).float().cpu().numpy()
        if not np.isfinite(actions).all():
            raise InspireError(
                "The actions are NaN or infinite in the robot's units: the statistics in the checkpoint are broken."
            )
        return replace(decision, actions=actions)


def _rows(name: str, given: Any, count: int) -> Sequence[Any]:
    """What is given for each row; None for each where nothing is. Raises InspireError for another number of them."""
    if given is None:
        return [None] * count
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or len(given) != count:
        raise InspireError(
            f"{name} of {counted(count, 'observation')} are a list with an entry for each, found {str(given)[:200]}."
        )
    return given


def _words(name: str, given: Any) -> dict[str, str]:
    """A map from mentions to answers, without those that are None. Raises InspireError for something else."""
    if not isinstance(given, Mapping) or not all(
        isinstance(mention, str) and isinstance(word, str | None) for mention, word in given.items()
    ):
        raise InspireError(f"{name} are a map from mentions to answers, found {given!r}.")
    return {mention: word for mention, word in given.items() if word is not None}


def load_policy(
    path: str | Path,
    *,
    device: str | None = None,
    keep_weights_dtype: bool = False,
    mentions: Overrides | None = None,
) -> Agent:
    """Load a checkpoint as an agent: a folder, an included one by its name, or one of the hub (see `checkpoints.find`).

    A LoRA is merged into its base.

    Args:
        device: another than the checkpoint's.
        keep_weights_dtype: keep the weights in their `weights_dtype`, to train or to save them. By default they are in
            `dtype`, in which the policy computes.
        mentions: instruction → objects to ask about, besides those that the checkpoint holds (see `read_overrides`).

    No code of the checkpoint is run: see checkpoint_schema.py.

    Raises InspireError for a device that is not here, and for what is no checkpoint of ours, is damaged, or names code.
    """
    check_device(device)
    folder = find(path)
    check_checkpoint(folder)
    config = load_config(folder)
    if device is not None:
        config.device = device
    if not keep_weights_dtype:
        config.weights_dtype = None
    preprocessor, postprocessor = make_pre_post_processors(
        config,
        pretrained_path=str(folder),
        preprocessor_overrides={
            "device_processor": {"device": config.device},
            # That of the training, from the dataset's names. Here the names are the policy's.
            "rename_observations_processor": {"rename_map": {}},
        },
    )
    step = tokenizer_step(preprocessor)
    if is_adapter(folder):
        policy = _merged(folder, config, step.parts)
    else:
        policy = InspireVLAPolicy.from_pretrained(folder, config=config, parts=step.parts)
    step.share(policy.tokenizer)
    policy.tokenizer.override_mentions(mentions or {})
    return Agent(policy, preprocessor, postprocessor)


def _merged(folder: Path, config: InspireVLAConfig, parts: TokenizerParts) -> InspireVLAPolicy:
    """The base of a LoRA with the adapter merged into its weights.

    Raises InspireError where PEFT is not installed, or the base is not where the adapter says.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise InspireError(
            f"{folder} holds a LoRA: install the extra, pip install -c constraints.txt -e '.[peft]'."
        ) from None
    base = read_adapter(folder) or ""
    try:
        whole = find(base or "no base")
    except InspireError as error:
        raise InspireError(
            f"{folder} holds a LoRA that was trained on {base!r}, and that is not here. Put its path into "
            f"{ADAPTER_CONFIG} as base_model_name_or_path. ({error})"
        ) from None
    policy = InspireVLAPolicy.from_pretrained(whole, config=config, parts=parts)
    try:
        merged = PeftModel.from_pretrained(policy, str(folder)).merge_and_unload()
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InspireError(
            f"The LoRA in {folder} does not fit its base {base!r}: {reason_of(error)}."
        ) from None
    assert isinstance(merged, InspireVLAPolicy)
    merged.backbone.tie()
    config.use_peft = False
    return merged
