"""The pre-training itself: first the stem learns names alone, which is cheap, then all of it learns to answer."""

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from inspire_vla.backbones.nano import STRIDE, Nano, NanoConfig
from inspire_vla.backbones.text_tokenizer import load_text_tokenizer
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.grounding.batches import Batches
from inspire_vla.grounding.naming import POINTS
from inspire_vla.grounding.objective import Heads, losses

WEIGHTS, HEADS = "model.safetensors", "heads.safetensors"
PLAN, STATE, LOG = "plan.json", "training_state.pt", "log.jsonl"


@dataclass(frozen=True)
class PretrainingPlan:
    """Everything that fixes a pre-training, given the images."""

    nano: NanoConfig = field(default_factory=NanoConfig)
    image_size: int = 96
    naming_steps: int = 3000
    """Steps on names alone, before the first question."""
    steps: int = 9000
    """All steps."""
    batch_size: int = 64
    questions: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    seed: int = 0


def read_plan(recipe: Path, **changes: Any) -> PretrainingPlan:
    """A plan from a recipe's file; changes that are None are none. Raises InspireError for a key it does not know."""
    found: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    found |= {key: value for key, value in changes.items() if value is not None}
    known = [each.name for each in fields(PretrainingPlan)]
    for key in found:
        if key not in known:
            raise InspireError(
                f"{recipe.name} is no plan of a pre-training: {key!r}.{did_you_mean(key, known)}"
            )
    return PretrainingPlan(**{**found, "nano": NanoConfig(**found.get("nano", {}))})


def pretrain(
    files: Sequence[Path],
    out: str | Path,
    plan: PretrainingPlan,
    *,
    device: str = "cpu",
    save_every: int = 250,
    log_every: int = 50,
) -> Path:
    """Train on the images of `files`; writes `out`: weights, plan, log. Interrupted, it goes on where it was.

    Raises:
        InspireError: `out` holds a pre-training of another plan.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    check_plan(out, plan)
    if not (out / PLAN).exists():
        _write(out / PLAN, json.dumps(asdict(plan), indent=1) + "\n")
    torch.manual_seed(plan.seed)
    model = make_backbone(plan).to(device)
    heads = Heads(plan.nano.hidden_size).to(device)
    parameters = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2]},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=plan.learning_rate,
        weight_decay=plan.weight_decay,
        betas=(0.9, 0.98),
    )
    step = _resume(out, model, heads, optimiser)
    batches = Batches(
        files,
        model.text_tokenizer,
        batch_size=plan.batch_size,
        questions=plan.questions,
        grid=plan.image_size // STRIDE * POINTS,
        seed=plan.seed,
    )
    sums: dict[str, float] = {}
    started, begun = time.monotonic(), step
    with tqdm(total=plan.steps, initial=step, desc="learning to see", unit="step") as bar:
        while step < plan.steps:
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * _schedule(step, plan)
            loss, numbers = losses(
                model, heads, batches[step].to(model.device), talk=step >= plan.naming_steps
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            step += 1
            bar.update()
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + value / log_every
            if step % log_every == 0:
                speed = (step - begun) * plan.batch_size / (time.monotonic() - started)
                line = {
                    "step": step,
                    **{k: round(v, 4) for k, v in sums.items()},
                    "images_per_s": round(speed),
                }
                bar.set_postfix({k: v for k, v in line.items() if k != "step"}, refresh=False)
                with open(out / LOG, "a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")
                sums = {}
            if step % save_every == 0 or step == plan.steps:
                _save(out, model, heads, optimiser, step)
    return out


def load_pretrained(folder: Path, plan: PretrainingPlan) -> tuple[Nano, Heads]:
    """What a pre-training has made, heads included."""
    model, heads = make_backbone(plan), Heads(plan.nano.hidden_size)
    model.load_state_dict(load_file(folder / WEIGHTS))
    heads.load_state_dict(load_file(folder / HEADS))
    return model, heads


def make_backbone(plan: PretrainingPlan) -> Nano:
    """The backbone that is trained: words only, no robot state, no action codes."""
    tokenizer = load_text_tokenizer()
    return Nano(
        plan.nano,
        text_tokenizer=tokenizer,
        vocabulary_size=len(tokenizer),
        cameras=1,
        image_size=(plan.image_size, plan.image_size),
        state_dim=0,
    )


def _schedule(step: int, plan: PretrainingPlan) -> float:
    """Warm-up, then a cosine down to a twentieth."""
    if step < plan.warmup_steps:
        return (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


def check_plan(out: str | Path, plan: PretrainingPlan) -> None:
    """Raise InspireError where `out` holds a pre-training of another plan."""
    path = Path(out) / PLAN
    if path.exists():
        found, wanted = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(asdict(plan)))
        other = sorted(key for key in found | wanted if found.get(key) != wanted.get(key))
        if other:
            raise InspireError(
                f"{out} holds a pre-training with another {', '.join(other)}: use another --out."
            )


def _resume(out: Path, model: Nano, heads: Heads, optimiser: torch.optim.Optimizer) -> int:
    if not (out / STATE).exists():
        return 0
    state: dict[str, Any] = torch.load(out / STATE, weights_only=True, map_location=model.device)
    _forget_after(out / LOG, int(state["step"]))
    model.load_state_dict(state["model"])
    heads.load_state_dict(state["heads"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _forget_after(log: Path, step: int) -> None:
    """Drop the lines of steps that are taken again."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    _write(log, "".join(kept))


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _save(out: Path, model: Nano, heads: Heads, optimiser: torch.optim.Optimizer, step: int) -> None:
    """The state to go on from, and the weights to start a policy from; each whole or not at all."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "heads": heads.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, out / f".{STATE}.tmp")
    os.replace(out / f".{STATE}.tmp", out / STATE)
    for module, name in ((heads, HEADS), (model, WEIGHTS)):
        weights = {key: value.contiguous() for key, value in module.state_dict().items()}
        save_file(weights, out / f".{name}.tmp", metadata={"step": str(step)})
        os.replace(out / f".{name}.tmp", out / name)


def load_weights(folder: str | Path) -> tuple[NanoConfig, dict[str, Tensor]]:
    """A pre-trained backbone's size and weights. Raises InspireError if the folder holds none."""
    folder = Path(folder)
    if not (folder / WEIGHTS).is_file() or not (folder / PLAN).is_file():
        raise InspireError(
            f"{folder} holds no pre-trained backbone ({PLAN}, {WEIGHTS}): `inspire pretrain` makes one."
        )
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    return NanoConfig(**plan["nano"]), load_file(folder / WEIGHTS)
