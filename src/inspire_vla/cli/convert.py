"""`inspire convert`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from inspire_vla.cli.options import Names, Positive, holds_out


@dataclass(kw_only=True)
class Arguments:
    """Convert published weights (OpenVLA, MiniVLA, pi0-FAST, others) to a checkpoint."""

    path: Positional[str]
    """Folder (or .pt file) of the published weights."""
    kind: Annotated[Literal["openvla", "minivla", "pi0fast", "image_text", "lora"], arg(name="from")]
    """What the weights are."""
    out: Annotated[Path, arg(name="to")]
    """Folder of the checkpoint, created."""
    allow_partial: bool = False
    """Write the checkpoint although tensors are missing or unexpected."""
    tokenizer: str | None = None
    """Folder of the language model's tokenizer, where it is published separately."""
    vq: str | None = None
    """minivla: folder of its pretrain_vq weights."""
    fast: str | None = None
    """pi0fast: folder of the FAST processor's files."""
    statistics: str | None = None
    """Name of the dataset whose action units are used, where the model knows several."""
    gripper: str = "as_trained"
    """as_trained, or libero: -1 open … +1 closed."""
    cameras: Names | None = None
    """observation.images.NAME of each image."""
    action_dim: Positive | None = None
    """By default the checkpoint's."""
    chunk_size: Positive | None = None
    """By default the checkpoint's."""
    state_dim: Positive | None = None
    """By default the checkpoint's."""
    prompt: str = "openpi"
    """pi0fast: openpi or lerobot, whichever trained it."""
    dtype: str = "bfloat16"
    """Data type of the weights."""
    action_tokens: str = "added"
    """image_text: added or reserved."""


@holds_out("converting into")
def run(options: Arguments) -> None:
    from inspire_vla.lerobot_plugin.convert import Options, convert

    given = {field.name: getattr(options, field.name, None) for field in fields(Options)}
    report = convert(
        options.kind,
        options.path,
        options.out,
        allow_partial=options.allow_partial,
        options=Options(**{name: value for name, value in given.items() if value is not None}),
    )
    print(report)
    print(f"Checkpoint: {report.out}")
