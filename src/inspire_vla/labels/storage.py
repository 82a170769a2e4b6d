"""What came out of labelling a dataset."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError
from inspire_vla.files import json_sha256
from inspire_vla.instruction import find_mentions
from inspire_vla.labels import language_column as language_rows
from inspire_vla.labels.columns import (
    ANSWERS_PREFIX,
    LABELS_FILE,
    OFFSET_COLUMN,
    LabelInfo,
    ModeRule,
    answer_column,
    answer_feature,
    write_labels,
)
from inspire_vla.labels.labeller import Episode, Labeller, Tracks, encode_tracks
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows, read_rows, replace_columns
from inspire_vla.labels.simulator_state import kept_mentions
from inspire_vla.spatial import NO_LABEL, Frame, decode_answers


@dataclass
class LabelReport:
    """What came out. `notes`: remark → episodes it was made of; `without_object`: instructions that name none."""

    root: Path
    episodes: int = 0
    frames: int = 0
    labels: int = 0
    unlabelled: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    without_object: tuple[str, ...] = ()
    backup: Path | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them."""
        return {
            **vars(self),
            "root": str(self.root),
            "backup": None if self.backup is None else str(self.backup),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "LabelReport":
        """Inverse of `to_json`."""
        values = {**record, "root": Path(record["root"]), "notes": Counter(record["notes"])}
        values["backup"] = None if record["backup"] is None else Path(record["backup"])
        return cls(**{**values, **{name: tuple(record[name]) for name in ("without_object", "warnings")}})

    def __str__(self) -> str:
        asked = self.labels + self.unlabelled
        share = 100 * self.unlabelled / asked if asked else 0.0
        lines = [f"{self.root}: {self.episodes} episodes, {self.frames} frames, {self.labels} labels"]
        lines += [f"  {self.unlabelled} ({share:.1f} %) places unknown or not sure enough: no label"]
        lines += [f"  {count} episodes: {note}" for note, count in self.notes.most_common()]
        lines += [f"  no object found, no labels: {instruction!r}" for instruction in self.without_object]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if self.backup is not None:
            lines.append(f"  the dataset as it was: {self.backup} (shares videos and images with it)")
        return "\n".join(lines)


SETTINGS = ".labelling.json"
REWRITTEN = ("meta/info.json", "meta/stats.json", LABELS_FILE)


def begin(building: Path, root: Path, labels: LabelInfo) -> None:
    """Make the unfinished folder, or go on in the one that an interrupted call with the same settings left."""
    data = [
        (path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted((root / "data").glob("**/*.parquet"))
    ]
    wanted = {"settings": json_sha256([labels.to_json(), os.fspath(root), data])}
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


def write_json(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


CONFIDENCE_COLUMN = "labels.confidence"
"""uint8 (max_objects,): the labeller's confidence in hundredths, 0 where it said none. In every data file or in none.
LeRobot hands it to no policy."""


def label_dataset(
    source: str | Path,
    labeller: Labeller,
    *,
    out: str | Path | None = None,
    in_place: bool = False,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    mentions: Mapping[str, Sequence[str]] | None = None,
    max_objects: int | None = None,
    min_confidence: float = 0.0,
    labels: LabelInfo | None = None,
    language: bool = False,
    progress: bool = False,
) -> LabelReport:
    """Write `out` (or `source` itself, keeping a backup) with label columns in place of those it had.

    Args:
        source: folder of a LeRobot v3 dataset.
        labeller: see labeller.py. One with a method `prepared` is shown the dataset first, one with `opened` is told
            its folder; if it then has `mentions`, its labels are about these.
        mentions: instruction → mentions, where those of the labeller or the parser are not wanted.
        max_objects: width of the columns; None: the most mentions of any instruction.
        min_confidence: less sure labels are left out.
        labels: what is written, as a whole, in place of `modes`, `frame`, `rule`, `mentions` and `max_objects`.
        language: also as rows of LeRobot's language column, in the style of each mode (language.py).

    Raises:
        InspireError: not exactly one of `out` and `in_place`; `out` exists; `source` is damaged or no LeRobot v3
            dataset; no instruction names an object; no frame gets a label; whatever the labeller cannot work with.
            Nothing is written then.
    """
    root = Path(source).absolute()
    if (out is None) == (not in_place):
        raise InspireError("say where to write: another folder (--out), or the dataset itself (--in-place).")
    target = root if in_place else Path(out).absolute()  # type: ignore[arg-type]
    building = target.with_name(f".{target.name}.labelling")
    request = json_sha256([labeller.name, labeller.settings(), list(modes), str(frame), str(rule), str(mentions),
                       max_objects, min_confidence, str(labels), language])  # fmt: skip
    if in_place:
        finished = finish_swap(root, building)
        if finished is not None and finished["request"] == request:
            return LabelReport.from_json(finished["report"])
    elif target.exists():
        raise InspireError(f"{target} exists; choose another folder.")
    files = LeRobotFiles.open(root)
    labeller = opened(labeller, root)
    given = {**(getattr(labeller, "mentions", None) or {}), **(mentions or {})}
    tasks, without = _mentions(files.tasks.values(), labels.tasks if labels else given)
    if not tasks:
        raise InspireError(f"no instruction of {root} names an object: {list(files.tasks.values())[:3]} …")
    columns = labeller.columns(files.number_columns())
    labeller = prepared(labeller, files, columns)
    labels = labels or LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks=tasks,
        max_objects=max_objects or max(map(len, tasks.values())),
        labeller=labeller.name,
        extra={"settings": labeller.settings(), "min_confidence": min_confidence, "without_object": without}
        | ({"language_column": language_rows.COLUMN} if language else {})
        | (kept_mentions(root, tasks) if OFFSET_COLUMN in files.number_columns() else {}),
    )
    report = LabelReport(target, without_object=tuple(without))
    below: list[NDArray[np.bool_]] = []
    added: dict[Path, dict[str, NDArray[Any]]] = {}
    told = False
    for path in tqdm(files.data_files(), desc="labelling", unit="file", disable=not progress):
        rows = read_rows(path, columns)
        added[path], sure = _label_rows(rows, files, labels, labeller, min_confidence, report, below)
        told |= sure
    if not report.labels:
        raise InspireError(_why_none(report, min_confidence))
    begin(building, root, labels)
    names = [name for name in added[path] if told or name != CONFIDENCE_COLUMN]  # one schema for all files
    old = [name for name in files.info["features"] if _is_label(name)]
    for path, found in tqdm(added.items(), desc="writing", unit="file", disable=not progress):
        written = building / path.relative_to(root)
        if not written.exists():
            said = _said(path, read_rows(path, ("timestamp",)), files, labels, found) if language else {}
            replace_columns(path, written, old, {name: found[name] for name in names}, said)
    totals = {name: np.concatenate([found[name] for found in added.values()]) for name in names}
    _describe(building, files, labels, totals, language)
    report.warnings = _implausible(below)
    if in_place:
        swap(root, building, report, request)
    else:
        (building / SETTINGS).unlink()
        building.rename(target)
    return report


def _label_rows(
    rows: Rows,
    files: LeRobotFiles,
    labels: LabelInfo,
    labeller: Labeller,
    min_confidence: float,
    report: LabelReport,
    below: list[NDArray[np.bool_]],
) -> tuple[dict[str, NDArray[Any]], bool]:
    """The label columns of one data file, and whether the labeller said of any episode how sure it is."""
    count, width = len(rows.episode_index), labels.max_objects
    added: dict[str, NDArray[Any]] = {
        answer_column(mode): np.full((count, width), NO_LABEL, dtype=np.int16) for mode in labels.modes
    }
    confidence = added[CONFIDENCE_COLUMN] = np.zeros((count, width), dtype=np.uint8)
    names = files.names()
    told = False
    for span in rows.episodes():
        report.episodes += 1
        report.frames += span.stop - span.start
        notes: dict[str, None] = {}  # each once an episode, in order
        for run in rows.of_one_task(span):
            instruction = files.tasks.get(int(rows.task_index[run.start]))
            if instruction is None:
                raise InspireError(
                    f"episode {rows.episode_index[span.start]} has a task that tasks.parquet lacks."
                )
            if instruction not in labels.tasks:
                notes["its instruction names no object"] = None
                continue
            shown = run if getattr(labeller, "one_task_at_a_time", False) else span
            episode = Episode(
                int(rows.episode_index[span.start]),
                instruction,
                labels.tasks[instruction],
                {name: values[shown] for name, values in rows.columns.items()},
                names,
                float(files.info.get("fps", 10)),
            )
            tracks = labeller.label(episode)
            if shown != run:
                tracks = _frames_of(tracks, run.start - span.start, run.stop - span.start)
            notes.update(dict.fromkeys(tracks.notes))
            codes = encode_tracks(tracks, labels, min_confidence=min_confidence)
            for mode, values in codes.items():
                added[answer_column(mode)][run] = values
            objects = len(episode.mentions)
            if tracks.confidence is not None:
                told = True
                confidence[run, :objects] = np.round(100 * np.asarray(tracks.confidence)).astype(np.uint8)
            known = next(iter(codes.values()))[:, :objects] != NO_LABEL
            report.labels += int(known.sum())
            report.unlabelled += int((~known).sum())
            if run.start == span.start:
                below.append(_starts_below(tracks))
        report.notes.update(notes.keys())
    return added, told


def _frames_of(tracks: Tracks, first: int, end: int) -> Tracks:
    sure = None if tracks.confidence is None else tracks.confidence[first:end]
    return replace(
        tracks,
        gripper_to_object_m=tracks.gripper_to_object_m[first:end],
        grasped=tracks.grasped[first:end],
        confidence=sure,
    )


def _said(
    path: Path, rows: Rows, files: LeRobotFiles, labels: LabelInfo, added: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """The language column of one data file, beside what other styles say there."""
    column = language_rows.existing(path)
    for mode in labels.modes:
        episodes = []
        for span in rows.episodes():
            said: list[dict[str, Any]] = []
            for run in rows.of_one_task(span):
                mentions = labels.tasks.get(files.tasks[int(rows.task_index[run.start])], ())
                answers = decode_answers(added[answer_column(mode)][run, : len(mentions)], mode)
                said += language_rows.rows_of(mentions, answers, rows.columns["timestamp"][run], mode)
            episodes.append((span.stop - span.start, said))
        column = language_rows.language_column(episodes, column, mode)
    return {language_rows.COLUMN: column}


def _mentions(
    instructions: Iterable[str], given: Mapping[str, Sequence[str]]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Instruction → mentions, and the instructions that name no object."""
    found: dict[str, tuple[str, ...]] = {}
    without = []
    for instruction in instructions:
        try:
            found[instruction] = tuple(given.get(instruction) or find_mentions(instruction))
        except InspireError:
            without.append(instruction)
    return found, without


def opened(labeller: Labeller, root: Path) -> Labeller:
    """Tell the labeller which dataset it is, if it wants to know."""
    return labeller.opened(root) if hasattr(labeller, "opened") else labeller


def prepared(labeller: Labeller, files: LeRobotFiles, columns: tuple[str, ...]) -> Labeller:
    """Show the labeller up to eight data files, spread over the dataset, if it wants to see any."""
    prepare = getattr(labeller, "prepared", None)
    if prepare is None:
        return labeller
    paths = files.data_files()
    paths = [paths[i] for i in sorted({round(i) for i in np.linspace(0, len(paths) - 1, 8)})]
    parts = [read_rows(path, columns) for path in paths]
    lengths = np.cumsum([0] + [len(part.episode_index) for part in parts])
    starts = np.concatenate([part.starts() + at for part, at in zip(parts, lengths, strict=False)])
    whole = {name: np.concatenate([part.columns[name] for part in parts]) for name in columns}
    return prepare(whole, files.names(), starts)


# --- is it plausible


def _starts_below(tracks: Tracks) -> NDArray[np.bool_]:
    """Whether each object lies below the hand in the first frame."""
    if not len(tracks.gripper_to_object_m):
        return np.zeros(0, dtype=bool)
    first = np.asarray(tracks.gripper_to_object_m)[0]
    return first[np.isfinite(first).all(axis=-1), 2] < 0


def _implausible(below: list[NDArray[np.bool_]]) -> tuple[str, ...]:
    whole = np.concatenate(below) if below else np.zeros(0, dtype=bool)
    if len(whole) >= 10 and whole.mean() < 0.5:
        found = f"only {int(whole.sum())} of {len(whole)} objects lie below the gripper at the start"
        return (f"{found}: is +z up, and are positions in the robot's base frame?",)
    return ()


def _why_none(report: LabelReport, min_confidence: float) -> str:
    notes = [f"  {count} episodes: {note}" for note, count in report.notes.most_common()]
    sure = [f"  labels less sure than {min_confidence} are left out"] if min_confidence else []
    none = (
        f"none of {report.frames} frames in {report.episodes} episodes gets a label, so nothing is written:"
    )
    return "\n".join([none, *notes, *sure])


# --- what is written of it


def _is_label(name: str) -> bool:
    return name.startswith(ANSWERS_PREFIX) or name == CONFIDENCE_COLUMN


def _describe(
    building: Path,
    files: LeRobotFiles,
    labels: LabelInfo,
    columns: dict[str, NDArray[Any]],
    language: bool,
) -> None:
    """meta/: what the new columns are."""
    info = json.loads(json.dumps(files.info))
    stats_file = files.root / "meta/stats.json"
    stats = json.loads(stats_file.read_text(encoding="utf-8")) if stats_file.exists() else {}
    for name in [name for name in info["features"] if _is_label(name)]:
        del info["features"][name]
        stats.pop(name, None)
    for name, values in columns.items():
        feature = answer_feature(labels.max_objects)
        info["features"][name] = feature | {"shape": list(feature["shape"]), "dtype": str(values.dtype)}
        stats[name] = {
            "min": values.min(0).tolist(),
            "max": values.max(0).tolist(),
            "mean": values.mean(0).tolist(),
            "std": values.std(0).tolist(),
            "count": [len(values)],
        }
    if language:
        info["features"][language_rows.COLUMN] = language_rows.FEATURE
    for name, content in (("info", info), ("stats", stats)):
        write_json(building / f"meta/{name}.json", content)
    write_labels(building, labels)
