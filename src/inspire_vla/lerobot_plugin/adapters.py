"""Checkpoints that LoRA wrote: an adapter, and the name of the checkpoint that it was trained on."""

import json
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.action_chunks import FOLDER, load_action_tokenizer
from inspire_vla.lerobot_plugin.configuration_inspire_vla import InspireVLAConfig
from inspire_vla.lerobot_plugin.first_answers import load_first_answers
from inspire_vla.lerobot_plugin.lookup import find
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy
from inspire_vla.lerobot_plugin.trained_on import load_trained_on

ADAPTER = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether the weights in a checkpoint folder are those of an adapter alone."""
    return (folder / ADAPTER).is_file()


def load_adapted(folder: Path, config: InspireVLAConfig) -> InspireVLAPolicy:
    """The policy that was trained: its base with the adapter folded into the weights.

    Raises InspireError where PEFT is not installed, or the base is not where the adapter says.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise InspireError(
            f"{folder} holds a LoRA: install the extra, pip install -c constraints.txt -e '.[peft]'."
        ) from None
    base = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
    try:
        whole = find(base or "no base")
    except InspireError as error:
        raise InspireError(
            f"{folder} holds a LoRA that was trained on {base!r}, and that is not here. Put its path into "
            f"{ADAPTER} as base_model_name_or_path. ({error})"
        ) from None
    given: dict[str, Any] = {
        "first_answers": load_first_answers(folder),
        "trained_on": load_trained_on(folder),  # which counts what its base has seen
    }
    if (folder / FOLDER).is_dir():
        given["action_tokenizer"] = load_action_tokenizer(config, folder)
    policy = InspireVLAPolicy.from_pretrained(whole, config=config, **given)
    merged = PeftModel.from_pretrained(policy, str(folder)).merge_and_unload()
    assert isinstance(merged, InspireVLAPolicy)
    merged.backbone.tie()
    config.use_peft = False
    return merged
