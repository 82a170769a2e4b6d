"""A LoRA folded into its base: a checkpoint that needs neither PEFT nor the base."""

from pathlib import Path

from inspire_vla.errors import InspireError
from inspire_vla.lerobot_plugin.adapters import is_adapter
from inspire_vla.lerobot_plugin.convert.plan import Report
from inspire_vla.lerobot_plugin.loading import load_policy
from inspire_vla.lerobot_plugin.lookup import find


def merge(path: Path, out: Path) -> Report:
    """Write `out` from a checkpoint that LoRA wrote. Raises InspireError where it is none."""
    folder = find(path)
    if not is_adapter(folder):
        raise InspireError(f"{path} holds no LoRA: there is no adapter_config.json.")
    agent = load_policy(folder, keep_weights_dtype=True)
    agent.policy.save_pretrained(out)
    agent.preprocessor.save_pretrained(out)
    agent.postprocessor.save_pretrained(out)
    matched = len(agent.policy.backbone.state_dict())
    return Report("lora", str(out), matched, (), (), (), ("Weights of base and LoRA, merged.",))
