"""Presets: an experiment as data. The runner and the results know no benchmark, task or reasoning mode by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.evaluation.controls import check_control
from inspire_vla.files import describe, read_yaml

PRESETS = {file.stem: file for file in sorted((Path(__file__).parent / "presets").glob("*.yaml"))}
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Variant:
    """A policy by the arguments in which it differs.

    train: arguments of `inspire train`. After an argument "--" they are LeRobot's.
    label: arguments of `inspire label`, if the policy is trained on other labels of the same demonstrations.
    title: its name in tables; by default the variant's name.

    Of ablations alone:
    of: the variant or earlier ablation that it differs from, and is compared with; by default the method.
    controls: those that it is evaluated with too, see `Preset.controls`.
    controls_episodes: episodes per task of these; by default those of the preset's controls.
    seeds: it is trained with the first so many training seeds.
    """

    __pydantic_config__ = _STRICT
    train: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    title: str | None = None
    of: str | None = None
    controls: tuple[str, ...] = ()
    controls_episodes: int | None = None
    seeds: int = 1


@dataclass(frozen=True)
class Group:
    """Suites that are evaluated together, with so many episodes per task and policy."""

    __pydantic_config__ = _STRICT
    suites: tuple[str, ...]
    episodes: int


@dataclass(frozen=True)
class Sweep:
    """An option that both `data` and `inspire evaluate` take, with several values.

    The first value is that of the headline. The others are run with the first training seed.
    """

    __pydantic_config__ = _STRICT
    option: str
    values: tuple[float, ...]
    title: str


@dataclass(frozen=True)
class Condition:
    """One value of the sweep; the only condition of a preset without a sweep has no value.

    tag: part of the names of its files, such as "_r0.25".
    """

    tag: str = ""
    value: float | None = None
    arguments: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Preset:
    """An experiment: a baseline and a method, trained with several seeds and evaluated on groups of suites.

    Attributes:
        data: command of `inspire` that makes the demonstrations, such as collect or label, without --out.
        variants: the baseline and the method, in this order.
        groups: name → suites and episodes per task.
        seeds: training seeds; each trains every variant.
        train: arguments of every `inspire train`. Those after an argument "--" are LeRobot's.
        evaluate: arguments of every `inspire evaluate`.
        pretrain: arguments of `inspire pretrain`; empty for no pre-training.
        sweep: an option with several values.
        controls: those of `evaluation.controls.CONTROLS` with which the method is evaluated too.
        controls_episodes: episodes per task of the controls; by default, and at most, those of the group.
        ablations: name → how it differs from the method, or from its `of`.
        checkpoints: training steps after which the first seed is evaluated on `validation`.
    """

    __pydantic_config__ = _STRICT
    name: str
    data: tuple[str, ...]
    variants: Mapping[str, Variant]
    groups: Mapping[str, Group]
    seeds: tuple[int, ...]
    train: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    pretrain: tuple[str, ...] = ()
    sweep: Sweep | None = None
    controls: tuple[str, ...] = ()
    controls_episodes: int | None = None
    ablations: Mapping[str, Variant] = field(default_factory=dict)
    checkpoints: tuple[int, ...] = ()
    validation: Group | None = None

    def __post_init__(self) -> None:
        groups = [*self.groups.values(), *([] if self.validation is None else [self.validation])]
        names = [*self.variants, *self.ablations]
        problems = {
            "at least one seed is needed": not self.seeds,
            "seeds are numbers of at least 0, each once": len({*self.seeds}) < len(self.seeds)
            or any(seed < 0 for seed in self.seeds),
            "at least one group is needed": not self.groups,
            "a name of a variant, ablation or group holds no /": any(
                "/" in n for n in (*names, *self.groups)
            ),
            "two variants or ablations have one name": len({n.replace(" ", "_") for n in names}) < len(names),
            "two variants are needed, the baseline and the method": len(self.variants) != 2,
            "data needs a command": not self.data,
            "a sweep needs at least one value, each once": self.sweep is not None
            and not 0 < len({*self.sweep.values}) == len(self.sweep.values),
            "the option of a sweep is written without --, such as layout-randomness": self.sweep is not None
            and not self.sweep.option[:1].isalpha(),
            "checkpoints need a group `validation`": bool(self.checkpoints) and self.validation is None,
            "checkpoints are training steps of at least 1, each once": len({*self.checkpoints})
            < len(self.checkpoints)
            or any(step < 1 for step in self.checkpoints),
            "at least one episode per task is needed": any(group.episodes < 1 for group in groups),
            "every ablation needs at least one seed": any(a.seeds < 1 for a in self.ablations.values()),
            "controls_episodes must be at least 1": any(
                episodes is not None and episodes < 1
                for episodes in (
                    self.controls_episodes,
                    *(each.controls_episodes for each in self.ablations.values()),
                )
            ),
        }
        for problem, found in problems.items():
            if found:
                raise InspireError(f"preset {self.name!r}: {problem}.")
        for control in (*self.controls, *(each for a in self.ablations.values() for each in a.controls)):
            check_control(control)
        known = [*self.variants]
        for name, ablation in self.ablations.items():
            if self.parent(name) not in known:
                raise InspireError(
                    f"preset {self.name!r}: ablation {name!r} is of {ablation.of!r}, which is no variant and no "
                    f"earlier ablation.{did_you_mean(str(ablation.of), known)}"
                )
            if len(self.seeds_of(name)) > len(self.seeds_of(self.parent(name))):
                raise InspireError(
                    f"preset {self.name!r}: ablation {name!r} has more training seeds than {self.parent(name)!r}, with "
                    "which it is compared."
                )
            known.append(name)

    @property
    def method(self) -> str:
        return list(self.variants)[1]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The values of the sweep, the headline's first."""
        if self.sweep is None:
            return (Condition(),)
        option = self.sweep.option
        return tuple(
            Condition(
                f"_{option.rpartition('-')[2][0]}{value:g}",
                value,
                (f"--{option}={value}",),
                f"{option.replace('-', '_')} {value:g}",
            )
            for value in self.sweep.values
        )

    def parent(self, ablation: str) -> str:
        """The variant or ablation that an ablation differs from."""
        return self.ablations[ablation].of or self.method

    def title(self, variant: str) -> str:
        """The title of a variant or ablation for reports; by default its name."""
        return (self.variants.get(variant) or self.ablations[variant]).title or variant

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """The training seeds of a variant or ablation."""
        return self.seeds if variant in self.variants else self.seeds[: self.ablations[variant].seeds]

    def policy(self, variant: str, condition: Condition | None = None, seed: int | None = None) -> str:
        """The name of a trained policy; by default of the headline's condition and the first seed."""
        tag = (condition or self.conditions[0]).tag
        return f"{variant.replace(' ', '_')}{tag}_s{self.seeds[0] if seed is None else seed}"


