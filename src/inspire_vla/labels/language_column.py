"""Labels as rows of LeRobot's language column, for policies that are trained from recipes of messages.

    {"role": "assistant", "style": "direction", "timestamp": 1.3, "content": "the red cube: grasped; the plate: left"}

A row becomes active when an answer changes and stays so until the next, which is what LeRobot calls persistent: every
frame of an episode carries all its rows. Recipes select them with `active_at(style="direction")`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

COLUMN = "language_persistent"
FEATURE = {"dtype": "language", "shape": [1], "names": None}
ROW = pa.struct(
    [
        pa.field("role", pa.string()),
        pa.field("content", pa.string()),
        pa.field("style", pa.string()),
        pa.field("timestamp", pa.float32()),
        pa.field("camera", pa.string()),
        pa.field("tool_calls", pa.list_(pa.string())),
    ]
)


def register_style(style: str) -> None:
    """Tell LeRobot of the style; in place, since others hold these sets."""
    from lerobot.datasets import language

    for known in (language.EXTENDED_STYLES, language.STYLE_REGISTRY, language.PERSISTENT_STYLES):
        known.add(style)


def content(mentions: Sequence[str], answers: Sequence[str]) -> str:
    """ "the red cube: down; the plate: left"; what has no label is left out."""
    return "; ".join(f"{m}: {a}" for m, a in zip(mentions, answers, strict=True) if a)


def rows_of(
    mentions: Sequence[str], answers: NDArray[np.str_], timestamps: NDArray[np.floating], style: str
) -> Iterator[dict[str, Any]]:
    """A row for each change of the answers (T, k) of an episode, "" being no label."""
    before = None
    for words, time in zip(answers.tolist(), timestamps.tolist(), strict=True):
        said = content(mentions, words)
        if said and said != before:
            before = said
            yield {
                "role": "assistant",
                "content": said,
                "style": style,
                "timestamp": float(time),
                "camera": None,
                "tool_calls": None,
            }


def existing(path: Path) -> pa.ChunkedArray | None:
    """The language column of a data file; None if it has none."""
    with pq.ParquetFile(path) as file:
        if COLUMN not in file.schema_arrow.names:
            return None
        return file.read(columns=[COLUMN])[COLUMN]


def language_column(
    episodes: Sequence[tuple[int, list[dict[str, Any]]]],
    before: pa.Array | pa.ChunkedArray | None,
    style: str,
) -> pa.Array:
    """(frames, rows) of each episode in turn → the column. Rows of other styles in `before` are kept."""
    lists: list[list[dict[str, Any]]] = []
    at = 0
    for frames, rows in episodes:
        others: list[dict[str, Any]] = []
        if before is not None:
            others = [row for row in before[at].as_py() or [] if row["style"] != style]
        whole = sorted([*others, *rows], key=lambda row: (row["timestamp"], row["style"] or ""))
        lists += [whole] * frames
        at += frames
    return pa.array(lists, type=pa.list_(ROW))
