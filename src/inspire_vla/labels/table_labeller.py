"""A user's own labels from a table of object positions, see object_table.py."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from inspire_vla.errors import InspireError, counted, nearest
from inspire_vla.labels.end_effector import EndEffectorColumns, check_units
from inspire_vla.labels.find_end_effector import find_end_effector_columns
from inspire_vla.labels.finding import Finding, column_findings
from inspire_vla.labels.labeller import REACH_M, Episode, Recording, Tracks
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.object_table import ObjectRows, mention_index, plain_name, read_object_table
from inspire_vla.labels.value_names import state_and_action_columns


@dataclass(frozen=True)
class TableLabeller:
    """Labels from a table.

    A row holds until the next row of the same object. Before its first row an object has no label. Without the column
    `grasped`, nothing is grasped.

    Args:
        rows: episode → object → its rows.
        end_effector: the columns of the end effector's position; None finds them by name. No gripper is needed.
        metres_per_unit, fingertips_below_m, arm: see `DemonstrationLabeller`; the table itself is in metres.
        findings: set by `calibrate`. instructions: episode → its instructions; `with_dataset` reads them.
    """

    rows: Mapping[int, Mapping[str, ObjectRows]]
    digest: str
    end_effector: EndEffectorColumns | None = None
    metres_per_unit: float = 1.0
    fingertips_below_m: float = 0.0
    arm: str | None = None
    instructions: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = field(default=(), compare=False)
    name: str = field(default="table", init=False)
    gives_confidence: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_units(self.metres_per_unit, self.fingertips_below_m)

    @classmethod
    def read(cls, path: str | Path, end_effector: EndEffectorColumns | None = None) -> Self:
        """Read a parquet or CSV file. Raises InspireError as `read_object_table`."""
        path = Path(path)
        return cls(read_object_table(path), hashlib.sha256(path.read_bytes()).hexdigest(), end_effector)

    def settings(self) -> dict[str, Any]:
        """SHA-256 of the table, and how the end effector's position is read."""
        return {
            "sha256": self.digest,
            "end_effector": None if self.end_effector is None else self.end_effector.to_json(),
            "metres_per_unit": self.metres_per_unit,
            "fingertips_below_m": self.fingertips_below_m,
        }

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The columns in which the position is, or may be."""
        if self.end_effector is not None:
            return (self.end_effector.position_values.column,)
        return state_and_action_columns(names)

    def with_dataset(self, root: str | Path) -> Self:
        """Check that the dataset has the table's episodes and frames, and read its instructions.

        Raises:
            InspireError: the dataset has no such episode or frame.
        """
        frames: Counter[int] = Counter()
        instructions: dict[int, tuple[str, ...]] = {}
        for segment, _ in LeRobotFiles.open(root).segments():
            frames[segment.episode] += len(segment)
            earlier = instructions.get(segment.episode, ())
            instructions[segment.episode] = (*earlier, segment.instruction)
        foreign = sorted(set(self.rows) - set(frames))
        if foreign:
            raise InspireError(
                f"the table has rows of {counted(len(foreign), 'episode')} that the dataset lacks, "
                f"{foreign[:5]}: the dataset's "
                f"{counted(len(frames), 'episode is', 'episodes are')} numbered {min(frames)} to {max(frames)}."
            )
        for episode, objects in self.rows.items():
            for name, found in objects.items():
                if found.frames[-1] >= frames[episode]:
                    raise InspireError(
                        f"the table has {name!r} in frame {found.frames[-1]} of episode {episode}, whose frames are 0 "
                        f"to {frames[episode] - 1}: they are counted from 0 in each episode, not over the dataset."
                    )
        return replace(self, instructions=instructions)

    def calibrate(self, recording: Recording) -> Self:
        """Find the end effector's columns by name, if they were not given.

        Raises:
            InspireError: none are found, or their unit cannot be metres.
        """
        if self.end_effector is None:
            candidates = find_end_effector_columns(recording, needs_gripper=False, arm=self.arm)
            if len(candidates) > 1:
                arms = [one.arm for one in candidates]
                raise InspireError(
                    f"positions of the arms {arms} are found; a table needs one of them: --arm."
                )
            end_effector = replace(candidates[0], width_values=None, command_values=None)
        else:
            end_effector = self.end_effector.resolve(recording.names)
        end_effector = end_effector.in_known_unit(recording, self.metres_per_unit)
        findings = tuple(column_findings(end_effector, recording, several=False))
        return replace(self, end_effector=end_effector, findings=findings)

    def label(self, episode: Episode) -> Tracks:
        """Subtract the fingertips' position from the table's.

        Raises:
            InspireError: an object is out of reach, or the table has two names for it.
        """
        if self.end_effector is None:
            raise InspireError(
                "the labeller does not know the end effector's columns: call calibrate() first."
            )
        fingertips = self.end_effector.fingertips(
            episode.columns, self.metres_per_unit, self.fingertips_below_m
        )
        frames, objects = len(episode), len(episode.mentions)
        position = np.full((frames, objects, 3), np.nan)
        grasped = np.zeros((frames, objects), dtype=bool)
        matched, notes = self._match(episode)
        for i, rows in matched.items():
            row = np.searchsorted(rows.frames, np.arange(frames), side="right") - 1
            known = row >= 0
            position[known, i] = rows.position_m[row[known]]
            grasped[known, i] = rows.grasped[row[known]]
        offsets = position - fingertips[:, None]
        far = np.argwhere(np.linalg.norm(offsets, axis=-1) > REACH_M)
        if len(far):
            frame, i = far[0]
            raise InspireError(
                f"{episode.mentions[i]!r} is at {np.round(position[frame, i], 3).tolist()} in the table, and the "
                f"gripper at {np.round(fingertips[frame], 3).tolist()} (episode {episode.index}, frame {frame}): more "
                f"than {REACH_M:g} m apart, which no arm reaches. The table must be in metres (a thousandth of "
                "millimetres) and the robot's base frame; --metres-per-unit is of the end effector's position alone."
            )
        return Tracks(offsets.astype(np.float32), grasped, None, notes)

    def _match(self, episode: Episode) -> tuple[dict[int, ObjectRows], tuple[str, ...]]:
        """Return the mention's index → its rows, and notes about rows and mentions without a match."""
        matched: dict[int, ObjectRows] = {}
        names: dict[int, str] = {}
        notes = []
        others = [text for text in self.instructions.get(episode.index, ()) if text != episode.instruction]
        for name, rows in self.rows.get(episode.index, {}).items():
            i = mention_index(name, episode.mentions)
            if i is not None and i in names:
                raise InspireError(
                    f"the table calls {episode.mentions[i]!r} both {names[i]!r} and {name!r} in episode "
                    f"{episode.index}. Possible: one name for one object."
                )
            if i is not None:
                matched[i], names[i] = rows, name
            elif not any(name.isdecimal() or plain_name(name) in text.casefold() for text in others):
                notes.append(
                    f"the table's {name!r} is no object of the task.{nearest(name, episode.mentions)}"
                )
        missing = [mention for i, mention in enumerate(episode.mentions) if i not in matched]
        return matched, (*notes, *(f"the table has no rows of {mention!r}" for mention in missing))
