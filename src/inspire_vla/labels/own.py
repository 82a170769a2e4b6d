"""A user's own truth: a function, or a table of object positions per frame.

episode,frame,object,x,y,z[,grasped]         object: a mention, or its number in the instruction
0,0,the red cube,0.51,0.20,0.02,0            metres, robot base frame
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inspire_vla.errors import InspireError
from inspire_vla.labels.hand import HandColumns, find_hand_columns
from inspire_vla.labels.labeller import Episode, Tracks

_COLUMNS = ("episode", "frame", "object", "x", "y", "z")


@dataclass(frozen=True)
class FromFunction:
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
        """What the function says, checked. Raises InspireError for another shape."""
        found = self.function(episode)
        if not isinstance(found, Tracks):
            offsets, grasped = found
            found = Tracks(np.asarray(offsets, dtype=np.float32), np.asarray(grasped, dtype=bool))
        wanted = (len(episode), len(episode.mentions), 3)
        if found.gripper_to_object_m.shape != wanted:
            raise InspireError(
                f"{self.label_name} returned offsets {found.gripper_to_object_m.shape} for episode {episode.index}, "
                f"expected {wanted}."
            )
        return found


@dataclass(frozen=True)
class FromTable:
    """A table as drawn above. Frames between two rows of an object take the earlier one; before the first: no label.

    Without the column `grasped` nothing is grasped.

    Args:
        hand: where the hand's position stands in the dataset; None finds it by its names. No gripper is needed.
        metres_per_unit, below_hand_m: of the hand's position, as of FromDemonstration; the table is in metres.
    """

    rows: Mapping[tuple[int, str], tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]]
    digest: str
    hand: HandColumns | None = None
    metres_per_unit: float = 1.0
    below_hand_m: float = 0.0
    name: str = field(default="table", init=False)

    @classmethod
    def read(cls, path: str | Path, hand: HandColumns | None = None) -> Self:
        """Read parquet or CSV. Raises InspireError: unreadable, a column lacks, a position that is no number."""
        path = Path(path)
        try:
            table = pq.read_table(path) if path.suffix == ".parquet" else pc.read_csv(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, pa.ArrowInvalid) as error:
            raise InspireError(f"{path} cannot be read as parquet or CSV: {error}.") from None
        lacking = [name for name in _COLUMNS if name not in table.column_names]
        if lacking:
            raise InspireError(f"{path} lacks the columns {lacking}. It has {table.column_names}.")
        try:
            numbers = np.column_stack([table[axis].to_numpy().astype(np.float64) for axis in "xyz"])
            episodes = table["episode"].to_numpy().astype(np.int64)
            frames = table["frame"].to_numpy().astype(np.int64)
            held = (
                table["grasped"].to_numpy(zero_copy_only=False).astype(bool)
                if "grasped" in table.column_names
                else np.zeros(len(table), bool)
            )
        except (ValueError, TypeError, pa.ArrowInvalid) as error:
            raise InspireError(f"{path}: episode, frame, x, y, z must be numbers ({error}).") from None
        objects = [str(value) for value in table["object"].to_pylist()]
        found: dict[tuple[int, str], list[int]] = {}
        for i, key in enumerate(zip(episodes.tolist(), objects, strict=True)):
            found.setdefault(key, []).append(i)
        rows = {}
        for key, numbered in found.items():
            order = np.array(numbered)[np.argsort(frames[numbered], kind="stable")]
            rows[key] = (frames[order], numbers[order], held[order])
        return cls(rows, digest, hand)

    def settings(self) -> dict[str, Any]:
        """The table's digest and where the hand is."""
        return {
            "sha256": self.digest,
            "hand": None if self.hand is None else self.hand.to_json(),
            "metres_per_unit": self.metres_per_unit,
            "below_hand_m": self.below_hand_m,
        }

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Where the hand may be."""
        if self.hand is not None:
            return (self.hand.position_column,)
        return tuple(name for name in names if name == "action" or name.startswith("observation.state"))

    def prepared(
        self,
        columns: Mapping[str, NDArray[Any]],
        names: Mapping[str, tuple[str, ...]],
        starts: NDArray[np.intp],
    ) -> Self:
        """Find the hand by name, if it was not given. Raises InspireError: none, or its unit cannot be metres."""
        hand = self.hand or find_hand_columns(columns, names, needs_gripper=False)
        hand.check_unit(columns, self.metres_per_unit)
        return replace(self, hand=hand)

    def label(self, episode: Episode) -> Tracks:
        """Positions of the table minus the hand's."""
        if self.hand is None:
            raise InspireError("the table's labeller does not know where the hand is: call prepared() first.")
        hand = self.hand.tips(episode.columns, self.metres_per_unit, self.below_hand_m)
        frames, objects = len(episode), len(episode.mentions)
        place = np.full((frames, objects, 3), np.nan)
        grasped = np.zeros((frames, objects), dtype=bool)
        missing = 0
        for i, mention in enumerate(episode.mentions):
            row = self.rows.get((episode.index, mention)) or self.rows.get((episode.index, str(i)))
            if row is None:
                missing += 1
                continue
            at = np.searchsorted(row[0], np.arange(frames), side="right") - 1
            known = at >= 0
            place[known, i] = row[1][at[known]]
            grasped[known, i] = row[2][at[known]]
        notes = (f"{missing} objects that the table lacks",) if missing else ()
        return Tracks((place - hand[:, None]).astype(np.float32), grasped, None, notes)
