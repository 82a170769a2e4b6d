"""What kind of checkpoint a folder holds, told by its settings and the names of its tensors; no tensor is read."""

from pathlib import Path

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.convert.published import read_json, safetensors_files, tensor_names

INDEX = "model.safetensors.index.json"
PRISMATIC = ("openvla", "minivla")
PALIGEMMA = ("pi0fast", "image_text")


def check_kind(path: Path, kind: str) -> None:
    """Raise InspireError where `path` does not exist, is broken, or is plainly of another kind."""
    if not path.exists():
        raise InspireError(
            f"There is no {path}. Weights are converted from a folder or file on this machine."
        )
    if not path.is_dir():
        return
    check_shards(path)
    what, kinds = recognise(path)
    if what and kind not in kinds:
        other = f"convert it as {' or '.join(map(repr, kinds))}" if kinds else "it is not converted"
        raise InspireError(f"{path} holds {what}: {other}, not as {kind!r}.")


def check_shards(folder: Path) -> None:
    """Raise InspireError where an index names files that are not there."""
    index = read_json(folder / INDEX)
    named = set((index.get("weight_map") or {}).values())
    lacking = sorted(name for name in named if not (folder / name).is_file())
    if lacking:
        raise InspireError(
            f"{folder} lacks {len(lacking)} of the {len(named)} files that {INDEX} names: {lacking[:5]}."
        )


def recognise(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """What a folder holds, in words, and the kinds that it can be converted as. (None, ()): unknown."""
    if (folder / "adapter_config.json").is_file():
        return "an adapter that LoRA wrote", ("lora",)
    settings = read_json(folder / "config.json")
    policy, model = settings.get("type"), settings.get("model_type")
    if policy == "inspire_vla":
        return "a checkpoint of inspire_vla, which --policy.path takes as it is", ()
    if policy == "pi0_fast":
        return "a π0-FAST policy of LeRobot", ("pi0fast",)
    if isinstance(policy, str):
        return f"a LeRobot policy of type {policy!r}", ()
    names = [name for file in safetensors_files(folder) for name in tensor_names(file)]
    if any(name.startswith("vision_backbone.") for name in names):
        return "a Prismatic model", PRISMATIC
    if model == "paligemma":
        return "a PaliGemma", PALIGEMMA
    if isinstance(model, str) and model != "openvla":
        return f"a model of transformers, model_type {model!r}", ("image_text",)
    return None, ()
