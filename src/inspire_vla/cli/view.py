"""`inspire view`."""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from inspire_vla.cli.options import Positive, refuse_unused
from inspire_vla.errors import InspireError, did_you_mean


@dataclass(kw_only=True)
class Arguments:
    """Show an episode of a run or of a dataset in rerun, or the answers of a run's episodes as timelines."""

    what: Annotated[Positional[Path], arg(metavar="RUN|DATASET")]
    """Folder of a run, or a labelled LeRobot dataset: a folder, or user/name in LeRobot's cache or on the hub."""
    episode: int = 0
    """Which episode, in the order of the table."""
    save: Annotated[Path | None, arg(metavar="RRD")] = None
    """Write a recording in place of opening a viewer."""
    timeline: Annotated[Path | None, arg(metavar="SVG")] = None
    """Of a run: draw the answers of its episodes over time instead."""
    task: tuple[str, ...] = ()
    """With --timeline: only these tasks."""
    most: Positive = 24
    """With --timeline: at most so many episodes."""


def run(options: Arguments) -> None:
    from inspire_vla.labels.lerobot_files import find_dataset

    folder = find_dataset(options.what)
    if options.timeline:
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
            raise InspireError("--timeline draws runs, which record the answers; this is a dataset.")
        _episode_of_dataset(folder, options)
    else:
        raise InspireError(f"{folder} is neither a run (run.json) nor a LeRobot dataset (meta/info.json).")
    if options.save and not options.timeline:
        print(f"Written: {options.save}; open it with `rerun {options.save}`.")


def _records(folder: Path) -> list[dict[str, Any]]:
    from inspire_vla.evaluation import read_run

    return [vars(r) for r in sorted(read_run(folder).records, key=lambda r: (r.suite, r.task, r.seed))]


def _timeline(folder: Path, target: Path, options: Arguments) -> None:
    from inspire_vla.reports.timeline import write_timelines

    records = _records(folder)
    tasks = {record["task"] for record in records}
    for task in options.task or ():
        if task not in tasks:
            raise InspireError(f"No task {task!r} in {folder}.{did_you_mean(task, tasks)}")
    chosen = [record for record in records if not options.task or record["task"] in options.task]
    shown, total = len(chosen[: options.most]), len(chosen)
    print(f"Written: {write_timelines(target, chosen[:shown])}, {shown} of {total} episodes")
    if shown < total:
        print(f"The first {shown}, in the order of suites, tasks and seeds; --most {total} draws all.")


def _need_rerun() -> None:
    if importlib.util.find_spec("rerun") is None:
        raise InspireError(
            "rerun is not installed, the extra `view`: pip install -c constraints.txt -e '.[view]' in the repository. "
            "--timeline does without."
        )


def _episode_of_run(folder: Path, options: Arguments) -> None:
    _need_rerun()
    from inspire_vla.evaluation import read_arrays
    from inspire_vla.reports.viewer import camera_frames, moments_of
    from inspire_vla.reports.viewer import view as show

    records = _records(folder)
    record = records[_within(options.episode, len(records))]
    frames: list[Any] = []
    actions: Sequence[Any] = ()
    states: Sequence[Any] = ()
    if record["video"]:
        frames = camera_frames(folder / record["video"], record["steps"] + 1)
        actions, states = map(list, read_arrays((folder / record["video"]).with_suffix(".npz")))
    outcome = "success" if record["success"] else record["error"] or "no success"
    if record["success"] is None:
        outcome = "recorded frames"
    name = f"{record['policy']} {record['suite']} {record['task']} {record['seed']}"
    show(
        name, record["instruction"], record["mentions"], moments_of(record, frames, actions, states),
        save=options.save, outcome=outcome,
    )  # fmt: skip


def _episode_of_dataset(folder: Path, options: Arguments) -> None:
    _need_rerun()
    from inspire_vla.reports.viewer import view as show

    episode = DatasetEpisode(folder, options.episode)
    name = f"{folder.name} episode {options.episode}"
    show(name, episode.instruction, episode.mentions, episode.moments(), save=options.save)


class DatasetEpisode:
    """One episode of a LeRobot dataset with its labels."""

    def __init__(self, folder: Path, episode: int) -> None:
        from inspire_vla.labels import read_labelled
        from inspire_vla.labels.recorded import EpisodeReader

        labels, _ = read_labelled(folder)
        self.reader = EpisodeReader(folder)
        _within(episode, self.reader.episodes)
        self.mode = next(iter(labels.modes))
        self.segments = [segment for segment in self.reader.segments if segment.episode == episode]
        self.instruction = self.segments[0].instruction
        self.mentions = tuple(labels.tasks.get(self.instruction, ()))

    def moments(self) -> Iterator[Any]:
        """The frames as `reports.viewer.Moment`s; the answers are the labels, which are true."""
        from inspire_vla.labels.columns import answer_column
        from inspire_vla.reports.viewer import Moment
        from inspire_vla.spatial import decode_answers

        files, column = self.reader.files, answer_column(self.mode)
        recorded = [name for name in ("observation.state", "action") if name in files.info["features"]]
        for segment in self.segments:
            columns = self.reader.columns(segment, [column, *recorded])
            images = {name: self.reader.images(segment, name) for name in files.cameras}
            # answers to another task are about other objects
            objects = len(self.mentions) if segment.instruction == self.instruction else 0
            for row, words in enumerate(decode_answers(columns[column][:, :objects], self.mode).tolist()):
                numbers = {name: self._named(name, columns[name][row].tolist()) for name in recorded}
                yield Moment(
                    segment.start + row,
                    {name.removeprefix("observation.images."): next(image) for name, image in images.items()},
                    truths=[word or None for word in words],
                    state=numbers.get("observation.state", {}),
                    action=numbers.get("action", {}),
                )

    def _named(self, feature: str, numbers: Sequence[float]) -> dict[str, float]:
        names = self.reader.files.names().get(feature) or map(str, range(len(numbers)))
        return dict(zip(names, numbers, strict=True))


def _within(episode: int, count: int) -> int:
    if not 0 <= episode < count:
        raise InspireError(f"There is no episode {episode}; there are {count}, from 0.")
    return episode
