"""The folder in which `inspire label` writes a dataset, until that folder takes its name.

    NAME/ ──videos/ and images/ hard-linked, all else copied──▶ .OUT.labelling/ ──rename──▶ OUT/

Only videos and images are shared with the source: LeRobot's tools rewrite the other files in place. The folder records
a digest of the labels and of the source, so that a killed call is continued only with the same. In place, the original
is kept as NAME.before_labels, and the finished folder takes its name.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter

from inspire_vla.errors import InspireError, MachineFault
from inspire_vla.files import (
    atomic_path,
    disk_errors,
    files_below,
    json_sha256,
    read_json,
    remove,
    write_json,
)
from inspire_vla.labels.columns import LABELS_FILE, LabelInfo
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.report import LabelReport

_MARKER = ".labelling.json"
_MEDIA = ("videos", "images")
"""Folders of which the copy shares the files with the source. Whatever else a tool may rewrite in place is copied."""
_REWRITTEN = ("meta/info.json", "meta/stats.json", LABELS_FILE, _MARKER)


@dataclass
class Marker:
    """File in an unfinished folder. settings: digest of the labels and of the source. request, report: of a finished
    call, until its `finish` has returned."""

    settings: str = ""
    request: str = ""
    report: LabelReport | None = None

    def write(self, folder: Path) -> None:
        write_json(folder / _MARKER, TypeAdapter(Marker).dump_python(self, mode="json"))

    @classmethod
    def of(cls, folder: Path) -> "Marker | None":
        """The marker of a folder, if it has one."""
        return read_json(folder / _MARKER, cls) if (folder / _MARKER).is_file() else None


def is_labelled(folder: Path) -> bool:
    """Whether a call of `label_dataset` that was stopped has done all but its `finish`."""
    marker = Marker.of(folder)
    return marker is not None and marker.report is not None


def dataset_identity(root: Path) -> list[Any]:
    """What tells whether a dataset's files have changed: their names, sizes and times.

    Linking a file changes its ctime, so that of media is left out.
    """
    parts: list[Any] = [os.fspath(root)]
    for path in files_below(root):
        relative, stat = path.relative_to(root), path.stat()
        if relative.as_posix() != _MARKER:
            changed = 0 if relative.parts[0] in _MEDIA else stat.st_ctime_ns
            parts.append([relative.as_posix(), stat.st_size, stat.st_mtime_ns, changed])
    return parts


def start_copy(
    building: Path,
    identity: list[Any],
    files: LeRobotFiles,
    labels: LabelInfo,
    added: dict[Path, dict[str, NDArray[Any]]],
) -> None:
    """Make the unfinished folder, unless a killed call has left one for the same labels of the same files."""
    root = files.root
    digest = hashlib.sha256(json_sha256([labels.to_json(), identity]).encode())
    for new in added.values():
        for name, values in new.items():
            digest.update(f"{name} {values.shape}".encode() + values.tobytes())
    marker = Marker(digest.hexdigest())
    if Marker.of(building) == marker:
        return
    data = set(files.data_files())
    with atomic_path(building) as copying:
        for path in files_below(root):
            relative = path.relative_to(root)
            if path not in data and relative.as_posix() not in _REWRITTEN:
                (copying / relative).parent.mkdir(parents=True, exist_ok=True)
                (_link if relative.parts[0] in _MEDIA else shutil.copy2)(path, copying / relative)
        marker.write(copying)


def _link(path: Path, target: Path) -> None:
    original = os.path.realpath(path)  # a dataset from the hub consists of symbolic links
    try:
        os.link(original, target)
    except OSError:  # another file system
        shutil.copy2(original, target)


def swap(root: Path, building: Path, report: LabelReport, request: str) -> None:
    """Rename the original to a backup, and the finished folder to the original's name."""
    backup, number = root.with_name(f"{root.name}.before_labels"), 1
    while backup.exists():
        number += 1
        backup = root.with_name(f"{root.name}.before_labels.{number}")
    report.backup = backup
    Marker(request=request, report=report).write(building)
    root.rename(backup)
    building.rename(root)  # if the call is killed before this line, `finish_swap` does it


def finish_swap(root: Path, building: Path) -> None:
    """Finish `swap` of a killed call."""
    marker = None if root.exists() else Marker.of(building)
    if marker is not None and marker.report is not None:
        with disk_errors(root):
            building.rename(root)


def drop_marker(root: Path) -> None:
    """Forget that a killed call did not `finish`: another call labels its result."""
    with disk_errors(root):
        (root / _MARKER).unlink(missing_ok=True)


@contextmanager
def removed_on_bad_source(building: Path) -> Iterator[None]:
    """Remove the unfinished folder if the source is damaged or has changed. After a fault of the machine it is kept."""
    try:
        yield
    except InspireError as error:
        if not isinstance(error, MachineFault):
            remove(building)
        raise
