"""Labels from the truth that a dataset carries: the privileged columns that `inspire collect` writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import (
    GRASPED_COLUMN,
    LABELS_FILE,
    OFFSET_COLUMN,
    UNKNOWN_PLACE,
    LabelsMissing,
    has_labels,
    read_labels,
)
from inspire_vla.labels.labeller import Episode, Tracks

LABELLER = "simulator_state"
KEPT_MENTIONS = "privileged_mentions"
"""In the `extra` of a dataset's labels: {instruction: [mention, …]} of the privileged columns, where the labels are
about other objects than these, or in another order."""


@dataclass(frozen=True)
class PrivilegedLabeller:
    """A labeller that reads where things are off the dataset itself.

    mentions: instruction → what its columns are of, in order; `opened` reads it off a dataset.
    """

    mentions: Mapping[str, tuple[str, ...]] | None = None
    name: str = field(default=LABELLER, init=False)

    def opened(self, dataset_root: str | Path) -> Self:
        """Know what the columns of this dataset are of. Raises InspireError if it does not say so."""
        return replace(self, mentions=mentions_of_columns(dataset_root))

    def settings(self) -> dict[str, Any]:
        """Nothing to set."""
        return {}

    def columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The two privileged columns. Raises InspireError if the dataset lacks one."""
        lacking = [column for column in (OFFSET_COLUMN, GRASPED_COLUMN) if column not in names]
        if lacking:
            raise InspireError(
                f"the dataset has no columns {lacking}, from which labels could be made. Labels from the demonstration "
                "alone need none: --labeller demonstration."
            )
        return OFFSET_COLUMN, GRASPED_COLUMN

    def label(self, episode: Episode) -> Tracks:
        """The columns of the episode's mentions, found by their words; NaN where they hold no place.

        Raises InspireError for a mention that no column is of.
        """
        if self.mentions is None:
            raise InspireError("the labeller does not know what the columns are of: call opened() first.")
        stored = self.mentions.get(episode.instruction, ())
        unknown = [mention for mention in episode.mentions if mention not in stored]
        if unknown:
            raise InspireError(
                f"the privileged columns say nothing of {unknown} in {episode.instruction!r}. "
                f"They are of {list(stored)}."
            )
        of = [stored.index(mention) for mention in episode.mentions]
        offsets = np.asarray(episode.columns[OFFSET_COLUMN]).reshape(len(episode), -1, 3)
        grasped = np.asarray(episode.columns[GRASPED_COLUMN]).reshape(len(episode), -1)
        if offsets.shape[1] < len(stored):
            raise InspireError(f"{len(stored)} objects are mentioned, the columns hold {offsets.shape[1]}.")
        known = grasped[:, of] != UNKNOWN_PLACE
        return Tracks(np.where(known[..., None], offsets[:, of], np.nan), grasped[:, of] == 1)


def mentions_of_columns(dataset_root: str | Path) -> dict[str, tuple[str, ...]]:
    """Instruction → the mentions that the privileged columns are of. Raises InspireError if nothing says so."""
    try:
        labels = read_labels(dataset_root)
    except LabelsMissing:
        raise InspireError(
            f"{dataset_root} has no {LABELS_FILE}, which says what its privileged columns are of. Labels from the "
            "demonstration alone do not need it: --labeller demonstration."
        ) from None
    try:
        kept = {text: tuple(map(str, of)) for text, of in labels.extra.get(KEPT_MENTIONS, {}).items()}
    except (AttributeError, TypeError):
        raise InspireError(
            f"{KEPT_MENTIONS!r} in {LABELS_FILE} must be {{instruction: [mention, …]}}."
        ) from None
    return {**labels.tasks, **kept}


def kept_mentions(dataset_root: str | Path, tasks: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """What the `extra` of new labels about `tasks` must keep, so that the privileged columns can be read later."""
    if not has_labels(dataset_root):
        return {}
    stored = mentions_of_columns(dataset_root)
    other = {text: list(of) for text, of in stored.items() if of != tasks.get(text)}
    return {KEPT_MENTIONS: other} if other else {}
