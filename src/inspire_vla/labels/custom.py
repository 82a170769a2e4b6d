"""A table of object positions, read and checked cell by cell.

episode,frame,object,x,y,z[,grasped]         object: a mention, or its number in the instruction
0,0,the red cube,0.51,0.20,0.02,0            metres, robot base frame
"""

import hashlib
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.labels.end_effector import EndEffectorColumns, find_end_effector_columns
from inspire_vla.labels.labeller import Episode, Tracks
from inspire_vla.labels.lerobot_files import LeRobotFiles, read_rows

_COLUMNS = ("episode", "frame", "object", "x", "y", "z")
_ARTICLES = ("the", "a", "an")
_GRASPED = {"": False, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


@dataclass(frozen=True)
class ObjectRows:
    """One object in one episode, in order of frame. position_m: (n, 3), base frame, NaN where the cell is empty."""

    frames: NDArray[np.int64]
    position_m: NDArray[np.float64]
    grasped: NDArray[np.bool_]


def read_object_table(path: Path) -> dict[int, dict[str, ObjectRows]]:
    """Read parquet or CSV: episode → object → rows. Raises InspireError: unreadable, or a cell that cannot be meant."""
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pc.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InspireError(f"{path} cannot be read as parquet or CSV: {error}.") from None
    lacking = [name for name in _COLUMNS if name not in table.column_names]
    if lacking:
        raise InspireError(f"{path} lacks the columns {lacking}. It has {table.column_names}.")
    position = np.column_stack([_numbers(path, table, axis) for axis in "xyz"])
    episodes, frames = _counts(path, table, "episode"), _counts(path, table, "frame")
    grasped = _grasped(path, table)
    found: dict[tuple[int, str], list[int]] = {}
    for i, key in enumerate(zip(episodes.tolist(), _objects(path, table), strict=True)):
        found.setdefault(key, []).append(i)
    rows: dict[int, dict[str, ObjectRows]] = {}
    for (episode, name), numbered in found.items():
        order = np.array(numbered)[np.argsort(frames[numbered], kind="stable")]
        rows.setdefault(episode, {})[name] = ObjectRows(frames[order], position[order], grasped[order])
    return rows


def mention_of(name: str, mentions: Sequence[str]) -> int | None:
    """Number of the mention that a table's `name` is: the same words, its number, or but for case and article."""
    if name in mentions:
        return mentions.index(name)
    if name.isdecimal():
        return int(name) if int(name) < len(mentions) else None
    alike = [i for i, mention in enumerate(mentions) if bare(mention) == bare(name)]
    return alike[0] if len(alike) == 1 else None  # "cup" is neither of "a cup" and "the cup"


def bare(name: str) -> str:
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
        raise InspireError(
            f"{path}: column {name!r} must hold whole numbers, counted from 0; {int(wrong.sum())} rows do not, the "
            f"first is row {row + 1} with {_shown(table, name, row)}."
        )
    return numbers.astype(np.int64)


def _grasped(path: Path, table: pa.Table) -> NDArray[np.bool_]:
    if "grasped" not in table.column_names:
        return np.zeros(len(table), dtype=bool)
    cells = ["" if value is None or value != value else str(value) for value in table["grasped"].to_pylist()]
    known = [_GRASPED.get(cell.strip().lower()) for cell in cells]
    if None in known:
        row = known.index(None)
        raise InspireError(
            f"{path}: column 'grasped', row {row + 1}, holds {cells[row]!r}. "
            "Possible: 1 or true, 0 or false; empty is not grasped."
        )
    return np.array(known, dtype=bool)


def _objects(path: Path, table: pa.Table) -> list[str]:
    names = [" ".join(str("" if value is None else value).split()) for value in table["object"].to_pylist()]
    if "" in names:
        raise InspireError(
            f"{path}: column 'object', row {names.index('') + 1}, is empty. "
            "Possible: the words of the instruction, or the object's number in it."
        )
    return names


def _shown(table: pa.Table, name: str, row: int) -> str:
    value = table[name][row].as_py()
    return "an empty cell" if value is None else repr(value)


_FAR_M = 3.0
"""Further from the hand than anything that an arm is shown to reach for: the unit is another one."""


@dataclass(frozen=True)
class FunctionLabeller:
    """A callable Episode → Tracks, or → (gripper_to_object_m (T, k, 3), grasped (T, k)). `label_name` is kept."""

    function: Callable[[Episode], Any]
    label_name: str = "own"
    wanted: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """What is written beside the labels."""
        return self.label_name

    def settings(self) -> dict[str, Any]:
        """The function's source, as a digest: another function gives other labels."""
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            source = repr(self.function)
        return {"source_sha256": hashlib.sha256(source.encode()).hexdigest()}

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """All number columns, unless `wanted`."""
        return names if self.wanted is None else self.wanted

    def label(self, episode: Episode) -> Tracks:
        """What the function says, checked. Raises InspireError: it fails, or says something else."""
        shape = (len(episode), len(episode.mentions))
        try:
            found = self.function(episode)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__)[1:]).rstrip()
            raise InspireError(
                f"{self.label_name} failed in episode {episode.index}: {type(error).__name__}: {error}.\n{where}"
            ) from error
        if not isinstance(found, Tracks):
            found = self._tracks(found, episode, shape)
        given = np.shape(found.gripper_to_object_m)
        if given != (*shape, 3):
            raise InspireError(
                f"{self.label_name} returned offsets {given} for episode {episode.index}, "
                f"expected {(*shape, 3)}: frames, objects {list(episode.mentions)}, x y z."
            )
        if (np.linalg.norm(found.gripper_to_object_m, axis=-1) > _FAR_M).any():
            note = f"objects more than {_FAR_M:g} m from the hand: are the offsets in metres?"
            return replace(found, notes=(*found.notes, note))
        return found

    def _tracks(self, found: Any, episode: Episode, shape: tuple[int, int]) -> Tracks:
        try:
            offsets, grasped = found if isinstance(found, (tuple, list)) else (None, None)
            offsets, grasped = np.asarray(offsets, dtype=np.float32), np.asarray(grasped)
            if np.shape(grasped) == shape and np.isin(grasped, (0, 1)).all():
                return Tracks(offsets, grasped.astype(bool))
        except (ValueError, TypeError):  # not two, or no numbers, or of no shape that offsets have
            pass
        raise InspireError(
            f"{self.label_name} returned {_told(found)} for episode {episode.index}, expected Tracks, or the pair of "
            f"gripper_to_object_m {(*shape, 3)} in metres, NaN where unknown, and grasped {shape} of bool."
        )


