"""The labels of all frames of a dataset, in memory, and what a person should know about them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.columns import CONFIDENCE_COLUMN, LabelInfo, answer_column
from inspire_vla.labels.kept_tracks import Frames, KeptTracks
from inspire_vla.labels.labeller import Episode, Labeller, Note, encode_tracks
from inspire_vla.labels.lerobot_files import LeRobotFiles, Rows
from inspire_vla.labels.report import LabelReport
from inspire_vla.spatial import NO_LABEL


def check_confidence(least: float, labeller: Labeller | None = None) -> None:
    """Raise InspireError where the least confidence of a label is not between 0 and 1, or the labeller gives none."""
    if not 0 <= least <= 1:
        raise InspireError(f"the least confidence must lie between 0 and 1, found {least:g}.")
    if least and labeller is not None and not getattr(labeller, "gives_confidence", True):
        raise _no_confidence(labeller.name, least)


def _no_confidence(labeller: str, least: float) -> InspireError:
    return InspireError(
        f"labeller {labeller} gives no confidence, so --min-confidence {least} would leave nothing out; leave that "
        "out. Nothing is written."
    )


@dataclass
class Labelling:
    """Labels the frames of a dataset, and fills the report."""

    files: LeRobotFiles
    labeller: Labeller
    labels: LabelInfo
    min_confidence: float
    report: LabelReport
    kept: KeptTracks
    gives_confidence: bool = False
    below_at_start: list[bool] = field(default_factory=list)
    """Of each object whose position is known in the first frame of its episode: whether it is below the gripper."""

    def run(self, progress: bool) -> dict[Path, dict[str, NDArray[Any]]]:
        """Return the label columns of each data file. Raises InspireError if no frame gets a label."""
        columns = self.labeller.columns(self.files.number_columns())
        total = self.files.info["total_episodes"]
        with tqdm(total=total, desc="labelling", unit="episode", disable=not progress) as bar:
            added = {
                path: self._label_rows(path, self.files.read(path, columns), bar.update)
                for path in self.files.data_files()
            }
        report, below = self.report, self.below_at_start
        if not report.labels:
            where = f"{counted(report.frames, 'frame')} in {counted(report.episodes, 'episode')}"
            lines = [f"none of {where} gets a label, so nothing is written:"]
            lines += report.note_lines()
            if self.min_confidence:
                lines.append(f"  labels with a confidence below {self.min_confidence} are left out")
            raise InspireError("\n".join(lines))
        if self.min_confidence and not self.gives_confidence:
            raise _no_confidence(self.labels.labeller, self.min_confidence)
        if len(below) >= 10 and np.mean(below) < 0.5:
            found = f"only {sum(below)} of {len(below)} objects lie below the gripper at the start"
            report.warnings = (f"{found}: is +z up, and are positions in the robot's base frame?",)
        if not self.gives_confidence:
            for new in added.values():
                del new[CONFIDENCE_COLUMN]
        return added

    def _label_rows(self, path: Path, rows: Rows, progress: Callable[[], Any]) -> dict[str, NDArray[Any]]:
        """Return the label columns of one data file. `progress` is called after each episode."""
        shape = len(rows.episode_index), self.labels.max_objects
        added: dict[str, NDArray[Any]] = {
            column: np.full(shape, NO_LABEL, dtype=np.int16) for column in self.labels.columns().values()
        }
        added[CONFIDENCE_COLUMN] = np.zeros(shape, dtype=np.uint8)
        for span in rows.episodes():
            self.report.episodes += 1
            self.report.frames += span.stop - span.start
            notes: dict[str, list[tuple[int, int]]] = {}  # each once an episode, in order
            for run in rows.of_one_task(span):
                instruction = self.files.instruction(int(rows.task_index[run.start]))
                if not instruction.strip():
                    notes.setdefault("its instruction is empty", [])
                    self.report.without_instruction += run.stop - run.start
                elif instruction not in self.labels.tasks:
                    notes.setdefault("its instruction names no object", [])
                else:
                    self._label_run(path, rows, span, run, instruction, notes, added)
            self.report.add_notes(int(rows.episode_index[span.start]), notes)
            progress()
        return added

    def _label_run(
        self,
        path: Path,
        rows: Rows,
        span: slice,
        run: slice,
        instruction: str,
        notes: dict[str, list[tuple[int, int]]],
        added: dict[str, NDArray[Any]],
    ) -> None:
        """Label the rows `run` of the episode `span`, which have one instruction."""
        shown = run if getattr(self.labeller, "one_task_at_a_time", False) else span
        episode = Episode(
            int(rows.episode_index[span.start]),
            instruction,
            self.labels.tasks[instruction],
            {name: values[shown] for name, values in rows.columns.items()},
            self.files.names(),
            float(self.files.info["fps"]),
            tuple(self.labels.overrides.get(instruction, ())),
        )
        frames = Frames(path.relative_to(self.files.root).as_posix(), run.start, episode.index)
        tracks, first = (
            self.kept.find(frames, partial(self.labeller.label, episode)),
            shown.start - span.start,
        )
        for note in tracks.notes:
            spans = note.frames if isinstance(note, Note) else ()
            notes.setdefault(str(note), []).extend((first + a, first + b) for a, b in spans)
        tracks = tracks.cut(slice(run.start - shown.start, run.stop - shown.start))
        codes = encode_tracks(tracks, self.labels, min_confidence=self.min_confidence)
        for mode, values in codes.items():
            added[answer_column(mode)][run] = values
        objects = len(episode.mentions)
        if tracks.confidence is not None:
            self.gives_confidence = True
            added[CONFIDENCE_COLUMN][run, :objects] = np.round(100 * np.asarray(tracks.confidence))
        known = next(iter(codes.values()))[:, :objects] != NO_LABEL
        self.report.labels += int(known.sum())
        self.report.unlabelled += int((~known).sum())
        if run.start == span.start:
            offsets = np.asarray(tracks.gripper_to_object_m)[0]
            self.below_at_start += (offsets[np.isfinite(offsets).all(axis=-1), 2] < 0).tolist()
