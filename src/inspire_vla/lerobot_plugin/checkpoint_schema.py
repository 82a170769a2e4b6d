"""What the files of a checkpoint may hold. They are checked here before LeRobot, PEFT or transformers reads them.

A checkpoint of a stranger must not run code. LeRobot imports any class that a preprocessor names, PEFT imports modules
that an adapter names, and transformers imports files of a repository. So every file that can name code is read here
first, and only what this plug-in writes is accepted:

    config.json                  a policy of type inspire_vla, with features of sane sizes
    model.safetensors            a whole safetensors file
    policy_preprocessor.json     steps by their registered names, each with the settings that it takes and no others;
    policy_postprocessor.json    safetensors files of plain names in the same folder
    adapter_config.json          a LoRA that names no module
    train_config.json            a training of an inspire_vla policy on this machine (read by `--resume`)

The tokenizer step holds files as bytes, see tokenizer_files.py.
This module loads neither LeRobot nor torch. A damaged file is an InspireError that names it.
"""

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import safe_open

from inspire_vla.errors import InspireError, possible
from inspire_vla.files import describe
from inspire_vla.lerobot_plugin.checkpoint_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    POSTPROCESSOR,
    PREPROCESSOR,
    TRAIN_CONFIG,
    WEIGHTS,
    read_checkpoint_json,
    tensor_shapes,
    whole,
)
from inspire_vla.lerobot_plugin.policy_kinds import LEROBOT, POLICY_TYPE
from inspire_vla.lerobot_plugin.tokenizer_files import check_tokenizer_files, read_tokenizer_files

TOKENIZER_STEP = "inspire_vla_tokenizer"
"""Name of our step in the preprocessor, see processor_inspire_vla.py."""
_MAX_SIDE = 1 << 16

_Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Mode = Literal["IDENTITY", "MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10"]
_Type = Literal["STATE", "VISUAL", "ENV", "ACTION", "REWARD", "LANGUAGE"]
NEEDED_STATISTICS = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Feature(_Settings):
    """An input or output of a policy, as config.json describes it: its kind and its shape without batch and time."""

    type: _Type
    shape: Annotated[list[_Side], Field(min_length=1, max_length=8)]


class _Nothing(_Settings):
    pass


class _Rename(_Settings):
    rename_map: dict[str, str] = {}


class _Device(_Settings):
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d{1,3})?$")] = "cpu"
    float_dtype: Literal["float16", "float32", "float64", "bfloat16", "half", "float", "double"] | None = None


class _Normalizer(_Settings):
    eps: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-8
    features: dict[str, Feature]
    norm_map: dict[_Type, _Mode]
    normalize_observation_keys: list[str] | None = None


@dataclass(frozen=True)
class TrainingData:
    """A dataset that a policy was trained on. A checkpoint holds this, so that evaluation knows what is new to it.

    Attributes:
        actions_sha256: hash of the actions of all its episodes: the same after a move, a copy or new labels.
        episodes: their number.
        held_out: those that the training left out.
        render: how LIBERO's images were drawn; None where the dataset does not say.
    """

    __pydantic_config__ = _Settings.model_config
    actions_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    episodes: Annotated[int, Field(ge=1)]
    held_out: list[Annotated[int, Field(ge=0)]]
    render: Literal["full", "fast"] | None = None


class TokenizerSettings(_Settings):
    """Settings of our step. `reasoning` and `template` are checked by their own classes when the step is built."""

    reasoning: dict[str, Any]
    n_obs_steps: Annotated[int, Field(ge=1, le=1024)]
    template: dict[str, str | bool | int]
    llama: bool
    action_vocabulary: dict[Literal["size", "first_id", "step"], int] | None
    initial_draft: list[str]
    training_suites: list[str] | None
    training_tasks: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    training_data: list[TrainingData] = []
    mention_overrides: dict[str, list[dict[Literal["mention", "role"], str | None]]] = {}

    @model_validator(mode="after")
    def _tasks_are_of_the_suites(self) -> Self:
        if other := self.training_tasks.keys() - {*(self.training_suites or ())}:
            raise ValueError(f"training_tasks has suites that training_suites lacks: {sorted(other)[:9]}")
        return self


_STEPS: dict[str, dict[str, type[_Settings]]] = {
    PREPROCESSOR: {
        "rename_observations_processor": _Rename,
        "to_batch_processor": _Nothing,
        "normalizer_processor": _Normalizer,
        TOKENIZER_STEP: TokenizerSettings,
        "device_processor": _Device,
    },
    POSTPROCESSOR: {"unnormalizer_processor": _Normalizer, "device_processor": _Device},
}
"""The steps that `make_inspire_vla_pre_post_processors` makes, and the settings that they take."""


class _Step(_Settings):
    registry_name: str
    config: dict[str, Any] = {}
    state_file: str = ""


class _Pipeline(_Settings):
    name: str = ""
    steps: list[_Step]


