"""LeRobot's processors of an InSpire policy. All text and all action tokens are made here, on the CPU.

    preprocessor     rename → add batch axis → normalize → tokenize → device
    postprocessor    unnormalize → CPU

The step `inspire_vla_tokenizer` adds what tokenizer.py says: token sequences for a training, prompts for decisions.

The step is saved by LeRobot in the checkpoint's policy_preprocessor.json (settings) and in its safetensors file (the
files of the text tokenizer and of the action tokenizer, as bytes), so that a checkpoint needs nothing beside them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import PipelineFeatureType, PolicyFeature
from lerobot.lerobot_types import EnvTransition, TransitionKey
from lerobot.processor import (
    PolicyAction,
    PolicyProcessorPipeline,
    ProcessorStep,
    ProcessorStepRegistry,
    make_default_policy_processor_steps,
    make_policy_processor_pipelines,
)
from lerobot.utils.constants import ACTION
from torch import Tensor

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.checkpoint_files import PREPROCESSOR
from inspire_vla.lerobot_plugin.checkpoint_schema import (
    TOKENIZER_STEP,
    check_checkpoint,
    check_tokenizer_settings,
)
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.tokenizer import InspireVLATokenizer, TokenizerParts
from inspire_vla.lerobot_plugin.tokenizer_files import check_tokenizer_files

STEP = "inspire_vla_tokenizer_step"
"""Key of a batch under which the step adds itself: see `InspireVLATokenizerStep`."""


@ProcessorStepRegistry.register(TOKENIZER_STEP)
class InspireVLATokenizerStep(ProcessorStep):
    """The step of the preprocessor: see the head of this module.

    LeRobot 0.6.1 loads a checkpoint's preprocessor as it was saved; only two of its own policies may change it, by
    name (policies/factory.py). But a fine-tuning may ask for other reasoning, another chunk size or a new action
    tokenizer. So a step that was loaded only adds itself to the first batch. `InspireVLAPolicy` tokenizes that batch
    and gives the step its tokenizer, see `share`. To use a preprocessor without its policy, read `step.tokenizer` once.

    The class is no dataclass, because FSDP copies the dataclasses that it finds in a batch.
    """

    def __init__(self, **settings: Any) -> None:
        """`settings`: as `get_config` returned them; the files come by `load_state_dict`.

        Raises InspireError for other settings.
        """
        if settings:
            check_tokenizer_settings(settings)
        self._settings, self._files = settings, dict[str, bytes]()
        self._tokenizer: InspireVLATokenizer | None = None

    @classmethod
    def of(cls, tokenizer: InspireVLATokenizer) -> "InspireVLATokenizerStep":
        """A step that shares a policy's tokenizer."""
        step = cls()
        step.share(tokenizer)
        return step

    @property
    def tokenizer(self) -> InspireVLATokenizer:
        """What makes the tokens: a policy's, else one with the settings and files that were saved."""
        if self._tokenizer is None:
            self._tokenizer = InspireVLATokenizer.load(self._settings, self._files)
        return self._tokenizer

    def share(self, tokenizer: InspireVLATokenizer) -> bool:
        """Use a policy's tokenizer from now on. Returns whether the step had another one, or none."""
        changed, self._tokenizer = self._tokenizer is not tokenizer, tokenizer
        return changed

    @property
    def parts(self) -> TokenizerParts:
        """What a policy builds its own tokenizer from."""
        return self._tokenizer.parts if self._tokenizer else TokenizerParts.load(self._settings, self._files)

    def __call__(self, transition: EnvTransition) -> EnvTransition:
        complementary = transition.get(TransitionKey.COMPLEMENTARY_DATA) or {}
        batch = {
            **(transition.get(TransitionKey.OBSERVATION) or {}),
            **complementary,
            ACTION: transition.get(TransitionKey.ACTION),
            "info": transition.get(TransitionKey.INFO),
        }
        added = self._tokenizer(batch) if self._tokenizer else {}
        return transition | {TransitionKey.COMPLEMENTARY_DATA: complementary | added | {STEP: self}}  # type: ignore[return-value]

    def get_config(self) -> dict[str, Any]:
        """The tokenizer's settings, as JSON values."""
        return self._tokenizer.settings if self._tokenizer else self._settings

    def state_dict(self) -> dict[str, Tensor]:
        """The tokenizer's files: {name: their bytes, uint8 (n,)}."""
        files = self._tokenizer.files if self._tokenizer else self._files
        return {name: torch.from_numpy(np.frombuffer(files[name], np.uint8).copy()) for name in sorted(files)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        files = {name: content.cpu().numpy().tobytes() for name, content in state.items()}
        check_tokenizer_files(files)  # LeRobot's own commands load the step too
        self._files = files

    def transform_features(
        self, features: dict[PipelineFeatureType, dict[str, PolicyFeature]]
    ) -> dict[PipelineFeatureType, dict[str, PolicyFeature]]:
        return features


def make_inspire_vla_pre_post_processors(
    config: InspireVLAConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    PolicyProcessorPipeline[PolicyAction, PolicyAction],
]:
    """Pre- and postprocessor of a new policy, which LeRobot makes first, of the same configuration.

    Images stay in [0, 1]. State and actions are normalised as `config.normalization_mapping` says.

    Raises InspireError where there is no policy of this configuration yet: its tokenizer is the preprocessor's.
    """
    if config.runtime_tokenizer is None:
        raise InspireError("Make the policy first: the preprocessor shares its tokenizer.")
    steps = make_default_policy_processor_steps(config, dataset_stats)
    tokenize = InspireVLATokenizerStep.of(config.runtime_tokenizer)
    return make_policy_processor_pipelines(
        input_steps=[
            steps.rename_observations,
            steps.add_batch_dim,
            steps.normalize,
            tokenize,
            steps.to_device,
        ],
        output_steps=[steps.unnormalize, steps.to_cpu],
    )


def tokenizer_step(preprocessor: PolicyProcessorPipeline[Any, Any]) -> InspireVLATokenizerStep:
    """The tokenizer step of a preprocessor. Raises InspireError where there is none."""
    for step in preprocessor.steps:
        if isinstance(step, InspireVLATokenizerStep):
            return step
    raise InspireError(f"The preprocessor has no step {TOKENIZER_STEP!r}; found {preprocessor.steps}.")


def load_parts(folder: Path) -> TokenizerParts:
    """What a policy builds its tokenizer from, off a checkpoint's preprocessor.

    Raises InspireError for a damaged checkpoint, or one that is none of ours.
    """
    check_checkpoint(folder)
    preprocessor = PolicyProcessorPipeline.from_pretrained(
        folder, config_filename=PREPROCESSOR, overrides={"device_processor": {"device": "cpu"}}
    )
    return tokenizer_step(preprocessor).parts
