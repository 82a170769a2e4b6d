"""`inspire suites`."""

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from inspire_vla.errors import counted


@dataclass(kw_only=True)
class Arguments:
    """List the suites of the benchmarks, or the tasks of suites with their instructions."""

    suites: Positional[Annotated[tuple[str, ...], arg(metavar="SUITE …")]] = ()
    """Suites, or groups of the tabletop (seen, unseen, validation), whose tasks are listed. By default all suites."""


def run(options: Arguments) -> None:
    from inspire_vla.benchmarks import all_benchmarks, find_suites

    benchmarks = all_benchmarks()
    if not options.suites:
        for name, benchmark in benchmarks.items():
            _list_suites(name, benchmark)
    for suite, benchmark in find_suites(options.suites, benchmarks).items():
        _list_tasks(suite, benchmark)


def _list_suites(name: str, benchmark: Any) -> None:
    from inspire_vla.libero.installation import LiberoMissing

    groups = getattr(benchmark, "groups", {})
    suites = list(benchmark.suites())
    width = max(map(len, suites))
    missing: dict[str, str] = {}
    print(name)
    for suite in suites:
        try:
            size = counted(len(benchmark.tasks(suite)), "task")
        except LiberoMissing as error:
            missing[suite] = str(error)
            continue
        print(f"  {suite:<{width}}  {size:>8}  {groups.get(suite, '')}".rstrip())
    if len(missing) == len(suites):
        print(f"  {next(iter(missing.values()))}")
    elif missing:
        print(f"  Not installed: {', '.join(missing)}. `inspire suites NAME` says how to install one.")


def _list_tasks(suite: str, benchmark: Any) -> None:
    from inspire_vla.benchmarks import unsupported_by_expert

    instructions, unsupported = benchmark.instructions(suite), unsupported_by_expert(suite)
    size = counted(len(instructions), "task")
    if unsupported is None:
        print(f"{suite}: {size}; the scripted expert plays none of them")
    else:
        print(f"{suite}: {size}; the scripted expert can do {len(instructions) - len(unsupported)}")
    width = max(map(len, instructions))
    for task, instruction in instructions.items():
        why = (unsupported or {}).get(task)
        print(f"  {task:<{width}}  {instruction}" + (f"  (no expert: {why})" if why else ""))
