"""Labels from the truth that a dataset carries: the privileged columns that `inspire collect` writes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.labels.columns import GRASPED_COLUMN, OFFSET_COLUMN, UNKNOWN_PLACE
from inspire_vla.labels.labeller import Episode, Tracks
from inspire_vla.labels.simulator_state import LABELLER


@dataclass(frozen=True)
class PrivilegedColumns:
    """A labeller that reads where things are off the dataset itself."""

    name: str = field(default=LABELLER, init=False)

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
        """The columns' first k objects, NaN where they hold no place."""
        objects = len(episode.mentions)
        offsets = np.asarray(episode.columns[OFFSET_COLUMN]).reshape(len(episode), -1, 3)
        grasped = np.asarray(episode.columns[GRASPED_COLUMN]).reshape(len(episode), -1)
        if offsets.shape[1] < objects:
            raise InspireError(f"{objects} objects are asked about, the columns hold {offsets.shape[1]}.")
        known = grasped[:, :objects] != UNKNOWN_PLACE
        return Tracks(np.where(known[..., None], offsets[:, :objects], np.nan), grasped[:, :objects] == 1)