@dataclass(frozen=True)
class TableLabeller:
    """A table as drawn above. Frames between two rows of an object take the earlier one; before the first: no label.

    Without the column `grasped` nothing is grasped.

    Args:
        rows: episode → object → its rows.
        hand: where the hand's position stands in the dataset; None finds it by its names. No gripper is needed.
        metres_per_unit, fingertips_below_m: as DemonstrationLabeller's; the table is in metres.
        instructions: of each episode; `opened` reads them off a dataset.
    """

    rows: Mapping[int, Mapping[str, ObjectRows]]
    digest: str
    hand: EndEffectorColumns | None = None
    metres_per_unit: float = 1.0
    fingertips_below_m: float = 0.0
    instructions: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    name: str = field(default="table", init=False)

    @classmethod
    def read(cls, path: str | Path, hand: EndEffectorColumns | None = None) -> Self:
        """Read parquet or CSV. Raises InspireError: unreadable, a column lacks, a cell that cannot be meant."""
        path = Path(path)
        return cls(read_object_table(path), hashlib.sha256(path.read_bytes()).hexdigest(), hand)

    def settings(self) -> dict[str, Any]:
        """The table's digest and where the hand is."""
        return {
            "sha256": self.digest,
            "hand": None if self.hand is None else self.hand.to_json(),
            "metres_per_unit": self.metres_per_unit,
            "fingertips_below_m": self.fingertips_below_m,
        }

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Where the hand may be."""
        if self.hand is not None:
            return (self.hand.position_column,)
        return tuple(name for name in names if name == "action" or name.startswith("observation.state"))

    def opened(self, dataset_root: str | Path) -> Self:
        """Hold the table's numbers against this dataset's. Raises InspireError for an episode or frame it lacks."""
        files = LeRobotFiles.open(dataset_root)
        frames: dict[int, int] = {}
        instructions: dict[int, tuple[str, ...]] = {}
        for path in files.data_files():
            rows = read_rows(path, ())
            for span in rows.episodes():
                episode, tasks = int(rows.episode_index[span.start]), np.unique(rows.task_index[span])
                frames[episode] = span.stop - span.start
                instructions[episode] = tuple(files.tasks.get(int(task), "") for task in tasks)
        foreign = sorted(set(self.rows) - set(frames))
        if foreign:
            raise InspireError(
                f"the table has rows of {len(foreign)} episodes that the dataset lacks, {foreign[:5]}: the dataset's "
                f"{len(frames)} episodes are numbered {min(frames)} to {max(frames)}."
            )
        for episode, objects in self.rows.items():
            for name, found in objects.items():
                if found.frames[-1] >= frames[episode]:
                    raise InspireError(
                        f"the table has {name!r} in frame {found.frames[-1]} of episode {episode}, whose frames are 0 "
                        f"to {frames[episode] - 1}: they are counted from 0 in each episode, not over the dataset."
                    )
        return replace(self, instructions=instructions)

    def prepared(
        self,
        columns: Mapping[str, NDArray[Any]],
        names: Mapping[str, tuple[str, ...]],
        starts: NDArray[np.intp],
    ) -> Self:
        """Find the hand by name, if it was not given. Raises InspireError: none, or its unit cannot be metres."""
        hand = self.hand or find_end_effector_columns(columns, names, needs_gripper=False)
        hand.check_unit(columns, self.metres_per_unit)
        return replace(self, hand=hand)

    def label(self, episode: Episode) -> Tracks:
        """Positions of the table minus the hand's. Raises InspireError for what is out of any hand's reach."""
        if self.hand is None:
            raise InspireError("the table's labeller does not know where the hand is: call prepared() first.")
        hand = self.hand.tips(episode.columns, self.metres_per_unit, self.fingertips_below_m)
        frames, objects = len(episode), len(episode.mentions)
        place = np.full((frames, objects, 3), np.nan)
        grasped = np.zeros((frames, objects), dtype=bool)
        found, notes = self._matched(episode)
        for i, rows in found.items():
            at = np.searchsorted(rows.frames, np.arange(frames), side="right") - 1
            known = at >= 0
            place[known, i] = rows.position_m[at[known]]
            grasped[known, i] = rows.grasped[at[known]]
        far = np.argwhere(np.linalg.norm(place - hand[:, None], axis=-1) > _FAR_M)
        if len(far):
            frame, i = far[0]
            raise InspireError(
                f"{episode.mentions[i]!r} is at {np.round(place[frame, i], 3).tolist()} in the table, and the hand at "
                f"{np.round(hand[frame], 3).tolist()} (episode {episode.index}, frame {frame}): more than {_FAR_M:g} m "
                "apart, which no arm reaches. The table must be in metres (a thousandth of millimetres) and the "
                "robot's base frame; --metres-per-unit is of the hand's position alone."
            )
        return Tracks((place - hand[:, None]).astype(np.float32), grasped, None, notes)

    def _matched(self, episode: Episode) -> tuple[dict[int, ObjectRows], tuple[str, ...]]:
        """Number of the mention → its rows, and what of the episode's rows and mentions remains without the other."""
        found: dict[int, ObjectRows] = {}
        names: dict[int, str] = {}
        notes = []
        others = [text for text in self.instructions.get(episode.index, ()) if text != episode.instruction]
        for name, rows in self.rows.get(episode.index, {}).items():
            i = mention_of(name, episode.mentions)
            if i is not None and i in names:
                raise InspireError(
                    f"the table calls {episode.mentions[i]!r} both {names[i]!r} and {name!r} in episode "
                    f"{episode.index}. Possible: one name for one object."
                )
            if i is not None:
                found[i], names[i] = rows, name
            elif not any(name.isdecimal() or bare(name) in text.casefold() for text in others):
                notes.append(
                    f"the table's {name!r} is no object of the task.{did_you_mean(name, episode.mentions)}"
                )
        lacking = [mention for i, mention in enumerate(episode.mentions) if i not in found]
        return found, (*notes, *(f"the table has no rows of {mention!r}" for mention in lacking))


def _told(value: Any) -> str:
    """What a value is, in a few words: "a tuple of (array (5, 3), array (5,))"."""
    if isinstance(value, (tuple, list)) and len(value) <= 4:
        return f"a {type(value).__name__} of ({', '.join(map(_told, value))})"
    shape = getattr(value, "shape", None)
    return "None" if value is None else f"{type(value).__name__}{'' if shape is None else f' {tuple(shape)}'}"
