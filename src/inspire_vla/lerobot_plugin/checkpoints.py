"""Checkpoints on disk and on the hub: which folder a name means, and what a checkpoint says of itself.

A checkpoint is what LeRobot saves: config.json, model.safetensors (or a LoRA's adapter_model.safetensors),
policy_preprocessor.json and policy_postprocessor.json with their safetensors files. This module loads neither LeRobot
nor torch.
"""

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import inspire_vla
from inspire_vla.errors import InspireError, did_you_mean, reason_of
from inspire_vla.files import file_sha256, json_sha256, read_json, write_json
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.checkpoint_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    POSTPROCESSOR,
    PREPROCESSOR,
)
from inspire_vla.lerobot_plugin.checkpoint_files import WEIGHTS as MODEL_WEIGHTS
from inspire_vla.lerobot_plugin.checkpoint_schema import (
    TOKENIZER_STEP,
    check_checkpoint,
    check_training_state,
    read_pipeline,
)

SHIPPED = Path(inspire_vla.__file__).parent / "checkpoints"
"""Checkpoints that the package ships."""
INSIDE = ("", "pretrained_model", "checkpoints/last/pretrained_model")
"""Where a config.json may lie in a folder that `inspire train` or LeRobot wrote."""
WEIGHTS = (MODEL_WEIGHTS, ADAPTER_WEIGHTS)
"""A whole checkpoint's weights, or those of a LoRA, which names the checkpoint that it was trained on."""
WHERE_IT_IS = (
    "device", "push_to_hub", "repo_id", "private", "tags", "license", "pretrained_path", "pretrained_revision",
    "base_model_name_or_path", "revision",
)  # fmt: skip
"""Settings of config.json and adapter_config.json that a checkpoint may change when it moves to another machine."""
INIT = "pretrained_init"
"""A setting of config.json: where the first weights lay. A checkpoint's own weights hold what became of them."""
TRAINING_DATASET = "dataset.json"
"""In a training's output folder: the dataset, as a `TrainingDataset`."""


def shipped() -> list[str]:
    """Names of the policies that the package ships."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def find(policy: str | Path) -> Path:
    """The folder that holds config.json and the weights, or those of a LoRA.

    Args:
        policy: a folder, or the output folder of a training; the name of an included checkpoint; or "user/name" of the
            hub, which is asked only where there is no folder "user" here.

    Raises:
        InspireError: a folder without a checkpoint, or a name that is none of these.
    """
    given = Path(policy)
    for folder in (given, SHIPPED / given) if len(given.parts) == 1 else (given,):
        for inside in INSIDE:
            if (folder / inside / "config.json").is_file():
                weights(folder / inside)
                return folder / inside
        newest = newest_checkpoint(folder)
        if newest is not None:
            return newest / "pretrained_model"
    if not given.is_dir():
        given = from_hub(policy)
        if (given / "config.json").is_file():
            weights(given)
            return given
    raise InspireError(
        f"{policy} is no checkpoint: there is no config.json in it, nor in {list(INSIDE[1:])}. "
        f"Found: {sorted(p.name for p in given.iterdir())[:20]}."
    )


def weights(folder: Path) -> Path:
    """The file of a checkpoint's weights. Raises InspireError where it is missing."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InspireError(f"{folder} is not a whole checkpoint: {WEIGHTS[0]} is missing.")


def settings_sha256(folder: Path, *, counts_init: bool = False) -> str:
    """A hash of what decides a policy's actions besides its weights: its configuration, statistics and tokenizers.

    counts_init: whether `pretrained_init` counts, as in runs of earlier versions.
    """
    others = WHERE_IT_IS if counts_init else (*WHERE_IT_IS, INIT)
    processors = [
        path for kind in (PREPROCESSOR, POSTPROCESSOR) for path in folder.glob(f"{Path(kind).stem}*")
    ]
    parts: dict[str, Any] = {path.name: file_sha256(path) for path in processors}
    for name in (CONFIG, ADAPTER_CONFIG):
        if (folder / name).is_file():
            settings = read_json(folder / name, dict[str, Any])
            parts[name] = {key: value for key, value in settings.items() if key not in others}
    return json_sha256(parts)


def is_adapter(folder: Path) -> bool:
    """Whether the weights in a checkpoint folder are those of a LoRA alone."""
    return (folder / ADAPTER_CONFIG).is_file()


