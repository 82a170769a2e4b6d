"""What is answered first in most episodes: the guesses of an episode's first step, when there is no step before it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inspire_vla.labels.lerobot_files import LeRobotFiles
from inspire_vla.lerobot_plugin.dataset_labels import stored_answers
from inspire_vla.spatial import canonical_answers, decode_answers

if TYPE_CHECKING:
    from lerobot.datasets import LeRobotDatasetMetadata

FILE = "first_answers.json"


def count_first_answers(dataset: "LeRobotDatasetMetadata", mode: str) -> tuple[str, ...]:
    """The most frequent label of the first, second, … object in the first frames of a labelled dataset."""
    files = LeRobotFiles.open(dataset.root)
    first = [codes[rows.starts()] for rows, codes in stored_answers(files, mode)]
    words = []
    for slot in np.concatenate(first).T:
        counts = np.bincount(slot[slot >= 0], minlength=len(canonical_answers(mode)))
        if not counts.any():  # no instruction names so many objects
            break
        words.append(str(decode_answers(np.array([counts.argmax()]), mode)[0]))
    return tuple(words)


def save_first_answers(words: tuple[str, ...], checkpoint: Path) -> None:
    """Write them into a checkpoint folder."""
    (checkpoint / FILE).write_text(json.dumps(list(words)) + "\n", encoding="utf-8")


def load_first_answers(checkpoint: Path) -> tuple[str, ...]:
    """Those of a checkpoint folder; () where it has none. A guess changes no outcome, so an old file does no harm."""
    file = checkpoint / FILE
    return tuple(map(str, json.loads(file.read_text(encoding="utf-8")))) if file.is_file() else ()
