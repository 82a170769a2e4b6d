"""`inspire train`."""

import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Suppress, arg

from inspire_vla.cli.options import EpisodesOrCount, PositiveOrNone, SeedOrNone, holds_out
from inspire_vla.errors import InspireError
from inspire_vla.files import check_writable, files_below
from inspire_vla.lerobot_plugin.checkpoint_files import TRAIN_CONFIG

RECIPE = "nano_tabletop"
"""The default recipe."""
WITH_OPTIMIZER = 3
"""A saved training holds the weights and two moments of each."""
SMALL_CHECKPOINT = 64 << 20
"""Bytes of a saved training of nano."""


@dataclass(kw_only=True)
class Arguments:
    """Train a policy with LeRobot; words after -- go to lerobot-train, such as --policy.vq.levels=3."""

    out: Path
    """Folder for checkpoints."""
    dataset: Path | None = None
    """A labelled LeRobot dataset: a folder, or user/name in LeRobot's cache or on the hub. With --resume only if it
    moved."""
    recipe: str | None = None
    """Named configuration: nano_tabletop (the default), nano_tabletop_flow, nano_own, nano_own_flow, nano_libero,
    smolvla or pi05."""
    reasoning: bool = False
    """Train InSpire."""
    no_reasoning: bool = False
    """Train the base model. Without either option, the recipe or checkpoint decides."""
    holdout: EpisodesOrCount = None
    """Episodes to keep out of the training, for `inspire evaluate --dataset`: a number of them, taken from the end of
    each task in turn, or which, such as 40:50 or 3,7. Statistics and action tokenizer are of the others alone."""
    steps: PositiveOrNone = None
    """Training steps."""
    batch_size: PositiveOrNone = None
    """Samples per step."""
    seed: SeedOrNone = None
    """Seed of initialisation and data order."""
    start: Annotated[str | None, arg(name="from", metavar="CHECKPOINT")] = None
    """Start from the weights of this checkpoint."""
    resume: bool = False
    """Continue from the newest whole checkpoint in --out."""
    lerobot_arguments: Suppress[tuple[str, ...]] = ()
    """Words after --."""


@holds_out("training into")
def run(options: Arguments) -> None:
    from inspire_vla.lerobot_plugin.training_start import check_options

    check_options(options.lerobot_arguments)
    if options.resume and (text := _finished(options)):
        print(text)
        return
    recipe, arguments = train_arguments(options)  # checked before LeRobot loads, which takes seconds
    if options.dataset is not None:
        from inspire_vla.labels.find_dataset import find_dataset
        from inspire_vla.labels.lerobot_files import LeRobotFiles

        LeRobotFiles.open(find_dataset(options.dataset))
    if sys.stderr.isatty():
        print("inspire train: loading LeRobot …", file=sys.stderr, flush=True)
    from inspire_vla.lerobot_plugin.training import train

    train(arguments, recipe=recipe)


def train_arguments(options: Arguments) -> tuple[str | None, list[str]]:
    """Return the recipe (None when resuming) and the arguments for lerobot-train.

    Raises:
        InspireError: the folder cannot be written or resumed, or an option would be ignored by a resumed training.
    """
    from inspire_vla.lerobot_plugin.training_start import check_start

    arguments = _resumed(options) if options.resume else _new(options)
    if options.start is not None:
        arguments.append(f"--policy.path={_checkpoint_to_start_from(options.start, options.out)}")
    arguments += _settings(options)
    recipe = None if options.resume else options.recipe or RECIPE
    check_start(arguments, recipe, chosen=options.recipe is not None)
    return recipe, arguments


