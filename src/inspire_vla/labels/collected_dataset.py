"""A collection of a scripted expert's demonstrations, the same for every simulator: its settings, seeds and record."""

import itertools
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inspire_vla import __version__
from inspire_vla.changed_settings import changed_settings
from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import read_json, write_json
from inspire_vla.labels.columns import LabelInfo
from inspire_vla.labels.dataset_writer import build_dataset
from inspire_vla.labels.demonstration import (
    Demonstration,
    SkippedDemonstration,
    save_demonstration,
    save_skipped,
)
from inspire_vla.resumable_job import ResumableJob

COLLECTION_FILE = "meta/inspire_collection.json"
"""Says how the demonstrations were collected: a `CollectionRecord`."""


@dataclass(frozen=True)
class CollectionRecord[Entry]:
    """Content of COLLECTION_FILE: the settings, and how each episode was made."""

    settings: dict[str, Any]
    episodes: tuple[Entry, ...]


def check_numbers(
    *, image_size: int | None, largest_image: int, probabilities: Mapping[str, float], **counts: int
) -> None:
    """Raise InspireError for a number of a collection that is out of range."""
    for name, number in counts.items():
        low = 0 if name == "seed" else 1
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise InspireError(f"{name} must be a whole number of at least {low}, found {number!r}.")
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise InspireError(f"{name} must be between 0 and 1, found {value!r}.")
    if image_size is not None and not 16 <= image_size <= largest_image:
        raise InspireError(f"image_size must be between 16 and {largest_image} pixels, found {image_size!r}.")


def seed_sequence(seed: int, suite: str, task: str, number: int, attempt: int) -> np.random.SeedSequence:
    """Return the randomness of an attempt at the `number`-th episode of a task. seed: of the whole collection."""
    names = (zlib.crc32(suite.encode()), zlib.crc32(task.encode()))
    return np.random.SeedSequence((seed, *names, number, attempt))


def collect_demonstrations[Entry](
    out: Path,
    settings: dict[str, Any],
    episodes: int,
    demonstrate: Callable[[int], Demonstration],
    labels: LabelInfo,
    *,
    entry: Callable[[int, Demonstration | str], Entry],
    entry_type: type[Entry],
    resume: bool,
    **dataset: Any,
) -> CollectionRecord[Entry]:
    """Write the dataset `out`, unless it exists and is the finished one of the same call. Returns its record.

    Args:
        settings: JSON values that determine every episode, besides the labels.
        demonstrate: makes the episode of a number, also in a worker process; or raises SkippedDemonstration.
        entry: the record of an episode, from its number and its demonstration, or why there is none.
        resume: continue an interrupted call with the same settings; False starts again.
        dataset: further arguments of `build_dataset`.

    Raises:
        InspireError: `out` is another dataset, an interrupted call had other settings, the disk is full, or a worker
            process died.
    """
    settings = json.loads(json.dumps(settings | {"version": __version__, "labels": labels.to_json()}))

    def write_record(folder: Path, made: list[Demonstration | str]) -> None:
        record = CollectionRecord(settings, tuple(itertools.starmap(entry, enumerate(made))))
        write_json(folder / COLLECTION_FILE, asdict(record))

    if not out.exists():
        job = ResumableJob(out, settings)
        make_shard = partial(_make_shard, job, demonstrate)
        with job.started(resume=resume):
            build_dataset(job, episodes, make_shard, labels, write_record=write_record, **dataset)
    try:
        record: CollectionRecord[Entry] = read_json(out / COLLECTION_FILE, CollectionRecord[entry_type])  # type: ignore[valid-type]
    except MachineFault:
        raise
    except InspireError:
        raise InspireError(f"{out} exists and is no collected dataset; choose another folder.") from None
    found = record.settings | {"episodes": len(record.episodes)}
    if changed := changed_settings(found, settings | {"episodes": episodes}):
        raise InspireError(
            f"{out} exists: a dataset collected with other settings ({changed}). Choose another folder, or delete it."
        )
    return record


def _make_shard(job: ResumableJob, demonstrate: Callable[[int], Demonstration], episode: int) -> int:
    """Write the shard of one episode. Returns the number of failed attempts."""
    try:
        demonstration = demonstrate(episode)
    except SkippedDemonstration as skipped:
        save_skipped(str(skipped), job.shard(episode))
        return skipped.attempts
    save_demonstration(demonstration, job.shard(episode))
    return len(demonstration.failed_seeds)