class _Config(BaseModel):
    """The part of config.json that is read without LeRobot; LeRobot reads all of it (`configuration.read_config`)."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str
    backbone: str = "nano"
    action_head: str | None = "tokens"
    action_tokenizer: str | None = "residual_vq"
    reasoning: dict[str, Any] = {}
    input_features: dict[str, Feature] = {}
    output_features: dict[str, Feature] = {}


class _Adapter(BaseModel):
    """A LoRA. PEFT imports `parent_library` and `megatron_core`; the others choose what is computed."""

    model_config = ConfigDict(extra="allow", strict=True)

    peft_type: Literal["LORA"]
    base_model_name_or_path: str | None = None
    auto_mapping: dict[str, str] | None = None
    megatron_config: None = None
    megatron_core: Literal["megatron.core"] | None = None
    r: Annotated[int, Field(ge=1, le=_MAX_SIDE)] = 8
    lora_alpha: _Finite | None = None
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None


class _TrainingStep(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    step: Annotated[int, Field(ge=0)]


class _Dataset(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    root: str | None = None


class TrainConfig(BaseModel):
    """The part of LeRobot's train_config.json that decides whose code runs, where, and how long."""

    model_config = ConfigDict(extra="allow", strict=True)

    dataset: _Dataset
    steps: Annotated[int, Field(ge=0)] = 100_000
    policy: dict[str, Any]
    reward_model: None = None
    job: dict[str, Any] = {}
    env: dict[str, Any] | None = None


def check_checkpoint(folder: Path) -> None:
    """Check every file of a checkpoint that LeRobot, PEFT or transformers reads.

    Raises:
        InspireError: a file is missing, damaged, not one of ours, or names code. The message names it.
    """
    read_config(folder)
    if (folder / ADAPTER_CONFIG).is_file():
        read_adapter(folder)
        tensor_shapes(folder / ADAPTER_WEIGHTS)
    else:
        tensor_shapes(folder / WEIGHTS)
    for name in _STEPS:
        for step in read_pipeline(folder / name):
            _check_state(folder, name, step)
    if (folder / TRAIN_CONFIG).is_file():
        read_train_config(folder / TRAIN_CONFIG)


def check_training_state(checkpoint: Path) -> None:
    """Check what a training is resumed from, in a folder `checkpoints/STEP`, beside its pretrained_model/.

    Raises InspireError for a missing or damaged file, as a training leaves them that was killed while it saved.
    """
    read_train_config(checkpoint / "pretrained_model" / TRAIN_CONFIG)
    state = checkpoint / "training_state"
    read_checkpoint_json(state / "training_step.json", _TrainingStep)
    for name in ("optimizer_state.safetensors", "rng_state.safetensors"):
        tensor_shapes(state / name)
    read_checkpoint_json(state / "optimizer_param_groups.json", list[dict[str, Any]])
    read_checkpoint_json(state / "scheduler_state.json", dict[str, Any])


def steps_taken(folder: Path) -> int:
    """The steps behind a checkpoint of a training, `checkpoints/STEP/pretrained_model`; 0 for others."""
    path = folder.parent / "training_state" / "training_step.json"
    return read_checkpoint_json(path, _TrainingStep).step if path.is_file() else 0


def read_config(folder: Path) -> dict[str, Any]:
    """The policy's config.json. Raises InspireError where it is none of ours."""
    path = folder / CONFIG
    config = read_checkpoint_json(path, _Config)
    if config.type != POLICY_TYPE:
        advice = ""
        if config.type in LEROBOT:
            _, kind = LEROBOT[config.type]
            advice = f" Convert it first: `inspire convert --from {kind} {shlex.quote(str(folder))} --to runs/{kind}`."
        raise InspireError(f"{folder} is a policy of type {config.type!r}, not {POLICY_TYPE!r}.{advice}")
    flat = [key for key, f in config.input_features.items() if f.type == "VISUAL" and len(f.shape) != 3]
    if flat:
        raise InspireError(f"{path}: the images {flat} must have a shape (3, height, width).")
    if not any(feature.type == "VISUAL" for feature in config.input_features.values()):
        raise InspireError(f"{path} has no camera among its input_features {sorted(config.input_features)}.")
    return config.model_dump()


def read_adapter(folder: Path) -> str | None:
    """The checkpoint that a LoRA was trained on, as its adapter_config.json names it; None where it does not.

    Raises InspireError for an adapter of another kind, or one that names a module to import.
    """
    path = folder / ADAPTER_CONFIG
    adapter = read_checkpoint_json(path, _Adapter)
    library = (adapter.auto_mapping or {}).get("parent_library", "inspire_vla")
    if library != "inspire_vla" and not library.startswith("inspire_vla."):
        raise InspireError(f"{path} names the module {library!r}, which is not loaded.")
    return adapter.base_model_name_or_path


