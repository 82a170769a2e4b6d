"""A preset → the commands that carry it out, in order, and the part of it that is finished. Nothing is run here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path

from inspire_vla.errors import InspireError
from inspire_vla.experiment.folder import Experiment
from inspire_vla.experiment.preset import Condition, Group, Preset, Variant
from inspire_vla.lerobot_plugin.checkpoints import numbered


@dataclass(frozen=True)
class Stage:
    """A command of `inspire`, and the file that says that it is done.

    resume: the command that continues it, if that is another; used once the folder `checkpoints` holds a checkpoint.
    scrap: what an interrupted command leaves that cannot be resumed; removed before the command runs again.
    needs: files of other stages that must exist before it can start; of an evaluation, first that of its training.
    step: the training step whose checkpoint it evaluates, where that is not the last.
    """

    name: str
    command: tuple[str, ...]
    done: Path
    resume: tuple[str, ...] | None = None
    checkpoints: Path | None = None
    scrap: Path | None = None
    needs: tuple[Path, ...] = ()
    step: int | None = None

    @property
    def missing(self) -> Path | None:
        """The first needed file that does not exist."""
        return next((path for path in self.needs if not path.exists()), None)

    @property
    def log_name(self) -> str:
        return self.name.replace(" ", "_").replace(",", "")

    def next_command(self) -> tuple[str, ...]:
        """The command to run now: the first one, or the one that resumes."""
        return self.command if self.resume is None or not self._is_begun else self.resume

    @property
    def _is_begun(self) -> bool:
        """Whether a training has saved a checkpoint. The link to the last one may be missing, as on another disk."""
        folder = self.checkpoints
        return folder is not None and (bool(numbered(folder)) or (folder / "last").exists())


def stages(preset: Preset, out: Path) -> list[Stage]:
    """Return all stages of the experiment in the folder `out`."""
    experiment = Experiment(preset, out)
    headline, *others = preset.conditions
    plan = [*_pretraining(experiment), _data(experiment, headline)]
    for seed in preset.seeds:
        for name, variant in preset.variants.items():
            plan += _trained(experiment, name, variant, headline, seed)
    for control in preset.controls:
        for seed in preset.seeds:
            plan += _evaluated(experiment, preset.policy(preset.method, seed=seed), headline, control)
    for step in preset.checkpoints:
        plan += [_checkpoint(experiment, name, step) for name in preset.variants]
    for condition in others:
        plan.append(_data(experiment, condition))
        for name, variant in preset.variants.items():
            plan += _trained(experiment, name, variant, condition, preset.seeds[0])
    for name, ablation in preset.ablations.items():
        if ablation.label:
            plan.append(_relabelled(experiment, name, ablation))
        variant = replace(ablation, train=_arguments(preset, name))
        for seed in preset.seeds_of(name):
            plan += _trained(experiment, name, variant, headline, seed)
            for control in ablation.controls:
                policy = preset.policy(name, seed=seed)
                plan += _evaluated(experiment, policy, headline, control, ablation.controls_episodes)
    return plan


def _arguments(preset: Preset, name: str) -> tuple[str, ...]:
    """The arguments of `inspire train` of a variant, or of an ablation behind those of what it differs from."""
    if name in preset.variants:
        return preset.variants[name].train
    return join(_arguments(preset, preset.parent(name)), preset.ablations[name].train)


def join(*parts: tuple[str, ...]) -> tuple[str, ...]:
    """Join lists of arguments. What follows "--" in each stands behind one "--"; of two values the last one counts.

    An option is one word, `--steps=5`, or several: `--suite seen unseen`.
    """
    before_dashes: dict[str, tuple[str, ...]] = {}
    behind: dict[str, tuple[str, ...]] = {}
    for arguments in parts:
        chosen, option = before_dashes, ""
        for argument in arguments:
            if argument == "--":
                chosen, option = behind, ""
            elif argument.startswith("--") or not option:
                option = argument.partition("=")[0]
                chosen[option] = (argument,)
            else:
                chosen[option] += (argument,)
    before, after = (tuple(chain(*chosen.values())) for chosen in (before_dashes, behind))
    return (*before, *(("--", *after) if after else ()))


def _pretraining(experiment: Experiment) -> Iterator[Stage]:
    if experiment.preset.pretrain:
        folder = experiment.grounding
        where = (f"--out={folder}", f"--images-dir={experiment.images}")
        yield Stage("pre-training", ("pretrain", *where, *experiment.preset.pretrain), folder / "finished")


def _data(experiment: Experiment, condition: Condition) -> Stage:
    folder = experiment.demonstrations(condition)
    name = ", ".join(filter(None, ("demonstrations", condition.title)))
    return Stage(name, (*experiment.preset.data, f"--out={folder}", *condition.arguments), _info(folder))


def _relabelled(experiment: Experiment, name: str, variant: Variant) -> Stage:
    """The demonstrations of the headline with other labels, computed from the recorded states."""
    headline = experiment.preset.conditions[0]
    source, folder = experiment.demonstrations(headline), experiment.demonstrations(headline, name)
    command = ("label", str(source), "--labeller=truth", f"--out={folder}", *variant.label)
    return Stage(f"labels for {name}", command, _info(folder), needs=(_info(source),))


def _trained(
    experiment: Experiment, name: str, variant: Variant, condition: Condition, seed: int
) -> Iterator[Stage]:
    """The training of a policy, and its evaluation on every group."""
    preset = experiment.preset
    policy = preset.policy(name, condition, seed)
    data = experiment.demonstrations(condition, name if variant.label else "")
    folder = experiment.policy(policy)
    start = ("--", f"--policy.pretrained_init={experiment.grounding}") if preset.pretrain else ()
    arguments = (f"--dataset={data}", f"--out={folder}", f"--seed={seed}")
    yield Stage(
        f"train {policy}",
        ("train", *join(arguments, start, preset.train, variant.train)),
        folder / "finished",
        needs=(
            _info(data),
            *(stage.done for stage in _pretraining(experiment)),
            *_starts_from(experiment, variant.train),
        ),
        resume=("train", f"--out={folder}", "--resume"),
        checkpoints=folder / "checkpoints",
        scrap=folder,
    )
    yield from _evaluated(experiment, policy, condition)


def _starts_from(experiment: Experiment, arguments: tuple[str, ...]) -> Iterator[Path]:
    """The end of the training, in this experiment, of the checkpoint that `--from` names."""
    policies = experiment.policy("").absolute()
    for argument, after in pairwise((*arguments, "")):
        option, given, path = argument.partition("=")
        start = Path(path if given else after).absolute()
        if option == "--from" and policies in start.parents:
            yield policies / start.relative_to(policies).parts[0] / "finished"


def _evaluated(
    experiment: Experiment,
    policy: str,
    condition: Condition,
    control: str = "none",
    episodes: int | None = None,
) -> Iterator[Stage]:
    """Evaluations on every group. `episodes` are those per task of a control, by default the preset's."""
    name = policy if control == "none" else f"{policy}_{control}"
    wanted = None if control == "none" else episodes or experiment.preset.controls_episodes
    trained = experiment.policy(policy)
    for group, suites in experiment.preset.groups.items():
        played = min(wanted or suites.episodes, suites.episodes)
        folder = experiment.run(name, group)
        command = _evaluate(
            experiment.preset, trained, replace(suites, episodes=played), condition,
            f"--control={control}", f"--name={name}", f"--out={folder}",
        )  # fmt: skip
        title = f"evaluate {name} on {group} tasks"
        yield Stage(title, command, folder / "finished", needs=(trained / "finished",))


