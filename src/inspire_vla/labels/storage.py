"""`inspire label`: writes labels into a LeRobot dataset, in a new folder or in place.

    plan.py ──labeller, mentions──▶ labels of all frames ──▶ .OUT.labelling/ (labelled_copy.py) ──rename──▶ OUT/

The call may be killed at any moment. What the labeller has found is kept (kept_tracks.py). Every file in the unfinished
folder is complete or absent. So the same call writes the missing files, and a call with other labels starts again.
"""

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm.auto import tqdm

from inspire_vla import __version__
from inspire_vla.errors import InspireError, counted, nearest
from inspire_vla.files import disk_errors, folder_lock, json_sha256, write_json
from inspire_vla.instruction import MentionRole, override_for, overrides_to_json
from inspire_vla.labels.columns import (
    ANSWERS_PREFIX,
    CONFIDENCE_COLUMN,
    OFFSET_COLUMN,
    LabelInfo,
    ModeRule,
    answer_column,
    answer_feature,
    has_labels,
    read_labels,
    write_labels,
)
from inspire_vla.labels.kept_tracks import KeptTracks, remove_kept
from inspire_vla.labels.labelled_copy import (
    Marker,
    dataset_identity,
    drop_marker,
    finish_swap,
    removed_on_bad_source,
    start_copy,
    swap,
)
from inspire_vla.labels.labeller import Labeller, code_sha256
from inspire_vla.labels.labelling import Labelling, check_confidence
from inspire_vla.labels.language_column import (
    LANGUAGE_COLUMN,
    LANGUAGE_FEATURE,
    OURS,
    build_language_column,
    language_rows,
    read_language_column,
    styles_in,
)
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.parquet import replace_columns
from inspire_vla.labels.plan import LabelPlan, plan_labels
from inspire_vla.labels.report import LabelReport
from inspire_vla.labels.simulator_state import kept_mentions
from inspire_vla.spatial import Frame, decode_answers

ORIGIN = ("source", "suites", "render", "scene")
"""Keys in the `extra` of an import's labels that say where the episodes are from."""


