"""An import of recorded demonstrations, the same for every format: it goes on after an interruption, and once only."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import json_sha256, read_json, write_json
from inspire_vla.labels.columns import LabelInfo
from inspire_vla.labels.dataset_writer import build_dataset
from inspire_vla.labels.demonstration import Demonstration, save_demonstration, save_skipped
from inspire_vla.resumable_job import ResumableJob

IMPORT_FILE = "meta/inspire_import.json"
"""Says how a dataset was imported: an `ImportRecord`."""


@dataclass(frozen=True)
class ImportRecord[Report]:
    """Content of IMPORT_FILE.

    settings: hash of each, because some name files of this machine. report: its `root` is not stored.
    """

    settings: dict[str, str]
    report: Report


def import_dataset[Report](
    out: Path,
    settings: dict[str, Any],
    count: int,
    read: Callable[[int], Demonstration],
    labels: LabelInfo,
    report: Report,
    add: Callable[[int, Demonstration | str], None],
    *,
    what: str,
    announce: Callable[[str], None] | None,
    **dataset: Any,
) -> Report:
    """Write the dataset `out`, unless it exists and is the finished one of the same call. Returns its report.

    Args:
        settings: JSON values that determine every episode, besides the labels.
        count: recordings.
        read: makes the demonstration of a recording's number, also in a worker process. It raises InspireError for one
            that is left out, and MachineFault where all end.
        report: a dataclass with `root`. `add` counts in it: a number, and its demonstration or why it is left out.
        what: the recordings in words.
        announce: called with what an interrupted call with other settings has left, which is removed.
        dataset: further arguments of `build_dataset`.

    Raises:
        MachineFault: that of `read`, the disk is full, or a worker process died.
        InspireError: `out` is another dataset, or every recording is left out.
    """
    hashes = {name: json_sha256(value) for name, value in (settings | {"labels": labels.to_json()}).items()}
    schema: Any = ImportRecord[type(report)]  # type: ignore[misc]

    def write_record(folder: Path, made: list[Demonstration | str]) -> None:
        for number, one in enumerate(made):
            add(number, one)
        record = ImportRecord(hashes, replace(report, root=Path()))  # type: ignore[type-var]
        write_json(folder / IMPORT_FILE, TypeAdapter(schema).dump_python(record, mode="json"))

    if not out.exists():
        job = ResumableJob(out, settings, "importing")
        with job.started(restart_if_changed=True) as changed:
            if changed and announce is not None:
                announce(f"{changed}: all {what} are imported again.")
            make_shard = partial(_make_shard, job, read)
            build_dataset(job, count, make_shard, labels, write_record=write_record, **dataset)
        return report
    try:
        record: ImportRecord[Report] = read_json(out / IMPORT_FILE, schema)
    except MachineFault:
        raise
    except InspireError:
        raise InspireError(f"{out} exists and is no imported dataset; choose another folder.") from None
    if differing := sorted(dict(record.settings.items() ^ hashes.items())):
        raise InspireError(
            f"{out} exists: a dataset imported with other settings ({', '.join(differing)}). Choose another folder, or "
            "delete it."
        )
    return replace(record.report, root=out)  # type: ignore[type-var]


def _make_shard(job: ResumableJob, read: Callable[[int], Demonstration], number: int) -> None:
    """Write the shard of a recording, or why it is left out."""
    try:
        demonstration = read(number)
    except MachineFault:
        raise
    except InspireError as error:
        save_skipped(str(error), job.shard(number))
        return
    save_demonstration(demonstration, job.shard(number))
