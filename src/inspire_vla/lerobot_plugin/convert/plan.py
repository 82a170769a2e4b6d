"""What a conversion is told, what it makes of its source before there is a policy, and what it reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, ActionTokenizer
from inspire_vla.backbones.published_weights import RenamedWeights
from inspire_vla.errors import InspireError, counted, did_you_mean
from inspire_vla.lerobot_plugin.configuration_inspire_vla import DTYPES, InspireVLAConfig
from inspire_vla.lerobot_plugin.convert.published import Published, Statistics, lerobot_statistics
from inspire_vla.lerobot_plugin.dataset_origin import Suites
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig

ADDED_TOKENIZERS = ("residual_vq", "uniform_bins")
"""Action tokenizers that an image-text model may get."""
IMAGE = 256  # pixels a side of cameras whose size the source does not say


@dataclass(frozen=True)
class Options:
    """What a checkpoint does not say itself: the options of `inspire convert`, which cli/convert.py explains.

    None: the checkpoint's own, or as published. `tokenizer`, `vq` and `fast` are folders, or user/name or
    user/name/folder of the hub.

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
        if self.cameras is not None and len(set(self.cameras)) < len(self.cameras):
            raise InspireError(f"Each camera needs a name of its own, found {list(self.cameras)}.")


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
    action_tokenizer: ActionTokenizer | None
    text_folder: Path
    mapped: RenamedWeights
    statistics: Statistics
    notes: list[str]
    training_suites: Suites = None


@dataclass(frozen=True)
class Robot:
    """What a policy sees and does: the names of its cameras, lengths of vectors, actions of a chunk.

    image_sizes: camera → (height, width), as far as they are known. A served policy refuses other aspect ratios.
    """

    cameras: tuple[str, ...]
    action_dim: int
    state_dim: int
    chunk_size: int
    image_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any], options: Options) -> Self:
        """The robot of a config.json, as far as the options do not say otherwise.

        Cameras that stand for none (`empty_cameras`) are left out: the model never attends to them. Cameras of other
        names have the size of the source's, if these have one.
        """
        features = settings.get("input_features") or {}
        found = {
            key.rpartition(".")[2]: _size(feature)
            for key, feature in features.items()
            if feature.get("type") == "VISUAL" and "empty_camera" not in key
        }
        cameras = options.cameras or tuple(found) or ("image",)
        common = next(iter(found.values())) if len(set(found.values())) == 1 else None
        sizes = {name: found.get(name, common) for name in cameras}
        return cls(
            cameras,
            options.action_dim or _length(settings.get("output_features"), "action") or 7,
            options.state_dim or _length(features, "observation.state") or 8,
            options.chunk_size or int(settings.get("chunk_size", 50)),
            {name: size for name, size in sizes.items() if size is not None},
        )


def base_config(
    kind: str, options: Options, robot: Robot, actions: ActionTokenizer | None
) -> InspireVLAConfig:
    """A base policy of a backbone."""
    inputs = {
        f"observation.images.{name}": PolicyFeature(
            FeatureType.VISUAL, (3, *robot.image_sizes.get(name, (IMAGE, IMAGE)))
        )
        for name in robot.cameras
    }
    if robot.state_dim:
        inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (robot.state_dim,))
    return InspireVLAConfig(
        device="cpu",  # where the weights are put together
        backbone=kind,
        action_tokenizer=actions.name if actions else None,
        reasoning=ReasoningConfig(enabled=False),
        chunk_size=robot.chunk_size,
        n_action_steps=robot.chunk_size,
        use_state=robot.state_dim > 0,
        dtype=options.dtype,
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (robot.action_dim,))},
        normalization_mapping={
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.QUANTILES,
            "ACTION": NormalizationMode.QUANTILES,
        },
        optimizer_lr=2e-5,
        optimizer_weight_decay=0.0,
    )


def _size(feature: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a camera, where its shape is that of an image, channels first as LeRobot has it."""
    shape = feature.get("shape")
    if not isinstance(shape, list) or len(shape) != 3 or not all(isinstance(n, int) for n in shape):
        return None
    channels, height, width = shape
    return (height, width) if channels == 3 and min(height, width) > 0 else None


def _length(features: Mapping[str, Any] | None, key: str) -> int | None:
    feature = (features or {}).get(key)
    return int(feature["shape"][0]) if feature else None


def normalization(
    source: Published, settings: Mapping[str, Any], config: InspireVLAConfig
) -> tuple[Statistics, list[str]]:
    """Take over how a LeRobot policy normalises: the modes into `config`; the statistics, with notes, are returned.

    Statistics of another number of values than the policy has, as by --action-dim, are left out.
    """
    statistics, modes = lerobot_statistics(source.folder)
    for feature in ("STATE", "ACTION"):
        mode = modes.get(feature) or (settings.get("normalization_mapping") or {}).get(feature)
        if mode:
            config.normalization_mapping[feature] = NormalizationMode(mode)
    if not statistics:
        return {}, ["No statistics in the source: fine-tune it before it acts, or its units are wrong."]
    notes = []
    for name, feature in (
        ("observation.state", config.robot_state_feature),
        ("action", config.action_feature),
    ):
        size = feature.shape[0] if feature else 0
        if any(values.size not in (1, size) for values in statistics.get(name, {}).values()):
            del statistics[name]
            notes.append(
                f"The statistics of {name} in the source are not of {counted(size, 'number')} and are left "
                "out: fine-tune it "
                "before it acts."
            )
    return statistics, notes