def _checkpoint(experiment: Experiment, variant: str, step: int) -> Stage:
    preset = experiment.preset
    assert preset.validation is not None
    policy = preset.policy(variant)
    name, trained = f"{policy}_step{step}", experiment.policy(policy)
    folder = experiment.run(name, "validation")
    last = _steps(join(preset.train, preset.variants[variant].train)) or step
    weights = _after_step(trained / "checkpoints", step, last) / "pretrained_model"
    arguments = (f"--name={name}", f"--out={folder}")
    command = _evaluate(preset, weights, preset.validation, preset.conditions[0], *arguments)
    title = f"evaluate {policy} after {step} steps on validation tasks"
    return Stage(title, command, folder / "finished", needs=(trained / "finished", weights), step=step)


def _steps(arguments: tuple[str, ...]) -> int | None:
    """The number of steps that the arguments of a training say; None where they say nothing."""
    steps = None
    for argument, after in pairwise((*arguments, "")):
        option, given, value = argument.partition("=")
        if option == "--steps" and (number := value if given else after).isdecimal():
            steps = int(number)
    return steps


def _after_step(checkpoints: Path, step: int, last: int) -> Path:
    """The checkpoint after a step. LeRobot writes its number with as many digits as the training's last, at least six.

    A training that was resumed with more steps has names of both lengths.
    """
    there = (path for path in numbered(checkpoints) if int(path.name) == step)
    return next(there, checkpoints / f"{step:0{max(6, len(str(last)))}d}")


