"""What a conversion is told, what it makes of its source before there is a policy, and what it reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, ActionTokenizer
from inspire_vla.backbones.hf_decoder import RenamedWeights
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.lerobot_plugin.configuration_inspire_vla import (
    DTYPES,
    InspireVLAConfig,
    ReasoningConfig,
)
from inspire_vla.lerobot_plugin.convert.published import Statistics
from inspire_vla.lerobot_plugin.training import Suites

ADDED_TOKENIZERS = ("residual_vq", "uniform_bins")
"""Action tokenizers that an image-text model may get."""
IMAGE = 256  # pixels a side that the configuration names; images of any size are resized


@dataclass(frozen=True)
class Options:
    """What a checkpoint does not say itself.

    Attributes:
        tokenizer: the language model's tokenizer, where the weights come without it.
        vq: MiniVLA's pretrain_vq, for models that act by it.
        fast: the FAST processor's files, for π0-FAST.
        statistics: the dataset whose units are wanted, where there are several ("unnorm_key").
        gripper: of OpenVLA and MiniVLA, see `GRIPPER_CONVENTIONS`. Kept with the action tokenizer.
        cameras: names of the images, `observation.images.<name>`; None: those of the checkpoint, or "image".
        action_dim, chunk_size, state_dim: None: the checkpoint's.
        prompt: for π0-FAST, "openpi" or "lerobot"; see `PaliGemmaConfig`.
        dtype: of the written weights.
        heads: attention heads of the language model, of OpenVLA and MiniVLA; None: known from its width.
        vision_heads: attention heads of the image encoders; None: known from their width.
        head_size: width of an attention head of π0-FAST's language model; None: 256, as published.
        action_tokens: for image-text models, "added" or "reserved".
        action_tokenizer: for image-text models, "residual_vq" (fitted when it is trained) or "uniform_bins".

    `tokenizer`, `vq` and `fast` are folders, or user/name or user/name/folder of the hub.

    Raises InspireError for an unknown dtype, gripper or action tokenizer.
    """

    tokenizer: str | None = None
    vq: str | None = None
    fast: str | None = None
    statistics: str | None = None
    gripper: str = "as_trained"
    cameras: tuple[str, ...] | None = None
    action_dim: int | None = None
    chunk_size: int | None = None
    state_dim: int | None = None
    prompt: str = "openpi"
    dtype: str = "float32"
    heads: int | None = None
    vision_heads: int | None = None
    head_size: int | None = None
    action_tokens: str = "added"
    action_tokenizer: str = "residual_vq"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InspireError(f"Unknown dtype {self.dtype!r}.{did_you_mean(self.dtype, DTYPES)}")
        if self.action_tokenizer not in ADDED_TOKENIZERS:
            hint = did_you_mean(self.action_tokenizer, ADDED_TOKENIZERS)
            raise InspireError(f"Unknown action tokenizer {self.action_tokenizer!r}.{hint}")
        if self.gripper not in GRIPPER_CONVENTIONS:
            raise InspireError(
                f"Unknown gripper {self.gripper!r}.{did_you_mean(self.gripper, GRIPPER_CONVENTIONS)}"
            )


@dataclass(frozen=True)
class Report:
    """What became of every tensor. `matched` counts, the others name."""

    kind: str
    out: str
    matched: int
    dropped: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing and not self.unexpected

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.matched} tensors matched, {len(self.dropped)} left out (never run)."]
        for what in ("missing", "unexpected"):
            names = getattr(self, what)
            if names:
                lines.append(f"{what}: {len(names)}, e.g. {', '.join(names[:5])}")
        return "\n".join([*lines, *self.notes])


@dataclass
class Plan:
    """What a kind makes of its source, before there is a policy.

    Attributes:
        training_suites: suites that the weights were trained on. Published weights of robots do not say.
    """

    config: InspireVLAConfig
    action_tokenizer: ActionTokenizer
    text_folder: Path
    mapped: RenamedWeights
    statistics: Statistics
    notes: list[str]
    training_suites: Suites = None


def base_config(
    kind: str,
    options: Options,
    cameras: Sequence[str],
    action_dim: int,
    actions: ActionTokenizer,
    *,
    state_dim: int,
) -> InspireVLAConfig:
    inputs = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, IMAGE, IMAGE)) for name in cameras
    }
    if state_dim:
        inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (state_dim,))
    return InspireVLAConfig(
        backbone=kind,
        action_tokenizer=actions.name,
        reasoning=ReasoningConfig(enabled=False),
        chunk_size=actions.horizon,
        n_action_steps=actions.horizon,
        use_state=state_dim > 0,
        dtype=options.dtype,
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (action_dim,))},
        normalization_mapping={
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.QUANTILES,
            "ACTION": NormalizationMode.QUANTILES,
        },
        optimizer_lr=2e-5,
        optimizer_weight_decay=0.0,
    )