def label_dataset(
    source: str | Path,
    labeller: Labeller,
    *,
    out: str | Path | None = None,
    in_place: bool = False,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    mentions: Mapping[str, Iterable[str | MentionRole]] | None = None,
    max_objects: int | None = None,
    min_confidence: float = 0.0,
    language: bool = False,
    progress: bool = False,
    announce: Callable[[LabelPlan | str], None] | None = None,
    finish: Callable[[LabelReport], None] | None = None,
) -> LabelReport:
    """Write `out`, or `source` itself with a backup, with label columns in place of those it had.

    Args:
        source: folder of a LeRobot v3 dataset.
        labeller: see labeller.py.
        mentions: instruction → mentions, with or without roles, in place of those of the labeller or the parser. None
            at all: nothing is asked in this instruction. They are stored with the labels, and training keeps them.
        max_objects: width of the columns; None: the most mentions of any instruction.
        min_confidence: labels below this confidence are left out.
        language: also write questions and answers as rows of LeRobot's language column (language_column.py).
        announce: called with what was found in the dataset, before anything is labelled, and with what of an
            interrupted call is used, if there was one.
        finish: called with the report at the end. If the call is killed before this returns, the same call does it.

    Raises:
        InspireError: not exactly one of `out` and `in_place`; `out` exists; another call writes it; `source` is
            damaged, incomplete or no LeRobot v3 dataset; an instruction cannot be read with certainty, or none names an
            object; no frame gets a label; or an
            error of the labeller. Nothing is written then. Or the disk cannot be written.
    """
    root = Path(source).absolute()
    check_confidence(min_confidence, labeller)
    if (out is None) == (not in_place):
        raise InspireError("say where to write: another folder (--out), or the dataset itself (--in-place).")
    target = root if out is None else Path(out).absolute()
    if target != root and target.is_relative_to(root) and (root / "meta/info.json").is_file():
        raise InspireError(f"{target} is inside the dataset; choose a folder outside it.")
    given = {instruction: override_for(roles) for instruction, roles in (mentions or {}).items()}
    code = code_sha256(labeller)
    settings = [labeller.name, labeller.settings(), code, list(modes), str(frame), str(rule),
                overrides_to_json(given), max_objects, min_confidence, language]  # fmt: skip
    with folder_lock(target, "labelling into"):
        building = target.with_name(f".{target.name}.labelling")
        if in_place:
            finish_swap(root, building)
        if not root.is_dir():
            LeRobotFiles.open(root)  # raises: says what is missing
        identity = dataset_identity(root)
        request = json_sha256([*settings, None if in_place else identity])
        marker = Marker.of(target)
        if marker is not None and marker.report is not None and marker.request == request:
            return _finish(target, marker.report, finish)  # it was killed before the end of its `finish`
        if target.exists() and not in_place:
            what = "is a labelled dataset already" if has_labels(target) else "exists"
            raise InspireError(f"{target} {what}. Choose another folder for --out, or remove this one.")
        files = LeRobotFiles.open(root)
        if in_place:
            drop_marker(root)
        plan = plan_labels(files, labeller, given)
        plan.check(max_objects, language=language)
        if announce is not None:
            announce(plan)
        extra = _origin(root) | {
            "settings": plan.labeller.settings(),
            "min_confidence": min_confidence,
            "without_object": list(plan.without),
        }
        if language:
            extra["language_column"] = LANGUAGE_COLUMN
        if OFFSET_COLUMN in files.number_columns():
            extra |= kept_mentions(root, plan.tasks)
        labels = LabelInfo(
            frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
            modes=dict.fromkeys(modes, rule),
            tasks=plan.tasks,
            max_objects=plan.most_objects if max_objects is None else max_objects,
            labeller=plan.labeller.name,
            extra=extra,
            overrides=plan.overrides,
        )
        report = LabelReport(target, without_object=plan.without)
        kept = KeptTracks(target, _deciding(plan, code, identity))
        if announce is not None and (said := _what_is_kept(kept)):
            announce(said)
        added = Labelling(files, plan.labeller, labels, min_confidence, report, kept).run(progress)
        report.warnings += tuple(
            f"the dataset has no instruction {text!r} of --mentions.{nearest(text, files.tasks.values())}"
            for text in given
            if text not in plan.overrides
        )
        with removed_on_bad_source(building), disk_errors(target):
            _write(building, identity, files, labels, added, language, progress)
            if dataset_identity(root) != identity:
                raise InspireError(f"{root} was changed while it was labelled. Run the same command again.")
            if in_place:
                swap(root, building, report, request)
            else:
                Marker(request=request, report=report).write(building)
                building.rename(target)
        return _finish(target, report, finish)


def _finish(target: Path, report: LabelReport, finish: Callable[[LabelReport], None] | None) -> LabelReport:
    remove_kept(target)
    if finish is not None:
        finish(report)
    drop_marker(target)
    return report


def _deciding(plan: LabelPlan, code: str, identity: list[Any]) -> dict[str, Any]:
    """All that decides what the labeller finds, by names that a person reads. Modes and frame do not."""
    settings: dict[str, Any] = json.loads(json.dumps(plan.labeller.settings(), default=str))
    return {
        "version of inspire_vla": __version__,
        "labeller": plan.labeller.name,
        "labeller's settings": settings,
        "labeller's code": code,
        "objects": plan.tasks,
        "roles": overrides_to_json(plan.overrides),
        "files of the dataset": json_sha256(identity),
    }


def _origin(root: Path) -> dict[str, Any]:
    """What the labels of a dataset say of where its episodes are from. New labels keep it."""
    if not has_labels(root):
        return {}
    try:
        extra = read_labels(root).extra
    except InspireError:  # the new labels replace what cannot be read
        return {}
    return {key: extra[key] for key in ORIGIN if key in extra}


def _what_is_kept(kept: KeptTracks) -> str:
    if kept.changed:
        return f"{kept.changed}: all episodes are labelled again."
    if not kept.episodes:
        return ""
    return (
        f"{counted(kept.episodes, 'episode was', 'episodes were')} labelled by an interrupted call. To "
        f"label them again, delete {kept.folder}."
    )


