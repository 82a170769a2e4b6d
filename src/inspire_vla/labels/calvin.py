"""Imports CALVIN's recordings into a labelled LeRobot dataset. Importer only: never run on real CALVIN data.

    SPLIT ── workers: read the frames of a sequence ──▶ one shard per annotated sequence ──▶ NAME/

calvin_files.py reads the frames, calvin_scenes.py knows where the objects are. robot_obs: 0:3 the point between the
fingers, 3:6 euler angles, 6 gripper width, 14 gripper command (+1 open). A mention without a known position ("the
table") has no label.

Written from the repositories mees/calvin at fa03f01 and mees/calvin_env at 797142c. Its 423 sentences were parsed;
the recordings themselves were not available.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import NoObjectFound, find_mentions
from inspire_vla.labels.calvin_files import (
    ARRAYS,
    CAMERAS,
    find_layout,
    frame_file,
    read_annotations,
    read_frame,
    read_scene_info,
)
from inspire_vla.labels.calvin_scenes import ScenesOfSplit, track
from inspire_vla.labels.columns import LabelInfo, ModeRule
from inspire_vla.labels.dataset_writer import png
from inspire_vla.labels.demonstration import Demonstration
from inspire_vla.labels.imported_dataset import import_dataset
from inspire_vla.labels.simulator_state import LABELLER
from inspire_vla.spatial import Frame

_STATE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper_width", "gripper_command")


@dataclass(frozen=True)
class AnnotatedSequence:
    """An annotated sequence of frames, `first` to `last`."""

    instruction: str
    mentions: tuple[str, ...]
    first: int
    last: int


@dataclass
class CalvinReport:
    """The result of an import.

    cameras: those of the dataset. not_imported: arrays of the frames that it does not hold. skipped: reason →
    sequences. first_files: reason → the first file that it is about. unplaced: mention without a position → sequences.
    """

    root: Path
    cameras: tuple[str, ...] = ()
    not_imported: tuple[str, ...] = ()
    episodes: int = 0
    frames: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    first_files: dict[str, str] = field(default_factory=dict)
    unplaced: Counter[str] = field(default_factory=Counter)

    def skip(self, reason: str) -> None:
        """Count a sequence that is left out. reason: "FILE: why", or why alone."""
        file, colon, why = reason.partition(": ")
        self.skipped[why if colon else reason] += 1
        if colon:
            self.first_files.setdefault(why, file)

    def __str__(self) -> str:
        cameras = ", ".join(f"{camera} ({CAMERAS[camera]})" for camera in self.cameras)
        size = f"{counted(self.episodes, 'episode')}, {counted(self.frames, 'frame')}"
        lines = [f"{self.root}: {size}; cameras: {cameras or 'none'}"]
        if self.not_imported:
            lines.append(f"  arrays of the frames that are not imported: {', '.join(self.not_imported)}")
        for why, count in self.skipped.most_common():
            file = f" (the first: {self.first_files[why]})" if why in self.first_files else ""
            lines.append(f"  left out: {count} × {why}{file}")
        lines += [
            f"  no place known for {what!r}: {counted(n, 'episode')}"
            for what, n in self.unplaced.most_common()
        ]
        return "\n".join(lines)


def import_calvin(
    split: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    images: bool = True,
    modes: Sequence[str] = ("direction",),
    frame: str | Frame = "robot",
    rule: ModeRule = ModeRule(),  # noqa: B008  frozen
    processes: int = 1,
    progress: bool = False,
    announce: Callable[[str], None] | None = None,
) -> CalvinReport:
    """Write `out` from the folder of a split (`training`, `validation`), with one episode per annotated sequence.

    An interrupted call, made again, reads only the sequences that it had not finished.

    Args:
        scene: A to D; None: what the split says.
        images: of the static camera, and of the gripper's if the frames have it.
        processes: 0 or 1 imports in this process.
        announce: called with what an interrupted call with other settings has left, which is removed.

    Raises:
        InspireError: no annotations, `out` exists and is not the finished dataset of the same call, the scene is not
            known, the first frame is not CALVIN's or has no image of the static camera, or nothing could be imported.
    """
    split, out = Path(split).absolute(), Path(out).absolute()
    scenes = ScenesOfSplit(split, scene, read_scene_info(split))
    report = CalvinReport(out)
    sequences = _annotated_sequences(split, report)
    labels = LabelInfo(
        frame=frame,  # type: ignore[arg-type]  # LabelInfo looks a name up
        modes=dict.fromkeys(modes, rule),
        tasks={sequence.instruction: sequence.mentions for sequence in sequences},
        max_objects=max(len(sequence.mentions) for sequence in sequences),
        labeller=LABELLER,
        extra={"source": "CALVIN", "scene": scene or "as the split says"},
    )
    sizes, names = find_layout(split, [sequence.first for sequence in sequences], images)
    report.cameras = tuple(sizes)
    report.not_imported = tuple(sorted(names - {*ARRAYS, *(CAMERAS[camera] for camera in sizes)}))
    settings = {
        "split": str(split),
        **scenes.settings,
        "image_sizes": sizes,
        "sequences": [asdict(sequence) | _fingerprint(split, sequence) for sequence in sequences],
    }

    def add(_: int, one: Demonstration | str) -> None:
        if isinstance(one, str):
            report.skip(one)
            return
        unknown = ~np.isfinite(one.gripper_to_object_m).all(axis=(0, 2))
        report.unplaced.update(m for m, missing in zip(one.mentions, unknown, strict=True) if missing)
        report.episodes += 1
        report.frames += len(one)

    return import_dataset(
        out,
        settings,
        len(sequences),
        partial(_read, split, scenes, sizes, sequences),
        labels,
        report,
        add,
        what="sequences",
        announce=announce,
        name=out.name,
        fps=30,
        robot_type="panda",
        image_size=sizes,
        cameras=report.cameras,
        state_names=_STATE_NAMES,
        processes=processes,
        progress=progress,
    )


def _annotated_sequences(split: Path, report: CalvinReport) -> list[AnnotatedSequence]:
    """The sequences of a split whose instruction names an object. The others are counted in the report.

    Raises:
        InspireError: there are none.
    """
    sequences = []
    for text, first, last in read_annotations(split):
        try:
            sequences.append(AnnotatedSequence(text, find_mentions(text), first, last))
        except NoObjectFound:
            report.skip("its instruction names no object")
    if not sequences:
        why = "no instruction names an object" if report.skipped else "it has no annotated sequence"
        raise InspireError(f"nothing could be imported from {split}: {why}.")
    return sequences


def _fingerprint(split: Path, sequence: AnnotatedSequence) -> dict[str, int]:
    """What tells that the files of a sequence have changed: number up to the first that is missing, bytes, newest."""
    count, size, newest = 0, 0, 0
    for number in range(sequence.first, sequence.last + 1):
        try:
            stat = os.stat(frame_file(split, number))
        except OSError:
            break
        count, size, newest = count + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
    return {"frames": count, "bytes": size, "modified_ns": newest}


def _read(
    split: Path,
    scenes: ScenesOfSplit,
    image_sizes: Mapping[str, int],
    sequences: Sequence[AnnotatedSequence],
    number: int,
) -> Demonstration:
    """Read the sequence of a number. Raises InspireError with the reason for which it is left out."""
    sequence = sequences[number]
    scene = scenes.of(sequence.first)
    if sequence.last < sequence.first:
        raise InspireError("it has no frames")
    frames = [read_frame(split, i, image_sizes) for i in range(sequence.first, sequence.last + 1)]
    robot = np.stack([f["robot_obs"] for f in frames]).astype(np.float64)
    state = np.stack([f["scene_obs"] for f in frames]).astype(np.float64)
    tracks = track(robot, state, sequence.mentions, scene)
    return Demonstration(
        task_name=sequence.instruction,
        instruction=sequence.instruction,
        mentions=sequence.mentions,
        images={camera: tuple(png(f[CAMERAS[camera]]) for f in frames) for camera in image_sizes},
        state=np.concatenate([robot[:, :7], robot[:, 14:15]], axis=1).astype(np.float32),
        action=np.stack([f["rel_actions"] for f in frames]).astype(np.float32),
        gripper_to_object_m=tracks.gripper_to_object_m,
        grasped=tracks.grasped,
    )
