"""Published checkpoints on disk: what they are, their tensors, settings and statistics. None of their code is run."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from inspire_vla.action_tokenizers import GripperConvention, LearnedVQ
from inspire_vla.backbones.prismatic_weights import flat_checkpoint
from inspire_vla.errors import InspireError, counted, did_you_mean, possible, reason_of
from inspire_vla.files import check_readable, read_json
from inspire_vla.lerobot_plugin.checkpoint_files import tensor_shapes, whole
from inspire_vla.lerobot_plugin.policy_kinds import LEROBOT
from inspire_vla.lerobot_plugin.tokenizer_files import code_names

OTHER_FORMATS = ("*.bin", "*.h5", "*.msgpack", "*.onnx", "*.gguf")
"""Files of the hub that are never read."""
TOKENIZER_FILES = ("*.json", "*.model", "*.txt", "*.jinja")
"""Files of a tokenizer or processor, without the weights beside them."""

Statistics = dict[str, dict[str, np.ndarray]]
"""{feature: {"mean", "std", "min", "max", "q01", "q99": (dim,)}}, LeRobot's."""


@dataclass
class Published:
    """Attributes:
    folder: what lies beside the weights: settings, tokenizer, statistics.
    layout: "prismatic_pt", "huggingface" or "lerobot".
    settings: config.json, {} where there is none.
    """

    folder: Path
    layout: str
    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


def read_published(path: str | Path) -> Published:
    """Read a folder of safetensors, a Prismatic run folder, or its `.pt` file.

    Raises:
        InspireError: nothing of that is there, or a file that only arbitrary code could load.
    """
    path = Path(path)
    if path.is_dir():
        shards = safetensors_files(path)
        if shards:
            settings = optional_json(path / "config.json")
            tensors: dict[str, Tensor] = {}
            for shard in shards:
                tensors |= read_safetensors(shard)
            layout = "lerobot" if settings.get("type") in LEROBOT else "huggingface"
            return Published(path, layout, tensors, settings)
        files = sorted([*path.glob("*.pt"), *path.glob("checkpoints/*.pt")])
        if not files:
            found = sorted(child.name for child in path.iterdir())[:10]
            raise InspireError(f"{path} holds no weights: neither *.safetensors nor *.pt among {found}.")
        path = next((f for f in files if f.name == "latest-checkpoint.pt"), files[-1])
    if not path.is_file():
        raise InspireError(f"There is no checkpoint {path}.")
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return Published(run, "prismatic_pt", flat_checkpoint(load_pt(path)), optional_json(run / "config.json"))


def safetensors_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, without the statistics of LeRobot's processors."""
    return sorted(f for f in folder.glob("*.safetensors") if not f.name.startswith("policy_"))


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises InspireError for one that is not whole."""
    with whole(file):
        return load_file(file)


def load_pt(path: Path) -> Any:
    """A torch file, tensors only. Raises InspireError for one that cannot be read, or would run code."""
    check_readable(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch would advise to run the file's code
        raise InspireError(f"{path} is no plain file of tensors, or a damaged one.") from None
    except (RuntimeError, EOFError) as error:
        raise InspireError(f"{path} is no plain file of tensors: {reason_of(error)}.") from None


def settings_of(source: Published, why: str) -> dict[str, Any]:
    """The source's config.json. Raises InspireError where there is none; `why` ends the sentence "it says …"."""
    if not source.settings:
        found = sorted(child.name for child in source.folder.iterdir())[:10]
        raise InspireError(f"{source.folder} has no config.json among {found}: it says {why}.")
    return source.settings


