"""`inspire reproduce`."""

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from inspire_vla.cli.options import Positive, refuse_unused
from inspire_vla.errors import InspireError, counted, did_you_mean

if TYPE_CHECKING:
    from inspire_vla.experiment import Stage


@dataclass(kw_only=True)
class Arguments:
    """Run an experiment, such as that of docs/results.md, and write its results."""

    preset: str = "laptop"
    """Included preset (laptop, flow, libero, libero_small, libero_small_pretrained, gpu, full, smoke, laptop_27_tasks)
    or a YAML file."""
    out: Path | None = None
    """Folder of the experiment; by default runs/PRESET."""
    minutes: float | None = None
    """Stop after so many minutes; the same command resumes."""
    jobs: Positive = 1
    """Commands side by side, each on its share of the cores."""
    results_only: bool = False
    """Run nothing; write the results of what is finished in OUT."""
    dry_run: bool = False
    """Only print the commands, and what --keep and --docs would write."""
    docs: Annotated[Path | None, arg(metavar="DOCUMENT")] = None
    """Write the results between the markers of this document in place of OUT/results.md."""
    keep: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Also copy the evidence here: every episode, no weights, no images. --results-only --out FOLDER writes the same
    results from it."""
    weights: bool = False
    """With --keep: also the weights, with which the evaluations can go on elsewhere."""


def run(options: Arguments) -> None:
    from inspire_vla.evaluation.provenance import commit
    from inspire_vla.experiment import (
        check_evidence_folder,
        keep_evidence,
        read_preset,
        refuse_evidence,
        run_otherwise,
        run_stages,
        stages,
        write_results,
    )
    from inspire_vla.files import check_folder, folder_lock
    from inspire_vla.reports.results import check_document

    if options.minutes is not None and not options.minutes > 0:
        raise InspireError(f"--minutes must be above 0, found {options.minutes}.")
    if options.weights and options.keep is None:
        raise InspireError("--weights goes with --keep FOLDER, which copies the evidence.")
    if options.results_only:
        refuse_unused(options, ["minutes", "jobs", "dry_run"], "--results-only, which runs nothing,")
    preset = read_preset(options.preset)
    out = options.out or Path("runs") / preset.name
    check_folder(out)
    if options.docs is not None:
        check_document(options.docs)
    if options.keep is not None:
        check_evidence_folder(options.keep)
    plan = stages(preset, out)
    if options.dry_run:
        for stage in plan:
            print("done   " if stage.done.exists() else "to do  ", "inspire", *stage.next_command())
        if options.keep is not None:
            print(f"then    evidence{' with weights' if options.weights else ''} in {options.keep}")
        if options.docs is not None:
            print(f"then    results in {options.docs}")
        return
    with folder_lock(out, "running an experiment in"):
        if not options.results_only:
            if others := run_otherwise(plan, out):
                print(
                    f"warning: {out} holds {counted(len(others), 'finished stage')} that other options of the preset "
                    f"made, such as {others[0]}. The results mix both; another --out runs all again.",
                    file=sys.stderr,
                )
            if to_do := [stage for stage in plan if not stage.done.exists()]:
                refuse_evidence(out, to_do)
                _check_commands(to_do)
            progress = run_stages(plan, out, minutes=options.minutes, commit=commit, jobs=options.jobs)
        if options.keep is not None:  # also of an experiment that is not finished
            keep_evidence(out, options.keep, weights=options.weights)
            print(f"Evidence: {options.keep}")
        if not options.results_only and not progress.finished:
            print(f"{progress.done} of {progress.total} stages are done; the same command resumes.")
            return
        print(f"Results: {write_results(preset, out, options.docs)}")


def _check_commands(to_do: "Sequence[Stage]") -> None:
    """Raise InspireError for a command that would end in an error, before the first of them runs.

    What needs files that earlier stages make is not checked.
    """
    from inspire_vla.cli import COMMANDS, parse

    for stage in to_do:
        command, said = stage.next_command(), io.StringIO()
        name = command[0]
        if name not in COMMANDS:
            raise InspireError(f"{stage.name}: unknown command {name!r}.{did_you_mean(name, COMMANDS)}")
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                options = parse(command)
            if name in _CHECKS:
                _CHECKS[name](options, stage, to_do)
        except InspireError as error:
            raise InspireError(f"{stage.name}: {error}") from None
        except SystemExit:
            raise InspireError(
                f"{stage.name}: this is not possible: inspire {shlex.join(command)}\n{said.getvalue()}"
            ) from None


def _check_pretraining(options: Any, *_: object) -> None:
    from inspire_vla.backbones.devices import check_device
    from inspire_vla.recipes import PRETRAINING_RECIPES, recipe_file

    check_device(options.device)
    recipe_file(options.recipe, PRETRAINING_RECIPES)


def _check_collection(options: Any, *_: object) -> None:
    from inspire_vla.cli.collect import check_planned

    check_planned(options)


def _check_training(options: Any, stage: "Stage", to_do: "Sequence[Stage]") -> None:
    from inspire_vla.cli.train import check_planned

    before = {other.done.absolute() for other in to_do}.intersection(stage.needs)
    if options.start is not None and any(
        need.parent in Path(options.start).absolute().parents for need in before
    ):
        options.start = None  # a checkpoint that is not there yet
    check_planned(
        options, [other.step for other in to_do if other.step is not None and other.needs[0] == stage.done]
    )


def _check_labels(options: Any, *_: object) -> None:
    from inspire_vla.cli.label import check_planned

    check_planned(options)


def _check_evaluation(options: Any, stage: "Stage", _: object) -> None:
    from inspire_vla.cli.evaluate import check_planned

    trained, *checkpoint = stage.needs
    if trained.exists() and checkpoint and not checkpoint[0].exists():
        raise InspireError(f"the training is finished, and there is no checkpoint {checkpoint[0]}.")
    check_planned(options)


_CHECKS: dict[str, Callable[[Any, "Stage", "Sequence[Stage]"], None]] = {
    "pretrain": _check_pretraining,
    "collect": _check_collection,
    "label": _check_labels,
    "train": _check_training,
    "evaluate": _check_evaluation,
}
"""Command → what is checked of it beside its form: its options, its stage and all that are to do."""
