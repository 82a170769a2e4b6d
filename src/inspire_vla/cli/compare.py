"""`inspire compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from inspire_vla.cli.options import holds_out


@dataclass
class Arguments:
    """Compare runs, paired by task and initial state."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN …")]]
    """Folders of runs. The others are compared with the first. Shards of one run count as one."""
    out: Path | None = None
    """Also write the comparison to this JSON file."""
    tasks: bool = False
    """Show every task."""


@holds_out("writing")
def run(options: Arguments) -> None:
    from inspire_vla.evaluation import compare, join_shards, read_run
    from inspire_vla.evaluation.runs import check_no_file_of_run
    from inspire_vla.files import check_file, write_json
    from inspire_vla.reports.tables import print_comparison

    if options.out:
        check_file(options.out, ".json")
        check_no_file_of_run(options.out)
    comparison = compare(join_shards([read_run(path) for path in options.runs]))
    print_comparison(comparison, tasks=options.tasks)
    if options.out:
        write_json(options.out, comparison)
        print(f"Written: {options.out}")
