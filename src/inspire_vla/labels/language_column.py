"""Labels as rows of LeRobot's language column, for policies that are trained from recipes of messages.

    {"role": "assistant", "style": "direction", "timestamp": 1.3, "content": "the red cube: grasped; the plate: left"}

A row is active from its timestamp until the next row. LeRobot calls such rows persistent: every frame of an episode
holds all of them. Recipes select them with `active_at(style="direction")`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

LANGUAGE_COLUMN = "language_persistent"
LANGUAGE_FEATURE = {"dtype": "language", "shape": [1], "names": None}
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
    """Add the style to LeRobot's sets of known styles, in place, because other modules hold these sets."""
    from lerobot.datasets import language

    for styles in (language.EXTENDED_STYLES, language.STYLE_REGISTRY, language.PERSISTENT_STYLES):
        styles.add(style)


def language_rows(
    mentions: Sequence[str], answers: NDArray[np.str_], timestamps: NDArray[np.floating], style: str
) -> Iterator[dict[str, Any]]:
    """Yield a row for each change of an episode's answers (T, k); "" is no label and is not written."""
    previous = ""
    for words, time in zip(answers.tolist(), timestamps.tolist(), strict=True):
        content = "; ".join(f"{m}: {word}" for m, word in zip(mentions, words, strict=True) if word)
        if content and content != previous:
            previous = content
            yield {
                "role": "assistant",
                "content": content,
                "style": style,
                "timestamp": float(time),
                "camera": None,
                "tool_calls": None,
            }


def read_language_column(path: Path) -> pa.ChunkedArray | None:
    """The language column of a data file; None if it has none."""
    with pq.ParquetFile(path) as file:
        if LANGUAGE_COLUMN not in file.schema_arrow.names:
            return None
        return file.read(columns=[LANGUAGE_COLUMN])[LANGUAGE_COLUMN]


def build_language_column(
    episodes: Sequence[tuple[int, list[dict[str, Any]]]],
    existing: pa.Array | pa.ChunkedArray | None,
    style: str,
) -> pa.Array:
    """Build the column from (frames, rows) of each episode. Rows of other styles in `existing` are kept."""
    lists: list[list[dict[str, Any]]] = []
    for frames, rows in episodes:
        before = [] if existing is None else existing[len(lists)].as_py() or []
        others = [row for row in before if row["style"] != style]
        lists += [sorted([*others, *rows], key=lambda row: (row["timestamp"], row["style"] or ""))] * frames
    return pa.array(lists, type=pa.list_(ROW))
