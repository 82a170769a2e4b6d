"""How large an experiment is: what the protocol leaves to machine time."""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from inspire_vla.errors import InspireError, did_you_mean

PRESETS = {file.stem: file for file in sorted((Path(__file__).parent / "sizes").glob("*.yaml"))}


@dataclass(frozen=True)
class Preset:
    """One size of the experiment.

    Attributes:
        images: drawn for the grounding pre-training; 0: none, policies begin from nothing.
        demonstrations: of each seen task.
        perturbations: in them, chance a step; see `inspire collect`.
        layout_randomness: of the headline, in demonstrations and evaluations.
        curve: further values of it, for base and InSpire with the first seed.
        seeds: of training; each is a base and an InSpire policy.
        episodes_seen, episodes_unseen: per task and policy.
        controls: answers that InSpire's actions see instead of its own: truth, random, shuffled.
        episodes_controls: per task, of seen and unseen suites alike; None: as many as the policies play.
        ablations: name → arguments of `inspire train` by which this policy differs from InSpire, first seed.
        rules: name of an ablation → arguments of `inspire label` by which its labels differ.
        checkpoints: training steps at which success on validation tasks is measured, first seed.
        episodes_validation: per task and checkpoint.
        pretrain_recipe, recipe: of the pre-training and of the policies.
        arguments: of every `inspire train`, behind its --, such as --steps=3000.
        pretrain_arguments: of `inspire pretrain`.
    """

    name: str
    demonstrations: int
    seeds: tuple[int, ...]
    episodes_seen: int
    episodes_unseen: int
    images: int = 81920
    perturbations: float = 0.0
    layout_randomness: float = 0.25
    curve: tuple[float, ...] = ()
    controls: tuple[str, ...] = ()
    episodes_controls: int | None = None
    ablations: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    checkpoints: tuple[int, ...] = ()
    episodes_validation: int = 2
    pretrain_recipe: str = "nano_grounding"
    recipe: str = "nano_tabletop"
    arguments: tuple[str, ...] = ()
    pretrain_arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.seeds or min(self.demonstrations, self.episodes_seen, self.episodes_unseen) < 1:
            raise InspireError(
                f"preset {self.name!r}: at least one seed, demonstration and episode is needed."
            )
        for name in self.rules:
            if name not in self.ablations:
                raise InspireError(
                    f"preset {self.name!r}: rule of no ablation: {name!r}.{did_you_mean(name, self.ablations)}"
                )
        for randomness in (self.layout_randomness, *self.curve):
            if not 0 <= randomness <= 1:
                raise InspireError(
                    f"preset {self.name!r}: layout_randomness is between 0 and 1, not {randomness}."
                )


def read_preset(name: str) -> Preset:
    """A shipped preset, or a file of one's own. Raises InspireError for an unknown name or key, or a missing key."""
    path = PRESETS.get(name, Path(name))
    if not path.is_file():
        raise InspireError(f"Unknown preset {name!r}, and no such file.{did_you_mean(name, PRESETS)}")
    given: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    known = [each.name for each in fields(Preset)]
    for key in given:
        if key not in known:
            raise InspireError(f"{path.name}: unknown key {key!r}.{did_you_mean(key, known)}")
    needed = [each.name for each in fields(Preset) if each.default is each.default_factory is MISSING]
    lacking = [key for key in needed if key not in given and key != "name"]
    if lacking:
        raise InspireError(f"{path.name} lacks {', '.join(lacking)}. Other keys may be left out: {known}.")
    for key in ("seeds", "curve", "controls", "checkpoints", "arguments", "pretrain_arguments"):
        given[key] = tuple(given.get(key, ()))
    for key in ("ablations", "rules"):
        given[key] = {name: tuple(args) for name, args in given.get(key, {}).items()}
    return Preset(**{"name": path.stem, **given})
