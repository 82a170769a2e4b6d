"""The curves of an experiment: its pre-training, its policies' losses, success on validation tasks by training step."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inspire_vla.evaluation import compare, read_run
from inspire_vla.experiment.presets import Preset

VALIDATION = "validation, success in %"
_LOGGED = re.compile(r"smpl:(\d+(?:\.\d+)?)([KM]?) .*?loss:(\d+\.\d+)")  # LeRobot writes 1,400 steps as 1K


def learning_curves(
    preset: Preset, out: Path
) -> Iterator[tuple[str, list[tuple[str, list[float], list[float]]]]]:
    """(title, ((name, thousands of samples, values), …)) of each panel; of validation, thousands of training steps."""
    seeing = out / "grounding" / "log.jsonl"
    if seeing.exists():
        rows = [json.loads(line) for line in seeing.read_text(encoding="utf-8").splitlines()]
        batch = json.loads((seeing.parent / "config.json").read_text(encoding="utf-8"))["batch_size"]
        lines = []
        for key, name in (
            ("dense_accuracy", "dense classification"),
            ("answer_accuracy", "tokens of answers"),
        ):
            own = [row for row in rows if key in row]
            lines.append((name, [row["step"] * batch / 1e3 for row in own], [row[key] for row in own]))
        yield "pre-training, share right", lines
    losses = []
    for kind in ("base", "inspire"):
        name = f"train_{kind}_r{preset.layout_randomness:g}_s{preset.seeds[0]}"
        samples: dict[float, float] = {}
        for log in (out / "logs").glob(f"*_{name}.txt"):
            for number, unit, loss in _LOGGED.findall(log.read_text(errors="replace", encoding="utf-8")):
                samples[float(number) * {"": 1e-3, "K": 1, "M": 1e3}[unit]] = float(loss)
        if samples:
            label = "InSpire, answers included" if kind == "inspire" else "base"
            losses.append((label, sorted(samples), [samples[s] for s in sorted(samples)]))
    if losses:
        yield "policy, loss", losses
    if preset.checkpoints:
        yield VALIDATION, list(_success_by_step(preset, out))


def _success_by_step(preset: Preset, out: Path) -> Iterator[tuple[str, list[float], list[float]]]:
    """On validation tasks, of both kinds' first seed, at the checkpoints of the preset, in thousands of steps."""
    rates = [
        [100 * rate["rate"] for rate in comparison["groups"][0]["rates"]]
        for comparison in validation(preset, out).values()
    ]
    for place, name in enumerate(("base", "InSpire")):
        yield name, [step / 1e3 for step in preset.checkpoints], [pair[place] for pair in rates]


def validation(preset: Preset, out: Path) -> dict[int, dict[str, Any]]:
    """{training steps: comparison of base and InSpire on validation tasks}, first seed."""
    policies = [f"{kind}_r{preset.layout_randomness:g}_s{preset.seeds[0]}" for kind in ("base", "inspire")]
    return {
        step: compare([read_run(out / "runs" / f"{policy}_step{step}_validation") for policy in policies])
        for step in preset.checkpoints
    }
