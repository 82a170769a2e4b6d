"""`inspire convert`."""

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from inspire_vla.cli.options import Names, PositiveOrNone, holds_out, refuse_unused


@dataclass(kw_only=True)
class Arguments:
    """Convert published weights (SmolVLA, pi0.5, OpenVLA, MiniVLA, pi0-FAST, others) to a checkpoint."""

    path: Positional[Annotated[str, arg(metavar="WEIGHTS")]]
    """The published weights: a folder, a .pt file, or user/name on the hub."""
    kind: Annotated[
        Literal["smolvla", "pi05", "pi0fast", "openvla", "minivla", "image_text", "lora"], arg(name="from")
    ]
    """What the weights are."""
    out: Annotated[Path, arg(name="to")]
    """Folder of the checkpoint, created."""
    allow_partial: bool = False
    """Write the checkpoint although tensors are missing or unexpected."""
    tokenizer: str | None = None
    """The language model's tokenizer, where it is published separately: a folder, or user/name. smolvla: SmolVLM2's."""
    vq: str | None = None
    """minivla: its pretrain_vq weights: a folder, or user/name/folder."""
    fast: str | None = None
    """pi0fast: the FAST processor's files: a folder, or user/name."""
    statistics: str | None = None
    """Name of the dataset whose action units are used, where the model knows several."""
    gripper: str = "as_trained"
    """as_trained, or libero: -1 open … +1 closed."""
    cameras: Names | None = None
    """observation.images.NAME of each image."""
    action_dim: PositiveOrNone = None
    """Numbers of an action; by default the checkpoint's, or 7."""
    chunk_size: PositiveOrNone = None
    """Actions decoded at once; by default the checkpoint's, or 8 (image_text), 1 (openvla, minivla)."""
    state_dim: PositiveOrNone = None
    """Numbers of the robot's state; by default the checkpoint's. image_text: in the prompt, if given."""
    heads: PositiveOrNone = None
    """openvla, minivla: attention heads of the language model, for a model of unusual size."""
    vision_heads: PositiveOrNone = None
    """Attention heads of the image encoders, for a model of unusual size."""
    head_size: PositiveOrNone = None
    """pi0fast, pi05: width of an attention head, for a model of unusual size."""
    prompt: str = "openpi"
    """pi0fast: openpi or lerobot, whichever trained it."""
    dtype: str = "bfloat16"
    """Data type of the weights."""
    action_tokens: str = "added"
    """image_text: added or reserved."""
    action_tokenizer: str = "residual_vq"
    """image_text: residual_vq (2 tokens a chunk, fitted by the first training) or uniform_bins (one a number)."""


@holds_out("converting into")
def run(options: Arguments) -> None:
    from inspire_vla.files import atomic_path, check_new_folder, read_json, write_json
    from inspire_vla.lerobot_plugin.convert import USED_BY, Options, convert

    check_new_folder(options.out)
    unused = {field.name for field in fields(options)} - {"path", "kind", "out"} - USED_BY[options.kind]
    refuse_unused(options, unused, f"--from {options.kind}")
    given = {field.name: getattr(options, field.name, None) for field in fields(Options)}
    print(f"Converting {options.path}; billions of parameters take minutes …", file=sys.stderr)
    with atomic_path(options.out.absolute()) as partial:
        report = convert(
            options.kind,
            options.path,
            partial,
            allow_partial=options.allow_partial,
            options=Options(**{name: value for name, value in given.items() if value is not None}),
        )
        report = replace(report, out=str(options.out))
        if (record := partial / "conversion.json").exists():  # a merged LoRA has none
            write_json(record, read_json(record, dict[str, Any]) | {"out": report.out})
    print(report)
    print(f"Checkpoint: {report.out}")