def _write(
    building: Path,
    identity: list[Any],
    files: LeRobotFiles,
    labels: LabelInfo,
    added: dict[Path, dict[str, NDArray[Any]]],
    language: bool,
    progress: bool,
) -> None:
    """Write the unfinished folder, or what a killed call has not written of it."""
    start_copy(building, identity, files, labels, added)
    targets = {path: building / path.relative_to(files.root) for path in added}
    missing = [path for path, target in targets.items() if not target.exists()]
    written = len(added) - len(missing)
    bar = tqdm(missing, "writing", len(added), initial=written, unit="file", disable=not progress)
    others, drops = ({}, False) if language else _without_earlier_rows(files)
    old = _old_labels(files, drops_language=drops)
    for path in bar:
        column = _language(path, files, labels, added[path]) if language else others.get(path)
        replace_columns(
            path, targets[path], old, added[path], {} if column is None else {LANGUAGE_COLUMN: column}
        )
    _write_meta(building, files, labels, list(added.values()), old, language)


def _language(
    path: Path, files: LeRobotFiles, labels: LabelInfo, added: Mapping[str, NDArray[Any]]
) -> pa.Array:
    """The language column of one data file, with the rows of other styles that it had."""
    frames: list[list[dict[str, Any]]] = []
    for segment, _ in files.segments((), path):
        mentions = labels.tasks.get(segment.instruction, ())
        of_modes = [
            language_rows(
                mentions,
                decode_answers(added[answer_column(mode)][segment.rows, : len(mentions)], mode),
                mode,
            )
            for mode in labels.modes
        ]
        frames += (list(itertools.chain(*rows)) for rows in zip(*of_modes, strict=True))
    return build_language_column(frames, read_language_column(path))


def _without_earlier_rows(files: LeRobotFiles) -> tuple[dict[Path, pa.Array], bool]:
    """The language column of each data file without rows of earlier labels, and whether it is dropped because there are
    no others. A column without such rows stays as it is, and is not among these."""
    if LANGUAGE_COLUMN not in files.info["features"]:
        return {}, False
    read = {path: read_language_column(path) for path in files.data_files()}
    columns = {path: column for path, column in read.items() if column is not None}
    styles = {style for column in columns.values() for style in styles_in(column)}
    if not styles & OURS:
        return {}, False
    if styles <= OURS:
        return {}, True
    return {p: build_language_column(itertools.repeat([], len(c)), c) for p, c in columns.items()}, False


# --- meta/


def _old_labels(files: LeRobotFiles, *, drops_language: bool) -> list[str]:
    """The label columns that the dataset has already. drops_language: the language column is one of them."""
    also = (CONFIDENCE_COLUMN, *([LANGUAGE_COLUMN] if drops_language else []))
    return [name for name in files.info["features"] if name.startswith(ANSWERS_PREFIX) or name in also]


def _write_meta(
    building: Path,
    files: LeRobotFiles,
    labels: LabelInfo,
    added: Sequence[Mapping[str, NDArray[Any]]],
    old: Sequence[str],
    language: bool,
) -> None:
    """Write the features and statistics of the new columns, and what their codes mean.

    Args:
        added: new columns of each file.
        old: columns that are gone.
    """
    info = copy.deepcopy(files.info)
    stats = dict(files.stats)
    for name in old:
        del info["features"][name]
        stats.pop(name, None)
    for name in added[0]:
        values = np.concatenate([of_file[name] for of_file in added])
        feature = answer_feature(labels.max_objects)
        info["features"][name] = feature | {"shape": list(feature["shape"]), "dtype": str(values.dtype)}
        stats[name] = {key: getattr(values, key)(0).tolist() for key in ("min", "max", "mean", "std")}
        stats[name]["count"] = [len(values)]
    if language:
        info["features"][LANGUAGE_COLUMN] = LANGUAGE_FEATURE
    write_json(building / "meta/info.json", info, indent=4)
    write_json(building / "meta/stats.json", stats, indent=4)
    write_labels(building, labels)