def _evaluate(
    preset: Preset, policy: Path, group: Group, condition: Condition, *arguments: str
) -> tuple[str, ...]:
    what = (f"--policy={policy}", f"--suite={','.join(group.suites)}", f"--episodes={group.episodes}")
    return ("evaluate", *join(what, condition.arguments, arguments, preset.evaluate))


def _info(dataset: Path) -> Path:
    """The file that says that a dataset is complete."""
    return dataset / "meta" / "info.json"


def finished_part(preset: Preset, out: Path) -> tuple[Preset, list[str]]:
    """Return the preset with only those seeds, controls, conditions, … that are finished, and names of the others.

    A control is finished with all the training seeds that are.

    Raises:
        InspireError: baseline or method of the first training seed are not finished.
    """
    sweep = preset.sweep and replace(preset.sweep, values=preset.sweep.values[:1])
    part = replace(preset, seeds=preset.seeds[:1], controls=(), sweep=sweep, checkpoints=(), ablations={})
    missing = [stage.name for stage in stages(part, out) if not stage.done.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InspireError(
            f"{out} has no results yet: {missing[0]}{more} to do. Run `inspire reproduce` first."
        )
    left: list[str] = []

    def extend(name: str, extended: Preset) -> None:
        """Take the extended preset as the finished part, if it is; else note what is not."""
        nonlocal part
        if all(stage.done.exists() for stage in stages(extended, out)):
            part = extended
        else:
            left.append(name)

    for seed in preset.seeds[1:]:
        extend(f"training seed {seed}", replace(part, seeds=(*part.seeds, seed)))
    for control in preset.controls:
        extend(f"answers overridden: {control}", replace(part, controls=(*part.controls, control)))
    for condition in preset.conditions[1:]:
        assert part.sweep is not None
        assert condition.value is not None
        values = (*part.sweep.values, condition.value)
        extend(condition.title, replace(part, sweep=replace(part.sweep, values=values)))
    for step in preset.checkpoints:
        extend(f"validation after {step} steps", replace(part, checkpoints=(*part.checkpoints, step)))
    for name, ablation in preset.ablations.items():
        for number, seed in enumerate(preset.seeds_of(name), start=1):
            what = name if number == 1 else f"{name} with training seed {seed}"
            trained = replace(ablation, seeds=number)
            if _comparable(part, trained):
                extend(what, replace(part, ablations={**part.ablations, name: trained}))
            else:
                left.append(what)
    return part, left


def _comparable(part: Preset, ablation: Variant) -> bool:
    """Whether what an ablation differs from is in the part, with at least as many training seeds."""
    parent = ablation.of or part.method
    known = parent in (*part.variants, *part.ablations)
    return known and len(part.seeds_of(parent)) >= ablation.seeds