def read_train_config(path: Path) -> TrainConfig:
    """LeRobot's configuration of a training that is resumed.

    Raises InspireError where it is not of an inspire_vla policy, trains elsewhere, or would load other code.
    """
    config = read_checkpoint_json(path, TrainConfig)
    if config.policy.get("type") != POLICY_TYPE or "path" in config.policy:
        raise InspireError(
            f"{path} trains a policy of type {config.policy.get('type')!r}; {POLICY_TYPE!r} is trained here."
        )
    if config.job.get("target") not in (None, "local"):
        raise InspireError(
            f"{path} trains on {config.job['target']!r}; --resume trains on this machine. Set job.target to null."
        )
    if config.env is not None and config.env.get("type") == "hub":
        raise InspireError(f"{path} loads an environment from the hub, which is code. Set env to null.")
    return config


def check_tokenizer_settings(settings: Mapping[str, Any]) -> None:
    """Raise InspireError where these are no settings of the tokenizer step."""
    _validated(Path(PREPROCESSOR), TokenizerSettings, settings)


def read_pipeline(path: Path) -> list[dict[str, Any]]:
    """The steps of a preprocessor or postprocessor.

    Raises:
        InspireError: a step that this plug-in does not write, a class named by its path, settings that a step does not
            take, or no tokenizer step of ours.
    """
    steps, content = _STEPS[path.name], read_checkpoint_json(path, dict[str, Any])
    listed = content.get("steps")
    for step in listed if isinstance(listed, list) else ():
        name = step.get("registry_name") if isinstance(step, dict) else None
        if isinstance(step, dict) and "class" in step:
            raise InspireError(
                f"{path} names the class {step['class']!r}. A checkpoint may not choose what is run; possible are the "
                f"steps {sorted(steps)}, by registry_name."
            )
        if isinstance(name, str) and name not in steps:
            raise InspireError(
                f"{path} has the step {name!r}, which is not run. Remove it, or convert the checkpoint again."
                f"{possible(steps)}"
            )
    pipeline = _validated(path, _Pipeline, content)
    names = [step.registry_name for step in pipeline.steps]
    if path.name == PREPROCESSOR and names.count(TOKENIZER_STEP) != 1:
        raise InspireError(
            f"{path} has no step {TOKENIZER_STEP!r}; found {names}. It is not a checkpoint of this version of "
            "inspire_vla."
        )
    if len(set(names)) < len(names):
        raise InspireError(f"{path} has a step twice: {names}.")
    for step in pipeline.steps:
        step.config = _validated(path, steps[step.registry_name], step.config).model_dump(exclude_unset=True)
    return [step.model_dump(exclude_unset=True) for step in pipeline.steps]


def _check_state(folder: Path, pipeline: str, step: Mapping[str, Any]) -> None:
    """Check the safetensors file of a step, if it has one."""
    name, file = step["registry_name"], step.get("state_file")
    if file is None:
        if name == TOKENIZER_STEP:
            raise InspireError(
                f"{folder / pipeline}: the step {name!r} has no state_file; it holds the tokenizers."
            )
        return
    if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", file):
        raise InspireError(
            f"{folder / pipeline}: state_file {file!r} is no plain name of a safetensors file in the same folder."
        )
    if name == TOKENIZER_STEP:
        check_tokenizer_files(read_tokenizer_files(folder / file), folder / file)
    elif name in ("normalizer_processor", "unnormalizer_processor"):
        _check_statistics(folder / file, step["config"])
    else:
        raise InspireError(f"{folder / pipeline}: the step {name!r} takes no state_file.")


def _check_statistics(path: Path, settings: Mapping[str, Any]) -> None:
    """Check that the statistics are finite numbers that fit the features which they normalise."""
    shapes = tensor_shapes(path)
    for key, feature in settings["features"].items():
        given = {name.rpartition(".")[2] for name in shapes if name.rpartition(".")[0] == key}
        needed = NEEDED_STATISTICS.get(settings["norm_map"].get(feature["type"], "IDENTITY"), ())
        missing = [name for name in needed if given and name not in given]
        if missing:
            raise InspireError(f"{path} lacks {missing} of {key!r}; found {sorted(given)}.")
        for name in needed if given else ():
            shape, expected = shapes[f"{key}.{name}"], tuple(feature["shape"])
            if shape != expected and not (
                feature["type"] == "VISUAL" and math.prod(shape) in (1, expected[0])
            ):
                raise InspireError(f"{path}: {key}.{name} has shape {shape}, the feature {expected}.")
            with whole(path), safe_open(path, "numpy") as file:
                values = file.get_tensor(f"{key}.{name}")
            if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
                raise InspireError(f"{path}: {key}.{name} holds NaN, infinity or no numbers.")
    odd = [name for name in shapes if not all(name.rpartition("."))]
    if odd:
        raise InspireError(f"{path}: {odd[:3]} are no statistics of a feature, 'FEATURE.STATISTIC'.")


def _validated[T: BaseModel](path: Path, schema: type[T], data: Any) -> T:
    try:
        return schema.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise InspireError(f"{path} {describe(error)}") from None