def check_planned(options: Arguments, evaluated: Collection[int]) -> None:
    """Check a training before its dataset is there, as far as that is possible.

    Args:
        evaluated: training steps after which its checkpoints are evaluated.

    Raises:
        InspireError: as `train_arguments`; and for a step after which no checkpoint is saved.
    """
    from inspire_vla.lerobot_plugin.training_start import check_options, check_saved, check_start
    from inspire_vla.recipes import recipe_file

    check_options(options.lerobot_arguments)
    arguments = _settings(options)
    if options.resume:
        check_saved(evaluated, arguments, _checkpoint_to_resume(options) / "pretrained_model" / TRAIN_CONFIG)
        return
    start = []
    if options.start is not None:
        start.append(f"--policy.path={_checkpoint_to_start_from(options.start, options.out)}")
    recipe = options.recipe or RECIPE
    file = recipe_file(recipe)
    check_start([*start, *arguments], recipe, chosen=options.recipe is not None)
    check_saved(evaluated, arguments, file)
    from inspire_vla.lerobot_plugin.lerobot_host import check_configuration  # loads LeRobot

    check_configuration([f"--config_path={file}", *start, *arguments])


def _settings(options: Arguments) -> list[str]:
    """The arguments for lerobot-train that do not say where something lies. Raises InspireError for contradictions."""
    if options.reasoning and options.no_reasoning:
        raise InspireError("--reasoning and --no-reasoning exclude each other.")
    given: dict[str, int | None] = {
        "steps": options.steps,
        "batch_size": options.batch_size,
        "seed": options.seed,
    }
    arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
    if options.reasoning or options.no_reasoning:
        arguments.append(f"--policy.reasoning.enabled={str(options.reasoning).lower()}")
    return [*arguments, *options.lerobot_arguments]


def _resumed(options: Arguments) -> list[str]:
    """The arguments that continue the training in --out from its newest whole checkpoint."""
    checkpoint, out = _checkpoint_to_resume(options), options.out
    config = checkpoint / "pretrained_model" / TRAIN_CONFIG
    moved = _dataset_to_resume(options, config)
    check_writable(out, needed=sum(file.stat().st_size for file in files_below(checkpoint)))
    arguments = [f"--config_path={config}", "--resume=true", f"--output_dir={out}"]
    return arguments if moved is None else [*arguments, f"--dataset.root={moved}"]


def _checkpoint_to_resume(options: Arguments) -> Path:
    """The newest whole checkpoint in --out. Raises InspireError where there is none, or it would ignore an option."""
    from inspire_vla.lerobot_plugin.checkpoints import newest_checkpoint

    checkpoint = newest_checkpoint(options.out, to_resume=True)
    if checkpoint is None:
        raise InspireError(
            f"nothing to resume in {options.out}: there is no whole checkpoint in it. Start again: leave out --resume, "
            "and give another --out."
        )
    _refuse_unresumable(options)
    return checkpoint


def _new(options: Arguments) -> list[str]:
    """The arguments of a new training: its dataset, its folder and the episodes that are trained on."""
    from inspire_vla.labels.find_dataset import find_dataset
    from inspire_vla.lerobot_plugin.checkpoints import newest_checkpoint

    out = options.out
    if options.dataset is None:
        raise InspireError(
            "--dataset is needed: a labelled dataset, as `inspire label` or `inspire collect` writes it."
        )
    if out.exists():
        if newest_checkpoint(out, to_resume=True) is None:
            raise InspireError(f"{out} exists, without a checkpoint to continue from. Give another --out.")
        raise InspireError(f"{out} exists. Give another --out, or --resume to continue it.")
    check_writable(out, needed=SMALL_CHECKPOINT)
    root = find_dataset(options.dataset)
    arguments = [f"--dataset.root={root}", f"--output_dir={out}"]
    if root != options.dataset:
        arguments.append(f"--dataset.repo_id={options.dataset}")
    if options.holdout is not None:
        arguments.append(f"--dataset.episodes={_training_episodes(root, options)}")
    return arguments


def _checkpoint_to_start_from(name: str, out: Path) -> Path:
    """The folder of --from. Raises InspireError for no checkpoint, or where a training from it has no room."""
    from inspire_vla.lerobot_plugin.checkpoint_schema import check_checkpoint
    from inspire_vla.lerobot_plugin.checkpoints import find, weights

    start = find(name)
    check_checkpoint(start)  # before LeRobot reads it
    check_writable(out, needed=WITH_OPTIMIZER * weights(start).stat().st_size)
    return start


