"""inspire view: an episode of a run, or of a dataset, in rerun; or episodes as a timeline figure."""

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError


def view_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("what", metavar="RUN|DATASET", help="folder of a run, or of a labelled LeRobot dataset")
    sub.add_argument(
        "--episode", type=int, default=0, metavar="N", help="which, in the order of the table; default: 0"
    )
    sub.add_argument("--save", metavar="RRD", help="write a recording instead of opening a viewer")
    sub.add_argument(
        "--timeline", metavar="SVG", help="of a run: draw the answers of its episodes over time, instead"
    )
    sub.add_argument("--task", nargs="+", help="with --timeline: only these tasks")
    sub.add_argument(
        "--most", type=int, default=24, help="with --timeline: at most so many, default: %(default)s"
    )


def view(options: argparse.Namespace) -> None:
    """Show what was asked for."""
    folder = Path(options.what)
    if (folder / "run.json").is_file():
        _timeline(folder, options) if options.timeline else _episode_of_run(folder, options)
    elif (folder / "meta" / "info.json").is_file():
        if options.timeline:
            raise InspireError("--timeline draws runs, which hold what was said; this is a dataset.")
        _episode_of_dataset(folder, options)
    else:
        raise InspireError(f"{folder} is neither a run (run.json) nor a LeRobot dataset (meta/info.json).")
    if options.save and not options.timeline:
        print(f"Written: {options.save}; open it with `rerun {options.save}`.")


def _records(folder: Path) -> list[dict[str, Any]]:
    from inspire_vla.evaluation import read_run

    return [vars(r) for r in sorted(read_run(folder).records, key=lambda r: (r.suite, r.task, r.seed))]


def _timeline(folder: Path, options: argparse.Namespace) -> None:
    from inspire_vla.errors import did_you_mean
    from inspire_vla.reports.timeline import write_timelines

    records = _records(folder)
    tasks = {record["task"] for record in records}
    for task in options.task or ():
        if task not in tasks:
            raise InspireError(f"No task {task!r} in {folder}.{did_you_mean(task, tasks)}")
    chosen = [record for record in records if not options.task or record["task"] in options.task]
    print(f"Written: {write_timelines(options.timeline, chosen[: options.most])}")


def _need_rerun() -> None:
    if importlib.util.find_spec("rerun") is None:
        raise InspireError(
            "rerun is not installed, the extra `view`: pip install -c constraints.txt -e '.[view]' in the repository. "
            "--timeline does without."
        )


def _episode_of_run(folder: Path, options: argparse.Namespace) -> None:
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
    name = f"{record['policy']} {record['suite']} {record['task']} {record['seed']}"
    show(
        name, record["instruction"], record["mentions"], moments_of(record, frames, actions, states),
        save=options.save, outcome=outcome,
    )  # fmt: skip


def _episode_of_dataset(folder: Path, options: argparse.Namespace) -> None:
    _need_rerun()
    from inspire_vla.reports.viewer import view as show

    episode = DatasetEpisode(folder, options.episode)
    name = f"{folder.name} episode {options.episode}"
    show(name, episode.instruction, episode.mentions, episode.moments(), save=options.save)


class DatasetEpisode:
    """One episode of a LeRobot dataset with its labels; the other episodes are not read."""

    def __init__(self, folder: Path, episode: int) -> None:
        import pyarrow.dataset

        from inspire_vla.labels import read_labels
        from inspire_vla.labels.lerobot_files import LeRobotFiles

        self.folder, self.episode = folder, episode
        self.files = LeRobotFiles.open(folder)
        _within(episode, self.files.info["total_episodes"])
        labels = read_labels(folder)
        self.mode = next(iter(labels.modes))
        data = pyarrow.dataset.dataset(self.files.data_files())
        table = data.to_table(filter=pyarrow.dataset.field("episode_index") == episode)
        self.rows: list[dict[str, Any]] = table.sort_by("frame_index").to_pylist()
        self.instruction = self.files.tasks[self.rows[0]["task_index"]]
        self.mentions = tuple(labels.tasks.get(self.instruction, ()))

    def moments(self) -> Iterator[Any]:
        """The frames as `reports.viewer.Moment`s; the answers are the labels, which are true."""
        import numpy as np

        from inspire_vla.labels.columns import answer_column
        from inspire_vla.reports.viewer import Moment
        from inspire_vla.spatial import decode_answers

        column = answer_column(self.mode)
        for step, row in enumerate(self.rows):
            codes = np.atleast_1d(row.get(column, []))  # of one number LeRobot makes no list
            words = decode_answers(codes[: len(self.mentions)], mode=self.mode)
            yield Moment(
                step,
                {
                    key.removeprefix("observation.images."): self._image(key, step)
                    for key in self.files.cameras
                },
                truths=[str(word) or None for word in words],
                state=self._numbers("observation.state", row),
                action=self._numbers("action", row),
            )

    def _image(self, key: str, step: int) -> Any:
        import io

        import numpy as np
        from PIL import Image

        if key in self.rows[step]:
            return np.asarray(Image.open(io.BytesIO(self.rows[step][key]["bytes"])).convert("RGB"))
        image = self._videos[step][key]
        return (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)

    @cached_property
    def _videos(self) -> Any:
        from lerobot.datasets import LeRobotDataset

        return LeRobotDataset(self.folder.name, root=self.folder, episodes=[self.episode])

    def _numbers(self, feature: str, row: dict[str, Any]) -> dict[str, float]:
        if feature not in row:
            return {}
        import numpy as np

        numbers = np.atleast_1d(row[feature]).tolist()
        names = self.files.names().get(feature) or [str(i) for i in range(len(numbers))]
        return dict(zip(names, numbers, strict=True))


def _within(episode: int, count: int) -> int:
    if not 0 <= episode < count:
        raise InspireError(f"There is no episode {episode}; there are {count}, from 0.")
    return episode
