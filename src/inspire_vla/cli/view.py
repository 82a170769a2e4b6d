"""`inspire view`."""

import importlib.util
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from inspire_vla.cli.options import Positive, refuse_unused
from inspire_vla.errors import InspireError, counted, did_you_mean

if TYPE_CHECKING:
    from inspire_vla.evaluation import Run


@dataclass(kw_only=True)
class Arguments:
    """Show an episode of a run or of a dataset in rerun, or the answers of a run's episodes as timelines."""

    what: Annotated[Positional[Path], arg(metavar="RUN|DATASET")]
    """Folder of a run, or a LeRobot dataset, with or without labels: a folder, or user/name in LeRobot's cache or on
    the hub."""
    episode: int | None = None
    """Which episode, from 0: of a dataset its number, of a run on its frames too; of another run in the order of suite,
    task and seed. By default the first."""
    save: Annotated[Path | None, arg(metavar="RRD")] = None
    """Write a recording in place of opening a viewer."""
    timeline: Annotated[Path | None, arg(metavar="SVG")] = None
    """Of a run: draw the answers of its episodes over time instead."""
    task: tuple[str, ...] = ()
    """With --timeline: only these tasks."""
    most: Positive = 24
    """With --timeline: at most so many episodes."""


def run(options: Arguments) -> None:
    from inspire_vla.files import check_file
    from inspire_vla.labels.find_dataset import find_dataset
    from inspire_vla.reports.viewer import check_save

    check_save(options.save)
    folder = find_dataset(options.what)
    if options.timeline:
        check_file(options.timeline, ".svg", ".png", ".pdf")
        refuse_unused(options, ["episode", "save"], "--timeline")
    else:
        refuse_unused(options, ["task", "most"], "Showing one episode", "it belongs to --timeline.")
    if (folder / "run.json").is_file():
        if options.timeline:
            _timeline(folder, options.timeline, options)
        else:
            _episode_of_run(folder, options)
    elif (folder / "meta" / "info.json").is_file():
        if options.timeline:
            raise InspireError(
                f"--timeline draws runs, which record the answers; {folder} is a dataset. `inspire labels "
                f"{shlex.quote(str(folder))} --figure PNG` draws its labels over time."
            )
        _episode_of_dataset(folder, options)
    else:
        raise InspireError(f"{folder} is neither a run (run.json) nor a LeRobot dataset (meta/info.json).")
    if options.save and not options.timeline:
        print(f"Written: {options.save}; open it with `rerun {options.save}`.")


def _records(run: "Run") -> list[dict[str, Any]]:
    return [vars(r) for r in sorted(run.records, key=lambda r: (r.suite, r.task, r.seed))]


def _timeline(folder: Path, target: Path, options: Arguments) -> None:
    from inspire_vla.evaluation import read_run
    from inspire_vla.reports.timeline import write_timelines

    records = _records(read_run(folder))
    tasks = {record["task"] for record in records}
    for task in options.task or ():
        if task not in tasks:
            raise InspireError(f"No task {task!r} in {folder}.{did_you_mean(task, tasks)}")
    chosen = [record for record in records if not options.task or record["task"] in options.task]
    shown, total = len(chosen[: options.most]), len(chosen)
    print(f"Written: {write_timelines(target, chosen[:shown])}, {shown} of {counted(total, 'episode')}")
    if shown < total:
        print(f"The first {shown}, in the order of suites, tasks and seeds; --most {total} draws all.")


def _need_rerun(instead: str) -> None:
    if importlib.util.find_spec("rerun") is None:
        raise InspireError(
            "rerun is not installed, the extra `view`: pip install -c constraints.txt -e '.[view]' in the repository. "
            f"{instead} does without."
        )


def _episode_of_run(folder: Path, options: Arguments) -> None:
    from inspire_vla.evaluation import read_arrays, read_run
    from inspire_vla.labels.episode_selection import format_episodes
    from inspire_vla.reports.moments import ACTION_NAMES, check_episode, moments_of
    from inspire_vla.reports.viewer import view as show

    run = read_run(folder)
    records = _records(run)
    numbers = [record["episode"] for record in records] if run.is_offline else list(range(len(records)))
    number = next(iter(numbers), 0) if options.episode is None else options.episode
    if run.is_offline and number not in numbers:
        raise InspireError(f"Episode {number} was not evaluated. Possible: {format_episodes(numbers)}.")
    check_episode(number, max(numbers, default=-1) + 1)
    record = records[numbers.index(number)]
    filmed = [number for number, one in zip(numbers, records, strict=True) if one["video"]]
    _need_rerun(f"`inspire view {shlex.quote(str(folder))} --timeline SVG`")
    frames: list[Any] = []
    actions: Sequence[Any] = ()
    states: Sequence[Any] = ()
    if record["video"]:
        from inspire_vla.reports.video import camera_frames

        frames = camera_frames(folder / record["video"], record)
        actions, states = map(list, read_arrays((folder / record["video"]).with_suffix(".npz")))
    outcome = "success" if record["success"] else record["error"] or "no success"
    if record["success"] is None:
        outcome = "recorded frames"
    name = f"{record['policy']} {record['suite']} {record['task']} {record['seed']}"
    print(f"Episode {number} of {len(records)}: {name}, {outcome}")
    if not record["video"]:
        others = f"the first that was is {filmed[0]}" if filmed else "none was: `inspire evaluate --videos N`"
        print(f"It was not filmed, so images, states and actions are missing; {others}.")
    recorded = run.info.get("plan", {}).get("dataset", {})
    names = recorded.get("action_names", ()) if run.is_offline else ACTION_NAMES
    show(
        name, record["instruction"], record["mentions"],
        moments_of(record, frames, actions, states, action_names=names), save=options.save, outcome=outcome,
    )  # fmt: skip


def _episode_of_dataset(folder: Path, options: Arguments) -> None:
    from inspire_vla.reports.moments import DatasetEpisode
    from inspire_vla.reports.viewer import view as show

    number = options.episode or 0
    episode = DatasetEpisode(folder, number)
    _need_rerun(f"`inspire labels {shlex.quote(str(folder))} --figure PNG`")
    name = f"{folder.name} episode {number}"
    print(f"Episode {number} of {episode.reader.episodes}: {episode.instruction!r}")
    if episode.mode is None:
        print("It has no labels; `inspire label` adds them.")
    show(name, episode.instruction, episode.mentions, episode.moments(), save=options.save)
