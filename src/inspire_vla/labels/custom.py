"""A user's own labels: from a function, or from a table of object positions.

episode,frame,object,x,y,z[,grasped]         object: a mention, or its index in the instruction
0,0,the red cube,0.51,0.20,0.02,0            metres, robot base frame
"""

import hashlib
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, counted, nearest, reason_of
from inspire_vla.labels.calibration import Finding, column_findings
from inspire_vla.labels.end_effector import EndEffectorColumns
from inspire_vla.labels.find_end_effector import find_end_effector_columns
from inspire_vla.labels.labeller import Episode, Recording, Tracks, code_sha256
from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.labels.value_names import state_and_action_columns

_REACH_M = 3.0
"""No arm reaches an object that is further away: the unit is wrong."""


# --- a function


@dataclass(frozen=True)
class FunctionLabeller:
    """Labels with a function: Episode → Tracks, or Episode → (gripper_to_object_m (T, k, 3), grasped (T, k)).

    name: stored with the labels. The function gets all number columns.
    """

    function: Callable[[Episode], Any]
    name: str = "custom"

    def settings(self) -> dict[str, Any]:
        """SHA-256 of the file that defines the function: another function, or constant, gives other labels."""
        return {"source_sha256": code_sha256(self.function)}

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """All number columns."""
        return names

    def label(self, episode: Episode) -> Tracks:
        """Call the function and check what it returns.

        Raises:
            InspireError: the function fails, with its traceback; or it returns something else.
        """
        shape = (len(episode), len(episode.mentions))
        try:
            returned = self.function(episode)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__)[1:]).rstrip()
            why = f"{type(error).__name__}: {reason_of(error, with_file=True)}"
            raise InspireError(f"{self.name} failed in episode {episode.index}: {why}.\n{where}") from error
        if not isinstance(returned, Tracks):
            returned = self._tracks(returned, episode, shape)
        given = np.shape(returned.gripper_to_object_m)
        if given != (*shape, 3):
            raise InspireError(
                f"{self.name} returned offsets {given} for episode {episode.index}, "
                f"expected {(*shape, 3)}: frames, objects {list(episode.mentions)}, x y z."
            )
        if (np.linalg.norm(returned.gripper_to_object_m, axis=-1) > _REACH_M).any():
            note = f"objects more than {_REACH_M:g} m from the gripper: are the offsets in metres?"
            return replace(returned, notes=(*returned.notes, note))
        return returned

    def _tracks(self, found: Any, episode: Episode, shape: tuple[int, int]) -> Tracks:
        try:
            offsets, grasped = found if isinstance(found, (tuple, list)) else (None, None)
            offsets, grasped = np.asarray(offsets, dtype=np.float32), np.asarray(grasped)
            if np.shape(grasped) == shape and np.isin(grasped, (0, 1)).all():
                return Tracks(offsets, grasped.astype(bool))
        except (ValueError, TypeError):  # not a pair, not numbers, or no shape of offsets
            pass
        raise InspireError(
            f"{self.name} returned {_describe(found)} for episode {episode.index}, expected Tracks, or the pair "
            f"of gripper_to_object_m {(*shape, 3)} in metres, NaN where unknown, and grasped {shape} of bool."
        )


def _describe(value: Any) -> str:
    """Describe a value in a few words: "a tuple of (array (5, 3), array (5,))"."""
    if isinstance(value, (tuple, list)) and len(value) <= 4:
        return f"a {type(value).__name__} of ({', '.join(map(_describe, value))})"
    shape = getattr(value, "shape", None)
    return "None" if value is None else f"{type(value).__name__}{'' if shape is None else f' {tuple(shape)}'}"


# --- a table


@dataclass(frozen=True)
class ObjectRows:
    """One object in one episode: n rows in order of frame.

    frames: (n,). position_m: (n, 3) base frame, NaN where a cell is empty. grasped: (n,).
    """

    frames: NDArray[np.int64]
    position_m: NDArray[np.float64]
    grasped: NDArray[np.bool_]