def numbered(checkpoints: Path) -> list[Path]:
    """The checkpoints of a training, `checkpoints/STEP`, in the order of their steps, whole or not."""
    steps = [path for path in checkpoints.glob("*") if path.name.isdecimal()]
    return sorted(steps, key=lambda path: int(path.name))


def newest_checkpoint(out: str | Path, *, to_resume: bool = False) -> Path | None:
    """The newest whole checkpoint that a training wrote into `out`: `checkpoints/STEP`, which holds pretrained_model/.

    The folders themselves are read, not the link `last`: a training that is killed while it moves the link leaves none.
    One that is killed while it saves leaves a part of a checkpoint, which is passed over; a warning says so.

    Args:
        to_resume: whether the state of the training must be whole, too.
    """
    for step in reversed(numbered(Path(out, "checkpoints"))):
        try:
            check_checkpoint(step / "pretrained_model")
            if to_resume:
                check_training_state(step)
        except InspireError as error:
            warnings.warn(f"The checkpoint {step} is passed over: {error}", stacklevel=2)
            continue
        return step
    return None


def from_hub(name: str | Path, revision: str | None = None) -> Path:
    """The folder into which a repository of the hub is downloaded, or was before.

    Raises:
        InspireError: what can be no name there, or begins with a folder that is here; a repository out of reach.
    """
    path = Path(name)
    user = path.parts[0] if len(path.parts) == 2 else "."
    if path.is_absolute() or user in (".", "..", "~") or Path(user).is_dir():
        raise InspireError(
            f"unknown checkpoint {str(name)!r}: neither a folder here nor a hub name 'user/name'."
            f"{did_you_mean(str(name), _known_names(path))}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), revision=revision))
    except (OSError, ValueError) as error:  # the hub's own errors are such
        raise InspireError(
            f"unknown checkpoint {str(name)!r}: neither a folder here nor reachable on the hub "
            f"({reason_of(error)}).{did_you_mean(str(name), _known_names(path))}"
        ) from error


def _known_names(path: Path) -> list[str]:
    """Included checkpoints, and those in the folder where this one should be."""
    siblings = path.parent.iterdir() if len(path.parts) > 1 and path.parent.is_dir() else ()
    here = [str(p) for p in siblings if any((p / inside / "config.json").is_file() for inside in INSIDE)]
    return [*shipped(), *here]


@dataclass
class TrainingDataset:
    """The dataset of a training: its folder then, and the hash of its content."""

    root: str
    sha256: str


def record_dataset(out: Path, root: str | Path) -> None:
    """Write into a training's output folder what it is trained on, so that it can be resumed after a move."""
    found = TrainingDataset(str(Path(root).absolute()), LeRobotFiles.open(root).content_sha256())
    write_json(out / TRAINING_DATASET, asdict(found))


def check_same_dataset(out: Path, root: str | Path) -> None:
    """Check that a dataset at another place is what a training was begun with.

    Raises InspireError where its content differs, or where the training did not record it.
    """
    other = f"Train from its checkpoint into another folder: --from {out} --out NEW --dataset {root}."
    if not (out / TRAINING_DATASET).is_file():
        raise InspireError(
            f"{out} does not say what it was trained on ({TRAINING_DATASET} is missing). {other}"
        )
    recorded = read_json(out / TRAINING_DATASET, TrainingDataset)
    if recorded.sha256 != LeRobotFiles.open(root).content_sha256():
        raise InspireError(
            f"{out} was trained on {recorded.root}, and {root} has other content (hash of its files). {other}"
        )


def check_attention(*, has_codes: bool, asks_apart: bool, name: str = "This policy") -> None:
    """Check that a policy's attention can be drawn, from what its configuration says.

    Args:
        has_codes: whether it acts by action tokens; False: by a flow expert.
        asks_apart: whether its questions are sequences of their own (`separate_questions`).
    """
    if not has_codes:
        raise InspireError(
            f"{name} acts by a flow expert, whose attention is not recorded. Attention maps are those of answers and "
            "action tokens: train a policy with --policy.action_head=tokens."
        )
    if asks_apart:
        raise InspireError(
            f"{name} asks its questions in a sequence of their own (separate_questions). Attention maps are those of "
            "one sequence with answers and action."
        )


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """Settings of the tokenizer step in a checkpoint's preprocessor. Raises InspireError where there is none."""
    steps = read_pipeline(folder / PREPROCESSOR)
    return next(step["config"] for step in steps if step["registry_name"] == TOKENIZER_STEP)
