"""Labels from a simulator's state: the privileged columns that `inspire collect` and the importers write."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from inspire_vla.errors import InspireError, counted
from inspire_vla.labels.columns import (
    GRASPED_COLUMN,
    LABELS_FILE,
    OFFSET_COLUMN,
    UNKNOWN_PLACE,
    LabelsMissing,
    changed_instructions,
    has_labels,
    read_labelled,
    read_labels,
)
from inspire_vla.labels.labeller import Episode, Tracks
from inspire_vla.labels.lerobot_files import LeRobotFiles

LABELLER = "simulator_state"
PRIVILEGED_MENTIONS = "privileged_mentions"
"""Key in the `extra` of a dataset's labels: {instruction: [mention, …]} of the privileged columns, where the labels
are about other objects, or in another order; None where that is not known."""


@dataclass(frozen=True)
class PrivilegedLabeller:
    """Labels a dataset from its own privileged columns.

    mentions: instruction → the objects of the columns, in order; `with_dataset` reads them.
    """

    mentions: Mapping[str, tuple[str, ...]] | None = None
    name: str = field(default=LABELLER, init=False)
    gives_confidence: ClassVar[bool] = False

    def with_dataset(self, root: str | Path) -> Self:
        """Return a labeller that knows which objects this dataset's columns are about.

        Raises:
            InspireError: the dataset does not say.
        """
        return replace(self, mentions=mentions_of_columns(root))

    def settings(self) -> dict[str, Any]:
        """There are none."""
        return {}

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The two privileged columns. Raises InspireError if the dataset has not both."""
        missing = [column for column in (OFFSET_COLUMN, GRASPED_COLUMN) if column not in names]
        if missing:
            raise InspireError(
                f"the dataset has no columns {missing}, from which labels could be made. Labels from the demonstration "
                "alone need none: --labeller demonstration."
            )
        return OFFSET_COLUMN, GRASPED_COLUMN

    def label(self, episode: Episode) -> Tracks:
        """Select the columns of the episode's mentions; NaN where a position is unknown.

        Raises:
            InspireError: no column is about one of the mentions.
        """
        if self.mentions is None:
            raise InspireError(
                "the labeller does not know what the columns are of: call with_dataset() first."
            )
        stored = self.mentions.get(episode.instruction, ())
        unknown = [mention for mention in episode.mentions if mention not in stored]
        if unknown:
            raise InspireError(
                f"the privileged columns say nothing of {unknown} in {episode.instruction!r}. "
                f"They are of {list(stored)}."
            )
        indices = [stored.index(mention) for mention in episode.mentions]
        offsets = np.asarray(episode.columns[OFFSET_COLUMN]).reshape(len(episode), -1, 3)
        grasped = np.asarray(episode.columns[GRASPED_COLUMN]).reshape(len(episode), -1)
        if offsets.shape[1] < len(stored):
            raise InspireError(
                f"{counted(len(stored), 'object is', 'objects are')} mentioned, the columns hold {offsets.shape[1]}."
            )
        known = grasped[:, indices] != UNKNOWN_PLACE
        return Tracks(np.where(known[..., None], offsets[:, indices], np.nan), grasped[:, indices] == 1)


def offsets_of_frames(dataset_root: str | Path, max_objects: int) -> Float[np.ndarray, "frames objects 3"]:
    """Return `gripper_to_object_m` of the first mentions of each frame: metres in the robot's base frame.

    Frames are numbered by LeRobot's `index`. NaN where an instruction has fewer mentions, or a position is unknown.

    Raises:
        InspireError: the dataset has no privileged columns, or does not say what they are of.
    """
    labels, files = read_labelled(dataset_root)
    labeller = PrivilegedLabeller().with_dataset(dataset_root)
    names = labeller.columns(files.number_columns())
    frames = int(files.info["total_frames"])
    offsets = np.full((frames, max_objects, 3), np.nan, dtype=np.float32)
    for segment, columns in files.segments((*names, "index")):
        mentions = labels.tasks.get(segment.instruction, ())[:max_objects]
        if mentions:
            episode = Episode(segment.episode, segment.instruction, mentions, columns)
            offsets[columns["index"].ravel(), : len(mentions)] = labeller.label(episode).gripper_to_object_m
    return offsets


def mentions_of_columns(dataset_root: str | Path) -> dict[str, tuple[str, ...]]:
    """Return instruction → the objects of the privileged columns. Raises InspireError if the dataset does not say."""
    try:
        labels = read_labels(dataset_root)
        changed = changed_instructions(labels, LeRobotFiles.open(dataset_root))
    except LabelsMissing:
        raise InspireError(
            f"{dataset_root} has no {LABELS_FILE}, which says what its privileged columns are of. Labels from the "
            "demonstration alone do not need it: --labeller demonstration."
        ) from None
    if changed or labels.extra.get(PRIVILEGED_MENTIONS, {}) is None:
        raise InspireError(
            f"The instructions of {dataset_root} were modified, or its episodes renumbered, after its privileged "
            "columns were written, so it is not known which objects these are about. Labels from the demonstration "
            "alone do not need them: --labeller demonstration."
        )
    try:
        kept = {
            text: tuple(map(str, objects))
            for text, objects in labels.extra.get(PRIVILEGED_MENTIONS, {}).items()
        }
    except (AttributeError, TypeError):
        raise InspireError(
            f"{PRIVILEGED_MENTIONS!r} in {LABELS_FILE} must be {{instruction: [mention, …]}}."
        ) from None
    return {**labels.tasks, **kept}


def kept_mentions(dataset_root: str | Path, tasks: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the `extra` that new labels about `tasks` need, so that the privileged columns stay readable."""
    if not has_labels(dataset_root):
        return {}
    try:
        stored = mentions_of_columns(dataset_root)
    except InspireError:
        return {PRIVILEGED_MENTIONS: None}
    differing = {text: list(objects) for text, objects in stored.items() if objects != tasks.get(text)}
    return {PRIVILEGED_MENTIONS: differing} if differing else {}
