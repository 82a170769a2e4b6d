"""The training loop of the pre-training. Dense classification first, which trains the stem alone and is cheap; then
questions as well.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from inspire_vla.backbones.devices import AUTO, fast_dtype
from inspire_vla.backbones.nano import STRIDE, Nano, NanoConfig
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.changed_settings import changed_settings
from inspire_vla.errors import InspireError, did_you_mean, reason_of
from inspire_vla.files import (
    append_json_line,
    atomic_path,
    check_readable,
    read_json,
    read_json_lines,
    write_json,
    write_text,
)
from inspire_vla.grounding.batches import COLOURS, KINDS, Batches
from inspire_vla.grounding.heads import POINTS_PER_PATCH, Heads, losses

SCENES = ("tabletop", "libero")
DTYPES = ("float32", "bfloat16")
WEIGHTS, HEADS = "model.safetensors", "heads.safetensors"
CONFIG, STATE, LOG = "config.json", "training_state.pt", "log.jsonl"


@dataclass(frozen=True)
class PretrainingConfig:
    """Everything that fixes a pre-training, given the images.

    Attributes:
        scenes: whose objects the images show: "tabletop" or "libero".
        kinds, colours: the kinds and looks of these objects, see `Images.names`.
        image_size: side in pixels.
        dense_steps: the first steps, which train dense classification alone.
        steps: all steps.
        questions: number of questions about each image.
        dtype: of the computation. "bfloat16" is faster on processors with instructions for it; weights stay float32.
            "auto" stands for it there, and for "float32" elsewhere, see `with_dtype`.
    """

    nano: NanoConfig = field(default_factory=NanoConfig)
    scenes: str = "tabletop"
    kinds: tuple[str, ...] = KINDS
    colours: tuple[str, ...] = COLOURS
    image_size: int = 96
    dense_steps: int = 3000
    steps: int = 9000
    batch_size: int = 64
    questions: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        object.__setattr__(self, "colours", tuple(self.colours))
        for name, value, possible in (
            ("scenes", self.scenes, SCENES),
            ("dtype", self.dtype, (*DTYPES, AUTO)),
        ):
            if value not in possible:
                raise InspireError(f"Unknown {name} {value!r}.{did_you_mean(value, possible)}")
        if self.nano.vision != "stem":
            raise InspireError(
                f"The pre-training trains nano's own stem; the encoder {self.nano.vision!r} was trained by others."
            )
        if self.dense_steps >= self.steps:
            raise InspireError(
                f"Of {self.steps} steps the first {self.dense_steps} train dense classification alone, so no question "
                "would be trained: give more --steps, or fewer --dense-steps."
            )


def read_recipe(recipe: Path, **changes: Any) -> PretrainingConfig:
    """Read a recipe's file. `changes` that are not None replace its values. Raises InspireError for unknown keys."""
    data: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    data |= {key: value for key, value in changes.items() if value is not None}
    known = [each.name for each in fields(PretrainingConfig)]
    for key in data:
        if key not in known:
            hint = did_you_mean(key, known)
            raise InspireError(f"{recipe.name} is no recipe of a pre-training: {key!r}.{hint}")
    return PretrainingConfig(**{**data, "nano": NanoConfig(**data.get("nano", {}))})


def with_dtype(config: PretrainingConfig, out: str | Path, device: str) -> PretrainingConfig:
    """Return `config` with a dtype in place of "auto": that of the pre-training in `out`, else the fast one."""
    if config.dtype != AUTO:
        return config
    path = Path(out) / CONFIG
    before = read_json(path, PretrainingConfig).dtype if path.exists() else None
    return replace(config, dtype=before or fast_dtype(device))


