"""Published weights → a checkpoint of ours, which `--policy.path` trains on and `load_policy` loads.

Every tensor is accounted for: matched, left out on purpose (parts that are never run), missing or unexpected. The last
two are an error unless they are allowed.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.lerobot_plugin.convert.checkpoint import fill, write
from inspire_vla.lerobot_plugin.convert.image_text import image_text
from inspire_vla.lerobot_plugin.convert.lora import merge
from inspire_vla.lerobot_plugin.convert.pi0fast import pi0fast
from inspire_vla.lerobot_plugin.convert.plan import Options, Plan, Report
from inspire_vla.lerobot_plugin.convert.prismatic import minivla, openvla
from inspire_vla.lerobot_plugin.convert.recognise import check_kind
from inspire_vla.lerobot_plugin.modeling_inspire_vla import InspireVLAPolicy

__all__ = ["KINDS", "LORA", "Options", "Report", "convert"]

_KINDS: dict[str, Callable[[Path, Options, Path], Plan]] = {
    "openvla": openvla,
    "minivla": minivla,
    "pi0fast": pi0fast,
    "image_text": image_text,
}
KINDS = tuple(_KINDS)
LORA = "lora"
"""Not published weights, but an adapter of a training of ours, to be folded into its base."""


def convert(
    kind: str,
    path: str | Path,
    out: str | Path,
    *,
    allow_partial: bool = False,
    options: Options | None = None,
) -> Report:
    """Write the checkpoint `out` from published weights.

    Args:
        kind: "openvla", "minivla", "pi0fast" or "image_text"; "lora" for a checkpoint that LoRA wrote.
        path: folder or file of the published weights.
        allow_partial: write it although tensors are missing or unexpected; what is missing is random.

    Raises:
        InspireError: an unknown kind, weights of another one, missing statistics or tokenizer, unmatched tensors, or
            an `out` that exists.
    """
    if kind not in (*_KINDS, LORA):
        raise InspireError(f"Unknown kind of checkpoint {kind!r}.{did_you_mean(kind, (*_KINDS, LORA))}")
    out = Path(out)
    if out.is_file() or (out.exists() and any(out.iterdir())):
        raise InspireError(f"{out} exists and is {'a file' if out.is_file() else 'not empty'}.")
    if kind == LORA:
        return merge(Path(path), out)
    check_kind(Path(path), kind)
    with tempfile.TemporaryDirectory() as scratch:
        plan = _KINDS[kind](Path(path), options or Options(), Path(scratch))
        policy = InspireVLAPolicy(
            plan.config,
            action_tokenizer=plan.action_tokenizer,
            text_tokenizer_folder=plan.text_folder,
            trained_on=plan.trained_on,
        )
        report = fill(policy, kind, out, plan, allow_partial)
        write(policy, out, plan, report, str(Path(path).name))
    return report
