"""A preset → the commands that carry it out, in order. Pure: nothing is run here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inspire_vla.experiment.presets import Preset

UNSEEN, SEEN, VALIDATION = "unseen", "tabletop_seen", "tabletop_validation"
_MODES = ("direction", "direction_3d", "position", "distance", "distance_fine")


@dataclass(frozen=True)
class Stage:
    """A command of `inspire`, and the file that says it is done.

    again: the command that goes on with it, where that is another; used once `partial` exists.
    scrap: what an interrupted command leaves that nothing goes on with; it is removed before the command runs anew.
    needs: files of other stages, without which it cannot begin.
    """

    name: str
    command: tuple[str, ...]
    done: Path
    again: tuple[str, ...] | None = None
    partial: Path | None = None
    scrap: Path | None = None
    needs: tuple[Path, ...] = ()

    @property
    def missing(self) -> Path | None:
        """The first file that it still waits for."""
        return next((path for path in self.needs if not path.exists()), None)

    @property
    def log_name(self) -> str:
        return self.name.replace(" ", "_").replace(",", "")

    def next_command(self) -> tuple[str, ...]:
        """What to call now: the command, or the one that goes on."""
        if self.again is not None and self.partial is not None and self.partial.exists():
            return self.again
        return self.command


def stages(preset: Preset, out: Path) -> list[Stage]:
    """All of the experiment in `out`."""
    plan = [*_grounding(preset, out)]
    headline = preset.layout_randomness
    plan += _data(preset, out, headline)
    for seed in preset.seeds:
        for kind in ("base", "inspire"):
            plan += _trained(preset, out, kind, headline, seed)
    for control in preset.controls:
        for seed in preset.seeds:
            plan += _evaluated(preset, out, f"inspire_r{headline:g}_s{seed}", headline, control=control)
    first = preset.seeds[0]
    for step in preset.checkpoints:
        for kind in ("base", "inspire"):
            plan.append(_checkpoint(preset, out, f"{kind}_r{headline:g}_s{first}", headline, step))
    for randomness in preset.curve:
        plan += _data(preset, out, randomness)
        for kind in ("base", "inspire"):
            plan += _trained(preset, out, kind, randomness, first)
    for name, arguments in preset.ablations.items():
        kind, rule = name.replace(" ", "_"), preset.rules.get(name, ())
        if rule:
            plan.append(_relabelled(out, headline, kind, rule))
        plan += _trained(preset, out, kind, headline, first, arguments, own_labels=bool(rule))
    return plan


def _grounding(preset: Preset, out: Path) -> Iterator[Stage]:
    if preset.images:
        folder = out / "grounding"
        command = ("pretrain", f"--out={folder}", f"--images={preset.images}")
        where = (f"--images-dir={out / 'images'}", f"--recipe={preset.pretrain_recipe}")
        arguments = (*command, *where, *preset.pretrain_arguments)
        yield Stage("grounding pre-training", arguments, folder / "evaluation.json")


def _data(preset: Preset, out: Path, randomness: float) -> Iterator[Stage]:
    folder = _dataset(out, randomness)
    yield Stage(
        f"demonstrations, layout_randomness {randomness:g}",
        (
            "collect", f"--suite={SEEN}", f"--episodes={27 * preset.demonstrations}", f"--out={folder}",
            f"--layout-randomness={randomness}", f"--perturbations={preset.perturbations:g}", "--modes", *_MODES,
        ),
        _complete(folder),
    )  # fmt: skip


def _trained(
    preset: Preset,
    out: Path,
    kind: str,
    randomness: float,
    seed: int,
    arguments: tuple[str, ...] = (),
    own_labels: bool = False,
) -> Iterator[Stage]:
    name = f"{kind}_r{randomness:g}_s{seed}"
    dataset = _dataset(out, randomness, kind if own_labels else "")
    folder = out / "policies" / name
    start = (f"--policy.pretrained_init={out / 'grounding'}",) if preset.images else ()
    needs = [_complete(dataset, labels=own_labels), *(stage.done for stage in _grounding(preset, out))]
    reasoning = "--no-reasoning" if kind == "base" else "--reasoning"
    command = (
        "train", f"--recipe={preset.recipe}", f"--dataset={dataset}", f"--out={folder}",
        f"--seed={seed}", reasoning, "--", *start, *preset.arguments, *arguments,
    )  # fmt: skip
    yield Stage(
        f"train {name}",
        command,
        folder / "finished",
        needs=tuple(needs),
        again=("train", f"--out={folder}", "--resume"),
        partial=folder / "checkpoints" / "last",
        scrap=folder,
    )
    yield from _evaluated(preset, out, name, randomness)


def _evaluated(
    preset: Preset, out: Path, policy: str, randomness: float, control: str = "none"
) -> Iterator[Stage]:
    own = control == "none"
    name, fewer = (policy, None) if own else (f"{policy}_{control}", preset.episodes_controls)
    for group, suite, episodes in (
        ("seen", SEEN, preset.episodes_seen),
        ("unseen", UNSEEN, preset.episodes_unseen),
    ):
        folder = out / "runs" / f"{name}_{group}"
        yield Stage(
            f"evaluate {name} on {group} tasks",
            (
                "evaluate", f"--policy={out / 'policies' / policy}", f"--suite={suite}",
                f"--episodes={fewer or episodes}", f"--layout-randomness={randomness}", f"--control={control}",
                f"--name={name}", f"--out={folder}",
            ),
            folder / "finished",
            needs=(out / "policies" / policy / "finished",),
        )  # fmt: skip


def _checkpoint(preset: Preset, out: Path, policy: str, randomness: float, step: int) -> Stage:
    folder = out / "runs" / f"{policy}_step{step}_validation"
    return Stage(
        f"evaluate {policy} after {step} steps on validation tasks",
        (
            "evaluate", f"--policy={out / 'policies' / policy / 'checkpoints' / f'{step:06d}' / 'pretrained_model'}",
            f"--suite={VALIDATION}", f"--episodes={preset.episodes_validation}",
            f"--layout-randomness={randomness}", f"--name={policy}_step{step}", f"--out={folder}",
        ),
        folder / "finished",
        needs=(out / "policies" / policy / "finished",),
    )  # fmt: skip


def _relabelled(out: Path, randomness: float, kind: str, rule: tuple[str, ...]) -> Stage:
    """The same demonstrations, labelled from their own truth by another rule; images are hard-linked."""
    source, folder = _dataset(out, randomness), _dataset(out, randomness, kind)
    command = ("label", str(source), "--labeller=truth", f"--out={folder}", *rule)
    return Stage(f"labels for {kind}", command, _complete(folder, labels=True), needs=(_complete(source),))


def _dataset(out: Path, randomness: float, labels: str = "") -> Path:
    return out / "demonstrations" / "_".join(filter(None, (f"seen_r{randomness:g}", labels)))


def _complete(dataset: Path, labels: bool = False) -> Path:
    """The file that says that a dataset is."""
    return dataset / "meta" / ("inspire_labels.json" if labels else "info.json")