@dataclass(frozen=True)
class TableLabeller:
    """Labels from a table as drawn above.

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
        far = np.argwhere(np.linalg.norm(offsets, axis=-1) > _REACH_M)
        if len(far):
            frame, i = far[0]
            raise InspireError(
                f"{episode.mentions[i]!r} is at {np.round(position[frame, i], 3).tolist()} in the table, and the "
                f"gripper at {np.round(fingertips[frame], 3).tolist()} (episode {episode.index}, frame {frame}): more "
                f"than {_REACH_M:g} m apart, which no arm reaches. The table must be in metres (a thousandth of "
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
            elif not any(name.isdecimal() or _normalise(name) in text.casefold() for text in others):
                notes.append(
                    f"the table's {name!r} is no object of the task.{nearest(name, episode.mentions)}"
                )
        missing = [mention for i, mention in enumerate(episode.mentions) if i not in matched]
        return matched, (*notes, *(f"the table has no rows of {mention!r}" for mention in missing))


_COLUMNS = ("episode", "frame", "object", "x", "y", "z")
_ARTICLES = ("the", "a", "an")
_GRASPED = {"": False, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def read_object_table(path: Path) -> dict[int, dict[str, ObjectRows]]:
    """Read a parquet or CSV table: episode → object → rows.

    Raises:
        InspireError: the file cannot be read, a column is missing, or a cell has an impossible value.
    """
    if not path.is_file():
        raise InspireError(f"There is no table {path}.")
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pc.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} cannot be read as parquet or CSV: {reason_of(error)}.") from None
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise InspireError(f"{path} lacks the columns {missing}. It has {table.column_names}.")
    position = np.column_stack([_numbers(path, table, axis) for axis in "xyz"])
    episodes, frames = _counts(path, table, "episode"), _counts(path, table, "frame")
    grasped = _grasped(path, table)
    row_numbers: dict[tuple[int, str], list[int]] = {}
    for i, key in enumerate(zip(episodes.tolist(), _objects(path, table), strict=True)):
        row_numbers.setdefault(key, []).append(i)
    rows: dict[int, dict[str, ObjectRows]] = {}
    for (episode, name), numbers in row_numbers.items():
        order = np.array(numbers)[np.argsort(frames[numbers], kind="stable")]
        rows.setdefault(episode, {})[name] = ObjectRows(frames[order], position[order], grasped[order])
    return rows


def mention_index(name: str, mentions: Sequence[str]) -> int | None:
    """Index of the mention that `name` in a table stands for.

    The name is the mention itself, or its index, or equal to exactly one mention without case and article.
    """
    if name in mentions:
        return mentions.index(name)
    if name.isdecimal():
        return int(name) if int(name) < len(mentions) else None
    alike = [i for i, mention in enumerate(mentions) if _normalise(mention) == _normalise(name)]
    return alike[0] if len(alike) == 1 else None  # "cup" may be "a cup" or "the cup"


def _normalise(name: str) -> str:
    """ "The Red  Cube" → "red cube"."""
    words = name.casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in _ARTICLES else words)


def _numbers(path: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    values = table[name].to_numpy(zero_copy_only=False)
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise InspireError(
            f"{path}: column {name!r} must hold numbers; it holds {table[name].type}, as in {values[0]!r}."
        ) from None


def _counts(path: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    numbers = _numbers(path, table, name)
    wrong = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.round(numbers)))
    if wrong.any():
        row = int(np.argmax(wrong))
        cell = table[name][row].as_py()
        raise InspireError(
            f"{path}: column {name!r} must hold whole numbers, counted from 0; "
            f"{counted(int(wrong.sum()), 'row does', 'rows do')} not, the "
            f"first is row {row + 1} with {'an empty cell' if cell is None else repr(cell)}."
        )
    return numbers.astype(np.int64)


def _grasped(path: Path, table: pa.Table) -> NDArray[np.bool_]:
    if "grasped" not in table.column_names:
        return np.zeros(len(table), dtype=bool)
    cells = ["" if value is None or value != value else str(value) for value in table["grasped"].to_pylist()]
    grasped = [_GRASPED.get(cell.strip().lower()) for cell in cells]
    if None in grasped:
        row = grasped.index(None)
        raise InspireError(
            f"{path}: column 'grasped', row {row + 1}, holds {cells[row]!r}. "
            "Possible: 1 or true, 0 or false; empty is not grasped."
        )
    return np.array(grasped, dtype=bool)


def _objects(path: Path, table: pa.Table) -> list[str]:
    names = [" ".join(str("" if value is None else value).split()) for value in table["object"].to_pylist()]
    if "" in names:
        raise InspireError(
            f"{path}: column 'object', row {names.index('') + 1}, is empty. "
            "Possible: the words of the instruction, or the object's number in it."
        )
    return names