def read_preset(name: str) -> Preset:
    """Read an included preset or a YAML file. A key `extends` names the preset whose other keys it takes over.

    Raises:
        InspireError: an unknown name, an unknown or missing key, or a value of the wrong type.
    """
    path = PRESETS.get(name, Path(name))
    try:
        return TypeAdapter(Preset).validate_python({"name": path.stem, **_keys(path, ())})
    except ValidationError as error:
        raise InspireError(f"{path} {describe(error)}") from None


def _keys(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of a preset and of those that it extends. extending: those that extend it."""
    if path in extending:
        raise InspireError(f"{path} extends itself: {' → '.join(map(str, (*extending, path)))}.")
    if not path.is_file():
        raise InspireError(
            f"Unknown preset {str(path)!r}, and no such file.{did_you_mean(str(path), PRESETS)}"
        )
    given = read_yaml(path)
    extended = given.pop("extends", None)
    if not isinstance(extended, str | None):
        raise InspireError(f"{path}: `extends` names one preset, found {extended!r}.")
    known = [each.name for each in fields(Preset)]
    for key in given:
        if key not in known:
            raise InspireError(f"{path}: unknown key {key!r}.{did_you_mean(key, known)}")
    if extended is None:
        return given
    return _keys(PRESETS.get(extended, path.parent / extended), (*extending, path)) | given