def _training_episodes(root: Path, options: Arguments) -> list[int]:
    """The episodes that --holdout leaves. Raises InspireError for other episodes than the dataset has."""
    from inspire_vla.labels.episode_selection import format_episodes, hold_out, parse_episodes
    from inspire_vla.labels.recorded import EpisodeReader

    if any(word.startswith("--dataset.episodes") for word in options.lerobot_arguments):
        raise InspireError(
            "--holdout chooses the episodes that are trained on; leave out --dataset.episodes."
        )
    reader, text = EpisodeReader(root), options.holdout or ""
    count = text.isdecimal()
    held_out = hold_out(reader.segments, int(text)) if count else parse_episodes(text, reader.episodes)
    left = sorted({*range(reader.episodes)} - {*held_out})
    if not left:
        raise InspireError(
            f"--holdout {text} leaves no episode to train on; the dataset has {reader.episodes}."
        )
    print(f"Held out of the training: episodes {format_episodes(held_out)}", file=sys.stderr)
    return left


def _finished(options: Arguments) -> str | None:
    """What to say where a training that is to be resumed has taken all its steps; else None."""
    from inspire_vla.lerobot_plugin.checkpoints import newest_checkpoint
    from inspire_vla.lerobot_plugin.training_start import finished_at

    checkpoint = newest_checkpoint(options.out, to_resume=True)
    if checkpoint is None:
        return None
    _refuse_unresumable(options)
    folder = checkpoint / "pretrained_model"
    steps = finished_at(
        folder, [f"--steps={options.steps}"] * bool(options.steps) + [*options.lerobot_arguments]
    )
    if steps is None:
        return None
    return (
        f"This training is finished, at step {steps:,}: nothing is left to resume. Its checkpoint: {folder}\n"
        f"`inspire train --out {shlex.quote(str(options.out))} --resume --steps {2 * steps}` trains on, up to step "
        f"{2 * steps:,}."
    )


def how_to_resume(options: Arguments) -> str:
    """Say how an interrupted training is continued."""
    from inspire_vla.lerobot_plugin.checkpoints import newest_checkpoint

    if newest_checkpoint(options.out, to_resume=True) is not None:
        return f"`inspire train --out {shlex.quote(str(options.out))} --resume` continues from the last checkpoint."
    return "No checkpoint was saved yet. The same command with another --out starts again."


def _refuse_unresumable(options: Arguments) -> None:
    """Raise InspireError for an option that a resumed training would ignore."""
    if options.recipe is not None:
        raise InspireError("--resume uses the configuration of the checkpoint; leave out --recipe.")
    if options.start is not None:
        raise InspireError("--resume continues from the checkpoint in --out; leave out --from.")
    if options.holdout is not None:
        raise InspireError("--resume keeps the episodes that the training held out; leave out --holdout.")


def _dataset_to_resume(options: Arguments, config: Path) -> Path | None:
    """The dataset's folder, where it is not the one that the checkpoint names any more.

    Raises:
        InspireError: it is gone, or another dataset is given; says what can be done.
    """
    from inspire_vla.lerobot_plugin.checkpoint_schema import read_train_config

    root = read_train_config(config).dataset.root
    if options.dataset is None:
        if root is not None and not Path(root).is_dir():
            raise InspireError(
                f"{options.out} is trained on {root}, which is not there any more. If it moved: --resume --dataset NEW "
                "(its content is compared)."
            )
        return None
    from inspire_vla.labels.find_dataset import find_dataset
    from inspire_vla.lerobot_plugin.checkpoints import check_same_dataset

    given = find_dataset(options.dataset)
    if root is not None and Path(root).resolve() == given.resolve():
        return None
    check_same_dataset(options.out, given)
    return given
