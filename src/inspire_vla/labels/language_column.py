"""Labels as rows of LeRobot's language column, for policies that are trained from recipes of messages.

    {"role": "user", "style": "direction_1", "content": "In which direction is the red cube relative to the robot?"}
    {"role": "assistant", "style": "direction_1", "content": "grasped"}

Two rows for each object that has a label in a frame: the question and its answer. The style names the reasoning mode
and the number of the object, because LeRobot finds a row by style and role and refuses two of a kind. The rows are
events in LeRobot's sense. They belong to their frame alone, so a frame without a label asks and trains nothing. A
recipe finds them with `emitted_at(t, style=direction_1, role=user)`; recipes/messages/inspire_direction.yaml is one.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inspire_vla import lerobot_internals
from inspire_vla.dialogue import ASKED_OBJECTS, question
from inspire_vla.spatial import MODES

LANGUAGE_COLUMN = "language_events"
LANGUAGE_FEATURE = {"dtype": "language", "shape": [1], "names": None}
ROW = pa.struct(
    [
        pa.field("role", pa.string()),
        pa.field("content", pa.string()),
        pa.field("style", pa.string()),
        pa.field("camera", pa.string()),
        pa.field("tool_calls", pa.list_(pa.string())),
    ]
)
Row = dict[str, Any]


def styles(mode: str) -> tuple[str, ...]:
    """Return the styles of a mode's rows, one for each object that a policy is asked about: direction_1, …

    LeRobot refuses a style that is not registered, so no instruction gets rows about more.
    """
    return tuple(f"{mode}_{number}" for number in range(1, ASKED_OBJECTS + 1))


OURS = frozenset(style for mode in MODES for style in styles(mode))
"""The styles of all modes."""


def register_styles() -> None:
    """Make the styles of all modes known to LeRobot."""
    lerobot_internals.register_styles(OURS)


def language_rows(mentions: Sequence[str], answers: NDArray[np.str_], mode: str) -> Iterator[list[Row]]:
    """Yield the rows of each frame, from its answers (T, k). "" is no label: neither its question nor an answer.

    Frames with the same answers share one list: a data file may have a million frames.
    """
    asked = [(style, question(mention, mode)) for style, mention in zip(styles(mode), mentions, strict=False)]
    made: dict[tuple[str, ...], list[Row]] = {}
    for words in map(tuple, answers.tolist()):
        if words not in made:
            made[words] = [
                row
                for (style, text), word in zip(asked, words, strict=True)
                if word
                for row in (_row("user", text, style), _row("assistant", word, style))
            ]
        yield made[words]


def _row(role: str, content: str, style: str) -> Row:
    return {"role": role, "content": content, "style": style, "camera": None, "tool_calls": None}


def read_language_column(path: Path) -> pa.ChunkedArray | None:
    """The language column of a data file, a list of rows for each frame; None if it has none."""
    with pq.ParquetFile(path) as file:
        if LANGUAGE_COLUMN not in file.schema_arrow.names:
            return None
        return file.read(columns=[LANGUAGE_COLUMN])[LANGUAGE_COLUMN]


def styles_in(column: pa.ChunkedArray) -> set[str | None]:
    """The styles of all rows of a column."""
    return set(pc.unique(pc.struct_field(pc.list_flatten(column), "style")).to_pylist())


def build_language_column(frames: Iterable[list[Row]], existing: pa.ChunkedArray | None) -> pa.Array:
    """Build the column from the rows of each frame, of all modes. Rows of other styles in `existing` are kept, before
    ours. Earlier ones of ours are not, of whatever mode: they are of other labels."""
    lists: list[list[Row]] = []
    index: dict[str, int] = {}
    numbers = []
    for number, rows in enumerate(frames):
        before = [] if existing is None else existing[number].as_py() or []
        whole = [*(row for row in before if row["style"] not in OURS), *rows]
        place = index.setdefault(repr(whole), len(lists))
        if place == len(lists):
            lists.append(whole)
        numbers.append(place)
    return pa.array(lists, type=pa.list_(ROW)).take(pa.array(numbers, type=pa.int64()))