def optional_json(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no file. Raises InspireError for a broken one."""
    return read_json(path, dict[str, Any]) if path.is_file() else {}


def prismatic_statistics(source: Published, dataset: str | None) -> Statistics:
    """OpenVLA's `norm_stats` as LeRobot's statistics of the action.

    Args:
        dataset: which, where the model was trained on several ("unnorm_key").

    Raises:
        InspireError: no statistics, an unknown dataset, or several and none named.
    """
    table = source.settings.get("norm_stats") or optional_json(source.folder / "dataset_statistics.json")
    if not table:
        raise InspireError(
            f"{source.folder} has no statistics: neither norm_stats in config.json nor dataset_statistics.json. "
            "Without them the actions have no units."
        )
    if dataset is None:
        if len(table) > 1:
            raise InspireError(
                f"The model knows several datasets; say which one's units are wanted (--statistics).{possible(table)}"
            )
        dataset = next(iter(table))
    if dataset not in table:
        raise InspireError(f"No statistics of dataset {dataset!r}.{did_you_mean(dataset, table)}")
    action = table[dataset].get("action", {})
    if not {"q01", "q99"} <= action.keys():
        raise InspireError(f"The statistics of {dataset!r} hold no q01 and q99: {sorted(action)}.")
    statistics = {
        key: np.array(action[key], dtype=np.float32)
        for key in ("mean", "std", "min", "max", "q01", "q99")
        if key in action
    }
    # Where the mask is false OpenVLA does not normalise: these bounds do nothing.
    untouched = {"mean": 0.0, "std": 1.0, "min": -1.0, "max": 1.0, "q01": -1.0, "q99": 1.0}
    mask = np.array(action.get("mask", [True] * len(statistics["q01"])), dtype=bool)
    for key, values in statistics.items():
        values[~mask] = untouched[key]
    return {"action": statistics}


def lerobot_statistics(folder: Path) -> tuple[Statistics, dict[str, str]]:
    """Statistics and normalisation modes of a LeRobot checkpoint; both {} where it has no normaliser.

    Raises InspireError where the normaliser's file is missing.
    """
    pipeline = optional_json(folder / "policy_preprocessor.json")
    for step in pipeline.get("steps", []):
        if step.get("registry_name") != "normalizer_processor":
            continue
        modes = {str(k): str(v) for k, v in step.get("config", {}).get("norm_map", {}).items()}
        file = step.get("state_file")
        if not file:
            return {}, modes
        if not (folder / file).is_file():
            raise InspireError(f"{folder} lacks {file}, the statistics that policy_preprocessor.json names.")
        statistics: Statistics = {}
        for name, tensor in read_safetensors(folder / file).items():
            feature, _, what = name.rpartition(".")
            statistics.setdefault(feature, {})[what] = tensor.float().numpy()
        return statistics, modes
    return {}, {}


def read_learned_vq(folder: str | Path, gripper: GripperConvention) -> LearnedVQ:
    """MiniVLA's VQ: a folder of pretrain_vq with config.json and checkpoints/model.pt.

    Raises InspireError for a missing or foreign file.
    """
    folder = Path(folder)
    settings = optional_json(folder / "config.json")
    if "input_dim_h" not in settings:
        raise InspireError(
            f"{folder} holds no pretrain_vq configuration: config.json has {sorted(settings)[:6]}."
        )
    path = folder / "checkpoints" / "model.pt"
    if not path.is_file():
        raise InspireError(f"{folder} lacks checkpoints/model.pt.")
    checkpoint = load_pt(path)
    if not isinstance(checkpoint, Mapping):
        raise InspireError(f"{path} is no pretrain_vq checkpoint.")
    arrays = {
        part: {name: tensor.float().numpy() for name, tensor in checkpoint[part].items()}
        for part in ("encoder", "decoder", "vq_embedding")
        if part in checkpoint
    }
    return LearnedVQ.from_published(
        arrays,
        horizon=int(settings["input_dim_h"]),
        action_scale=float(settings.get("act_scale", 1.0)),
        gripper=gripper,
    )


INDEX = "model.safetensors.index.json"
CONFIGURATIONS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files in which a published model can name code."""
PRISMATIC = ("openvla", "minivla")
PALIGEMMA = ("pi0fast", "image_text")


def locate(name: str | Path, patterns: Sequence[str] | None = None) -> Path:
    """The folder or file that a name stands for: a path here, or "user/name" or "user/name/folder" of the hub.

    The hub is asked through its own cache and offline mode, and only where there is no folder "user" here.

    Args:
        patterns: of the files that are downloaded; None: all but weights in other formats.

    Raises:
        InspireError: neither here nor reachable there.
    """
    path = Path(name)
    if path.exists():
        return path
    user, *rest = path.parts or ("",)
    if path.is_absolute() or not rest or str(name).startswith((".", "~")) or Path(user).is_dir():
        raise InspireError(
            f"There is no {name}. Possible: a folder or file on this machine, or a name of the hub, user/name."
        )
    from huggingface_hub import snapshot_download

    repository, inside = f"{user}/{rest[0]}", Path(*rest[1:]).as_posix()
    if inside != ".":
        patterns = [f"{inside}/{pattern}" for pattern in patterns or ("*",)]
    try:
        folder = Path(
            snapshot_download(
                repository,
                allow_patterns=list(patterns) if patterns else None,
                ignore_patterns=list(OTHER_FORMATS),
            )
        )
    except (OSError, ValueError) as error:  # the hub's own errors are such
        raise InspireError(
            f"There is no {path} here, and {repository} cannot be had from the hub ({reason_of(error)})."
        ) from None
    if not (folder / inside).exists():
        raise InspireError(
            f"{repository} on the hub has no {inside!r}; found {sorted(p.name for p in folder.iterdir())[:10]}."
        )
    return folder / inside


def check_kind(path: Path, kind: str) -> None:
    """Raise InspireError where `path` is broken, or is plainly of another kind."""
    if not path.is_dir():
        return
    check_shards(path)
    for file in CONFIGURATIONS:
        for key, value in code_names(optional_json(path / file)):
            if (
                key != "auto_map"
            ):  # transformers has its own classes for these; trust_remote_code is never set
                raise InspireError(
                    f"{path / file} has {key} {str(value)[:80]!r}, which would load other code."
                )
    what, kinds = recognise(path)
    if what and kind not in kinds:
        other = f"convert it as {' or '.join(map(repr, kinds))}" if kinds else "it is not converted"
        raise InspireError(f"{path} holds {what}: {other}, not as {kind!r}.")


def check_shards(folder: Path) -> None:
    """Raise InspireError where an index names files that are not there."""
    index = optional_json(folder / INDEX)
    named = set((index.get("weight_map") or {}).values())
    lacking = sorted(name for name in named if not (folder / name).is_file())
    if lacking:
        raise InspireError(
            f"{folder} lacks {len(lacking)} of the {counted(len(named), 'file')} that {INDEX} names: {lacking[:5]}."
        )


def recognise(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """What a folder holds, in words, and the kinds that it can be converted as. (None, ()): unknown."""
    if (folder / "adapter_config.json").is_file():
        return "an adapter that LoRA wrote", ("lora",)
    settings = optional_json(folder / "config.json")
    policy, model = settings.get("type"), settings.get("model_type")
    if policy == "inspire_vla":
        return "a checkpoint of inspire_vla, which --policy.path takes as it is", ()
    if policy in LEROBOT:
        name, kind = LEROBOT[policy]
        return f"a {name} policy of LeRobot", (kind,)
    if isinstance(policy, str):
        return f"a LeRobot policy of type {policy!r}", ()
    names = [name for file in safetensors_files(folder) for name in tensor_shapes(file)]
    if any(name.startswith("vision_backbone.") for name in names):
        return "a Prismatic model", PRISMATIC
    if model == "paligemma":
        return "a PaliGemma", PALIGEMMA
    if isinstance(model, str) and model != "openvla":
        return f"a model of transformers, model_type {model!r}", ("image_text",)
    return None, ()
