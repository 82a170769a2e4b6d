"""Collect labelled demonstrations of a suite as a LeRobot v3 dataset, in shards that survive a kill (jobs.py).

Each episode is fixed by (suite, seed, task, number) alone, whoever makes it and when: the dataset comes out the same,
byte for byte.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from inspire_vla import __version__
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.jobs import ResumableJob, map_in_processes
from inspire_vla.labels import LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import LabelledDatasetWriter, load_or_make, save_demonstration
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.spatial import Frame
from inspire_vla.tabletop.demonstration import Conditions, demonstrate, task_of
from inspire_vla.tabletop.env import CONTROL_HZ
from inspire_vla.tabletop.suites import SUITES

MAX_OBJECTS = 4
"""Width of the label columns: the most mentions of an instruction of any suite."""
ROBOT_TYPE = "inspire_tabletop"
COLLECTION_FILE = "meta/inspire_collection.json"
NOISE = 0.15
"""Default noise of the executed action, in units of it: 6 mm a step."""


@dataclass(frozen=True)
class CollectReport:
    """What came out. `failed`: task name → attempts of the expert that failed and were replaced."""

    root: Path
    episodes: int
    frames: int
    failed: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        tried = self.episodes + sum(self.failed.values())
        done = f"{self.episodes} episodes, {self.frames} frames, in {self.seconds:.0f} s"
        lines = [f"{self.root}: {done}; the expert succeeded in {self.episodes} of {tried} attempts."]
        lines += [f"  failed and replaced: {count} × {task}" for task, count in sorted(self.failed.items())]
        return "\n".join(lines)


def collect(
    suite: str,
    episodes: int,
    out: str | Path,
    *,
    seed: int = 0,
    processes: int = 1,
    image_size: int = 96,
    wrist: bool = False,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    noise: float = NOISE,
    perturbations: float = 0.0,
    layout_randomness: float = 0.0,
    resume: bool = True,
    progress: bool = True,
) -> CollectReport:
    """Let the expert demonstrate, label every frame, write `out`: a dataset that stock LeRobot tools open.

    Columns: observation.images.image (and image2, the wrist camera), observation.state (8,), action (7,),
    observation.answers.<mode> int16 (MAX_OBJECTS,), and the privileged truth that the labels come from:
    privileged.gripper_to_object_m float32 (3·MAX_OBJECTS,) and privileged.grasped int16 (MAX_OBJECTS,), zero
    beyond the objects of the instruction.

    Args:
        episodes: successful episodes, dealt round-robin to the suite's tasks.
        out: folder to make; it must not exist, unless it is the finished dataset of this very call.
        noise: standard deviation of the noise on executed translations; the clean action is what is recorded.
        perturbations: chance, a step, that the hand is shoved or the gripper does the opposite for some steps; 0.04
            makes one or two an episode. See disturbance.py.
        layout_randomness: see scenes.py.
        resume: go on from what an interrupted call with the same settings left; else begin anew.

    Raises:
        InspireError: an unknown suite, mode or frame; numbers out of range; `out` exists; an interrupted call
            had other settings; the disk is full; a worker died.
    """
    started = time.monotonic()
    if suite not in SUITES:
        raise InspireError(f"Unknown suite {suite!r}.{did_you_mean(str(suite), SUITES)}")
    for name, number, low in (("episodes", episodes, 1), ("processes", processes, 1), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise InspireError(f"{name} must be a whole number of at least {low}, found {number!r}.")
    for name, value in (
        ("noise", noise),
        ("perturbations", perturbations),
        ("layout_randomness", layout_randomness),
    ):
        if not 0 <= value <= 1:
            raise InspireError(f"{name} must be between 0 and 1, found {value!r}.")
    if isinstance(image_size, bool) or not isinstance(image_size, int) or not 16 <= image_size <= 640:
        raise InspireError(f"image_size must be between 16 and 640 pixels, found {image_size!r}.")
    cameras = ("image", "image2") if wrist else ("image",)
    conditions = Conditions(
        suite, seed, cameras, image_size, float(noise), float(perturbations), float(layout_randomness)
    )
    labels = LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes={mode: ModeRule() for mode in modes},
        tasks={task.instruction: task.words for task in SUITES[suite]},
        max_objects=MAX_OBJECTS,
        labeller=LABELLER,
    )
    settings = json.loads(
        json.dumps(asdict(conditions) | {"version": __version__, "labels": labels.to_json()})
    )
    out = Path(out).absolute()
    if out.exists():
        return _finished(out, settings, episodes)
    job = ResumableJob(out, settings)
    with job.started(resume=resume):
        _make_missing(conditions, episodes, job, processes, progress)
        record = job.finish(partial(_assemble, conditions, labels, episodes, job, progress))
    return _report(out, record, time.monotonic() - started)


def _make_missing(
    conditions: Conditions, episodes: int, job: ResumableJob, processes: int, progress: bool
) -> None:
    missing = job.missing(episodes)
    with tqdm(total=episodes, initial=episodes - len(missing), unit="episode", disable=not progress) as bar:
        bar.set_description(f"demonstrating {conditions.suite}")
        failed = 0
        for attempts in map_in_processes(partial(_work, conditions, job), missing, processes):
            failed += attempts
            bar.update()
            bar.set_postfix(failed=failed, refresh=False)


def _work(conditions: Conditions, job: ResumableJob, episode: int) -> int:
    """Make the piece of one episode; returns the number of failed attempts."""
    demonstration = demonstrate(conditions, episode)
    save_demonstration(demonstration, job.shard(episode))
    return len(demonstration.failed_seeds)


def _assemble(
    conditions: Conditions,
    labels: LabelInfo,
    episodes: int,
    job: ResumableJob,
    progress: bool,
    assembling: Path,
) -> dict[str, Any]:
    """Write the dataset from the episodes' files. Returns the record of the collection."""
    rows: list[dict[str, Any]] = []
    with LabelledDatasetWriter(
        assembling,
        labels,
        name=conditions.suite,
        fps=CONTROL_HZ,
        robot_type=ROBOT_TYPE,
        image_size=conditions.image_size,
        cameras=conditions.cameras,
    ) as dataset:
        for episode in tqdm(
            range(episodes), desc="writing the dataset", unit="episode", disable=not progress
        ):
            path = job.shard(episode)
            demonstration = load_or_make(path, partial(_work, conditions, job, episode))
            if demonstration.task_name != task_of(conditions, episode).name:
                raise InspireError(f"{path} is of task {demonstration.task_name!r}: from another collection?")
            dataset.add_demonstration(demonstration)
            rows.append(
                {
                    "task": demonstration.task_name,
                    "seed": demonstration.seed,
                    "frames": len(demonstration),
                    "failed_seeds": list(demonstration.failed_seeds),
                }
            )
    record = {"settings": job.settings, "episodes": rows}
    (assembling / COLLECTION_FILE).write_text(
        json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return record


def _finished(out: Path, settings: dict[str, Any], episodes: int) -> CollectReport:
    """The report of a dataset that is already there, if it is the one asked for."""
    try:
        record = json.loads((out / COLLECTION_FILE).read_text(encoding="utf-8"))
        same = record["settings"] == settings and len(record["episodes"]) == episodes
    except (OSError, ValueError, KeyError, TypeError):
        raise InspireError(f"{out} exists and is no collected dataset; choose another folder.") from None
    if not same:
        raise InspireError(
            f"{out} exists: a dataset of {len(record['episodes'])} episodes collected with other settings or "
            "another number of them. Choose another folder, or delete it."
        )
    return _report(out, record, 0.0)


def _report(out: Path, record: dict[str, Any], seconds: float) -> CollectReport:
    failed: Counter[str] = Counter()
    for row in record["episodes"]:
        if row["failed_seeds"]:
            failed[row["task"]] += len(row["failed_seeds"])
    frames = sum(row["frames"] for row in record["episodes"])
    return CollectReport(out, len(record["episodes"]), frames, dict(failed), seconds)
