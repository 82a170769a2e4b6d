"""`inspire reproduce`: the experiment of docs/appendix/protocol.md, from images to the results page."""

import argparse
from pathlib import Path

from inspire_vla.cli.number_arguments import positive


def reproduce_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--preset", default="laptop", help="laptop (default), gpu, full, smoke, or a file of one's own"
    )
    sub.add_argument("--out", help="folder of the experiment, default: runs/PRESET")
    sub.add_argument("--minutes", type=float, help="stop after so long; the same command goes on from there")
    sub.add_argument(
        "--jobs", type=positive, default=1, help="commands side by side, each on its share of the cores"
    )
    sub.add_argument(
        "--results-only", action="store_true", help="run nothing: the results of what is finished in OUT"
    )
    sub.add_argument("--dry-run", action="store_true", help="only print the commands")
    sub.add_argument(
        "--docs",
        metavar="DOCUMENT",
        help="write the results between the markers of this document instead of OUT/results.md",
    )
    sub.add_argument(
        "--keep",
        metavar="FOLDER",
        help="also copy what the results rest on here: every episode, no weights, no images; "
        "--results-only --out FOLDER writes the same results from it",
    )


def reproduce(options: argparse.Namespace) -> int:
    from inspire_vla.cli.experiment_results import write_results
    from inspire_vla.evaluation.provenance import commit
    from inspire_vla.experiment import keep_evidence, read_preset, refuse_evidence, run_stages, stages

    preset = read_preset(options.preset)
    out = Path(options.out or f"runs/{preset.name}")
    plan = stages(preset, out)
    if options.dry_run:
        for stage in plan:
            print("done   " if stage.done.exists() else "to do  ", "inspire", *stage.next_command())
        return 0
    if not options.results_only:
        if not all(stage.done.exists() for stage in plan):
            refuse_evidence(out)
        out.mkdir(parents=True, exist_ok=True)
        progress = run_stages(plan, out, minutes=options.minutes, commit=commit, jobs=options.jobs)
        if not progress.finished:
            print(f"{progress.done} of {progress.total} stages are done; the same command goes on.")
            return 0
    print(f"Results: {write_results(preset, out, Path(options.docs) if options.docs else None)}")
    if options.keep:
        keep_evidence(out, Path(options.keep))
        print(f"What they rest on: {options.keep}")
    return 0