def pretrain(
    files: Sequence[Path],
    out: str | Path,
    config: PretrainingConfig,
    *,
    device: str = "cpu",
    save_every: int = 250,
    log_every: int = 50,
) -> Path:
    """Train on the images of `files`. Writes weights, configuration and log to `out`; continues where it stopped.

    Raises:
        InspireError: `out` holds a pre-training with another configuration.
    """
    out = Path(out)
    config = with_dtype(config, out, device)
    check_config(out, config)
    write_json(out / CONFIG, asdict(config))
    torch.manual_seed(config.seed)
    model = make_backbone(config).to(device)
    heads = make_heads(config).to(device)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2]},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    step = _resume(out, model, heads, optimizer)
    batches = Batches(
        files,
        model.text_tokenizer,
        batch_size=config.batch_size,
        questions=config.questions,
        grid=config.image_size // STRIDE * POINTS_PER_PATCH,
        seed=config.seed,
        dense_steps=config.dense_steps,
        kinds=config.kinds,
        colours=config.colours,
    )
    sums: dict[str, float] = {}
    started, first = time.monotonic(), step
    with tqdm(total=config.steps, initial=step, desc="pre-training", unit="step") as bar:
        while step < config.steps:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(step, config)
            batch = batches[step].to(model.device)
            with torch.autocast(model.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
                loss, numbers = losses(model, heads, batch, questions=step >= config.dense_steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            bar.update()
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + value / log_every
            if step % log_every == 0:
                speed = (step - first) * config.batch_size / (time.monotonic() - started)
                means = {name: round(value, 4) for name, value in sums.items()}
                line = {"step": step, **means, "images_per_s": round(speed)}
                bar.set_postfix({k: v for k, v in line.items() if k != "step"}, refresh=False)
                append_json_line(out / LOG, line)
                sums = {}
            if step % save_every == 0 or step == config.steps:
                _save(out, model, heads, optimizer, step)
    return out


def load_pretrained(folder: Path, config: PretrainingConfig) -> tuple[Nano, Heads]:
    """The backbone and the heads of a pre-training."""
    model, heads = make_backbone(config), make_heads(config)
    model.load_state_dict(load_file(folder / WEIGHTS))
    heads.load_state_dict(load_file(folder / HEADS))
    return model, heads


def load_weights(folder: str | Path) -> tuple[NanoConfig, dict[str, Tensor]]:
    """The size and weights of a pre-trained backbone. Raises InspireError if the folder holds none."""
    folder = Path(folder)
    if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        raise InspireError(
            f"{folder} holds no pre-trained backbone ({CONFIG}, {WEIGHTS}): `inspire pretrain` makes one."
        )
    size = read_json(folder / CONFIG, PretrainingConfig).nano
    check_readable(folder / WEIGHTS)
    try:
        return size, load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InspireError(f"{folder / WEIGHTS} is not a whole file: {reason_of(error)}.") from None


def make_backbone(config: PretrainingConfig) -> Nano:
    """The backbone that is trained: text tokens only, no robot state, no action codes."""
    tokenizer = load_text_tokenizer()
    return Nano(
        config.nano,
        text_tokenizer=tokenizer,
        vocabulary_size=len(tokenizer),
        cameras=1,
        image_size=(config.image_size, config.image_size),
        state_dim=0,
    )


def make_heads(config: PretrainingConfig) -> Heads:
    """The heads of a pre-training, for its classes."""
    return Heads(config.nano.hidden_size, len(config.kinds), len(config.colours))


def check_config(out: str | Path, config: PretrainingConfig) -> None:
    """Raise InspireError where `out` holds a pre-training with another configuration."""
    path = Path(out) / CONFIG
    if not path.exists():
        return
    if changed := changed_settings(asdict(read_json(path, PretrainingConfig)), asdict(config)):
        raise InspireError(f"{out} holds a pre-training with other settings ({changed}): use another --out.")


def _schedule(step: int, config: PretrainingConfig) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine to a twentieth."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


def _resume(out: Path, model: Nano, heads: Heads, optimizer: torch.optim.Optimizer) -> int:
    """Load the saved state, if there is one, and drop log lines after it. Returns the step."""
    if not (out / STATE).exists():
        return 0
    state: dict[str, Any] = torch.load(out / STATE, weights_only=True, map_location=model.device)
    model.load_state_dict(state["model"])
    heads.load_state_dict(state["heads"])
    optimizer.load_state_dict(state["optimizer"])
    step = int(state["step"])
    log = out / LOG
    lines = read_json_lines(log) if log.exists() else []
    write_text(log, "".join(json.dumps(line) + "\n" for line in lines if line["step"] <= step))
    return step


def _save(out: Path, model: Nano, heads: Heads, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write the training state, and the weights that a policy starts from; each atomically."""
    modules = {"model": model, "heads": heads, "optimizer": optimizer}
    with atomic_path(out / STATE) as path:
        torch.save({"step": step} | {name: module.state_dict() for name, module in modules.items()}, path)
    for module, name in ((heads, HEADS), (model, WEIGHTS)):
        weights = {key: value.contiguous() for key, value in module.state_dict().items()}
        with atomic_path(out / name) as path:
            save_file(weights, path, metadata={"step": str(step)})
