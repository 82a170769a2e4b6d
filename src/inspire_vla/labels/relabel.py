"""Label a collected dataset in other modes or another frame, from the privileged columns it carries."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import (
    ANSWERS_PREFIX,
    GRASPED_COLUMN,
    LABELS_FILE,
    OFFSET_COLUMN,
    LabelInfo,
    ModeRule,
    answer_column,
    answer_feature,
    read_labels,
    write_labels,
)
from inspire_vla.labels.simulator_state import label_states
from inspire_vla.spatial import NO_LABEL, Frame


def relabel(
    dataset_root: str | Path,
    out: str | Path,
    *,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame | None = None,
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
) -> LabelInfo:
    """Write `out`: the same dataset with label columns of `modes` in place of those it had.

    The original is only read; files that hold no labels (videos, tasks, episodes) are hard-linked.

    Args:
        frame: the labels' frame; the dataset's own if None.

    Raises:
        InspireError: no labels or no privileged columns, an unknown mode or frame, `out` exists.
    """
    root, out = Path(dataset_root).absolute(), Path(out).absolute()
    before = read_labels(root)
    after = LabelInfo(
        frame=before.frame if frame is None else frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks=before.tasks,
        max_objects=before.max_objects,
        labeller=before.labeller,
        extra=before.extra,
    )
    if out.exists():
        raise InspireError(f"{out} exists; choose another folder.")
    info = json.loads((root / "meta/info.json").read_text())
    lacking = [column for column in (OFFSET_COLUMN, GRASPED_COLUMN) if column not in info["features"]]
    if lacking:
        raise InspireError(f"{root} has no columns {lacking}, from which labels could be made.")
    objects = _objects_of_tasks(root, before)
    building = out.with_name(f".{out.name}.relabelling")
    shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(root, building, copy_function=os.link)
    codes: dict[str, list[np.ndarray]] = {mode: [] for mode in after.modes}
    for path in sorted(building.glob("data/**/*.parquet")):
        found = _relabelled(path, after, objects)
        for mode, column in found.items():
            codes[mode].append(column)
    _describe(building, info, after, {mode: np.concatenate(found) for mode, found in codes.items()})
    (building / LABELS_FILE).unlink()
    write_labels(building, after)
    os.replace(building, out)
    return after


def _objects_of_tasks(root: Path, labels: LabelInfo) -> np.ndarray:
    """Number of objects for each task_index."""
    tasks = pq.read_table(root / "meta/tasks.parquet").to_pylist()
    objects = np.zeros(1 + max(row["task_index"] for row in tasks), dtype=np.int64)
    for row in tasks:
        instruction = row["task"] if "task" in row else row["__index_level_0__"]
        if instruction not in labels.tasks:
            raise InspireError(f"Task {instruction!r} has no mentions in {root / LABELS_FILE}.")
        objects[row["task_index"]] = len(labels.tasks[instruction])
    return objects


def _relabelled(path: Path, labels: LabelInfo, objects: np.ndarray) -> dict[str, np.ndarray]:
    """Replace the label columns of one data file; the link to the original is cut, not written through."""
    table = pq.read_table(path)
    width = labels.max_objects
    offsets = _matrix(table[OFFSET_COLUMN], 3 * width).reshape(-1, width, 3).astype(np.float32)
    grasped = _matrix(table[GRASPED_COLUMN], width) == 1
    asked = np.arange(width) < objects[table["task_index"].to_numpy()][:, None]
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})
    for name in [name for name in table.column_names if name.startswith(ANSWERS_PREFIX)]:
        table = table.drop_columns([name])
        features.pop(name, None)
    made = {}
    for mode, rule in labels.modes.items():
        codes = label_states(offsets, grasped, max_objects=width, mode=mode, frame=labels.frame, rule=rule)
        made[mode] = np.where(asked, codes, NO_LABEL).astype(np.int16)
        flat = pa.array(made[mode].ravel())
        # LeRobot writes a column of shape (1,) as plain numbers
        column = flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)
        number = {"dtype": "int16", "_type": "Value"}
        features[answer_column(mode)] = (
            number if width == 1 else {"feature": number, "length": width, "_type": "List"}
        )
        table = table.append_column(answer_column(mode), column)
    if metadata:
        kept = dict(table.schema.metadata or {})
        table = table.replace_schema_metadata(kept | {b"huggingface": json.dumps(metadata).encode()})
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="snappy")
    os.replace(temporary, path)
    return made


def _matrix(column: pa.ChunkedArray, width: int) -> np.ndarray:
    array = column.combine_chunks()
    flat = array.flatten() if pa.types.is_nested(array.type) else array
    return flat.to_numpy(zero_copy_only=False).reshape(-1, width)


def _describe(building: Path, info: dict[str, Any], labels: LabelInfo, codes: dict[str, np.ndarray]) -> None:
    """The new columns in meta/info.json and meta/stats.json."""
    old = [name for name in info["features"] if name.startswith(ANSWERS_PREFIX)]
    for name in old:
        del info["features"][name]
    stats_file = building / "meta/stats.json"
    stats = json.loads(stats_file.read_text()) if stats_file.exists() else {}
    for name in old:
        stats.pop(name, None)
    for mode, column in codes.items():
        feature = answer_feature(labels.max_objects)
        info["features"][answer_column(mode)] = feature | {"shape": list(feature["shape"])}
        stats[answer_column(mode)] = {
            "min": column.min(0).tolist(),
            "max": column.max(0).tolist(),
            "mean": column.mean(0).tolist(),
            "std": column.std(0).tolist(),
            "count": [len(column)],
        }
    for path, content in ((building / "meta/info.json", info), (stats_file, stats)):
        path.unlink(missing_ok=True)  # a link to the original: cut, not written through
        path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n")
