"""Which part of an experiment is finished: its results can be written before all of it is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.experiment.presets import Preset
from inspire_vla.experiment.stages import stages


def finished_part(preset: Preset, out: Path) -> tuple[Preset, list[str]]:
    """The preset with only those training seeds, controls, layouts, … that are finished; names of the others.

    A control is finished with all the training seeds that are.

    Raises InspireError where base and InSpire of the first training seed are not.
    """
    first = preset.seeds[:1]
    part = replace(preset, seeds=first, controls=(), curve=(), checkpoints=(), ablations={}, rules={})
    required = stages(part, out)
    missing = [stage.name for stage in required if not stage.done.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InspireError(
            f"{out} has no results yet: {missing[0]}{more} to do. `inspire reproduce` does it."
        )
    left = []
    for name, grown in _entries(preset):
        if all(stage.done.exists() for stage in stages(grown(part), out)):
            part = grown(part)
        else:
            left.append(name)
    return part, left


def _entries(preset: Preset) -> Iterator[tuple[str, Callable[[Preset], Preset]]]:
    """What is asked for beside base and InSpire: (name, what adds it to a preset)."""
    for seed in preset.seeds[1:]:
        yield f"training seed {seed}", partial(_with, "seeds", (seed,))
    for control in preset.controls:
        yield f"answers forced: {control}", partial(_with, "controls", (control,))
    for randomness in preset.curve:
        yield f"layout_randomness {randomness:g}", partial(_with, "curve", (randomness,))
    for step in preset.checkpoints:
        yield f"validation after {step} steps", partial(_with, "checkpoints", (step,))
    for name, arguments in preset.ablations.items():
        rules = {name: preset.rules[name]} if name in preset.rules else {}
        yield name, partial(_ablated, {name: arguments}, rules)


def _with(key: str, entry: tuple[Any, ...], preset: Preset) -> Preset:
    more: dict[str, Any] = {key: (*getattr(preset, key), *entry)}
    return replace(preset, **more)


def _ablated(
    ablation: dict[str, tuple[str, ...]], rules: dict[str, tuple[str, ...]], preset: Preset
) -> Preset:
    return replace(preset, ablations=preset.ablations | ablation, rules=preset.rules | rules)
