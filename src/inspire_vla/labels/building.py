"""The unfinished folder that a dataset is labelled in, and how it takes its name.

NAME/ ──hard links, except parquet data and three files of meta/──▶ .OUT.labelling/ ──rename──▶ OUT/
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from inspire_vla.labels.columns import LABELS_FILE, LabelInfo
from inspire_vla.labels.report import LabelReport

SETTINGS = ".labelling.json"
REWRITTEN = ("meta/info.json", "meta/stats.json", LABELS_FILE)


def begin(building: Path, root: Path, labels: LabelInfo) -> None:
    """Make the unfinished folder, or go on in the one that an interrupted call with the same settings left."""
    data = [
        (path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted((root / "data").glob("**/*.parquet"))
    ]
    wanted = {"settings": digest([labels.to_json(), os.fspath(root), data])}
    marker = building / SETTINGS
    if building.exists():
        if marker.is_file() and json.loads(marker.read_text(encoding="utf-8") or "{}") == wanted:
            return
        shutil.rmtree(building)
    fresh = building.with_name(f"{building.name}.linking")
    shutil.rmtree(fresh, ignore_errors=True)
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_dir():
            (fresh / relative).mkdir(parents=True, exist_ok=True)
        elif not (relative.parts[0] == "data" and path.suffix == ".parquet") and (
            relative.as_posix() not in REWRITTEN
        ):
            _link(path, fresh / relative)
    (fresh / SETTINGS).write_text(json.dumps(wanted), encoding="utf-8")
    fresh.rename(building)


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    original = os.path.realpath(path)  # a dataset from the hub is made of symbolic links
    try:
        os.link(original, target)
    except OSError:  # another file system
        shutil.copy2(original, target)


def swap(root: Path, building: Path, report: LabelReport, request: str) -> None:
    """The original goes aside and the finished folder takes its name."""
    backup, number = root.with_name(f"{root.name}.before_labels"), 1
    while backup.exists():
        number += 1
        backup = root.with_name(f"{root.name}.before_labels.{number}")
    report.backup = backup
    write_json(building / SETTINGS, {"finished": True, "request": request, "report": report.to_json()})
    root.rename(backup)
    building.rename(root)  # killed before this line: `finish_swap` does it
    (root / SETTINGS).unlink()


def finish_swap(root: Path, building: Path) -> dict[str, Any] | None:
    """Between the two renames the dataset has no name: the next call gives it one, and has nothing else to do."""
    marker = building / SETTINGS
    if not root.exists() and marker.is_file():
        if not json.loads(marker.read_text(encoding="utf-8")).get("finished"):
            return None
        building.rename(root)
    marker = root / SETTINGS
    if not marker.is_file():
        return None
    finished = json.loads(marker.read_text(encoding="utf-8"))
    marker.unlink()
    return finished


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
