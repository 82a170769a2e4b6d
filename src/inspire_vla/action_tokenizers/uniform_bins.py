"""OpenVLA's action tokens: each number by itself, in 256 uniform bins over [-1, 1].

Source: openvla/prismatic/vla/action_tokenizer.py. There `digit = np.digitize(clip(a), linspace(-1, 1, 256))` runs from
1 to 256 and token id = vocabulary size − digit. Here code = digit − 1, and
`ActionVocabulary.last_ids(vocabulary size, 256)` gives the same ids. 256 edges make 255 bins. The last code, of a = 1
exactly, decodes to the centre of the last bin, as in the source.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from inspire_vla.action_tokenizers import storage
from inspire_vla.action_tokenizers.base import (
    ActionTokenizer,
    GripperConvention,
    checked_actions,
    checked_codes,
    positive_int,
)
from inspire_vla.errors import InspireError


class UniformBins(ActionTokenizer):
    """H·D codes per chunk, time-major. Actions outside [-1, 1] are clipped.

    Round trip: |decode(encode(a)) − a| ≤ half a bin = 1 / (bins − 1) for every a in [-1, 1]; for the gripper, times the
    scale of its `GripperConvention`.
    """

    name: ClassVar[str] = "uniform_bins"

    def __init__(
        self,
        *,
        horizon: int = 1,
        action_dim: int = 7,
        bins: int = 256,
        gripper: GripperConvention = GripperConvention(),  # noqa: B008  frozen
    ) -> None:
        self.horizon = positive_int("horizon", horizon)
        self.action_dim = positive_int("action_dim", action_dim)
        self.bins = positive_int("bins", bins)
        if self.bins < 2:
            raise InspireError(f"bins must be at least 2, found {bins}.")
        self.gripper = gripper
        self._edges = np.linspace(-1.0, 1.0, self.bins)
        self._centres = (self._edges[:-1] + self._edges[1:]) / 2.0

    @property
    def vocabulary_size(self) -> int:
        return self.bins

    @property
    def max_codes(self) -> int:
        return self.horizon * self.action_dim

    @property
    def max_error(self) -> float:
        """The largest |decode(encode(a)) − a| for a in [-1, 1]."""
        return max(1.0, abs(self.gripper.scale)) / (self.bins - 1)

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """(…, H, D) → (…, H·D) int64."""
        actions = checked_actions(actions, self.horizon, self.action_dim)
        codes = np.digitize(np.clip(self.gripper.to_codes(actions), -1.0, 1.0), self._edges) - 1
        return codes.reshape(*actions.shape[:-2], -1).astype(np.int64)

    def decode(self, codes) -> np.ndarray:
        """(…, H·D) codes → (…, H, D) float32, the centres of the bins."""
        codes = checked_codes(codes, self.max_codes, self.bins)
        actions = self._centres[np.minimum(codes, self.bins - 2)]
        actions = actions.reshape(*codes.shape[:-1], self.horizon, self.action_dim)
        return self.gripper.to_robot(actions).astype(np.float32)

    def allowed_codes(self, prefix: Sequence[int] = ()) -> np.ndarray | None:
        return np.arange(self.bins) if len(prefix) < self.max_codes else None

    def save(self, folder: str | Path) -> None:
        settings = {"horizon": self.horizon, "action_dim": self.action_dim, "bins": self.bins}
        storage.write(folder, self.name, settings | self.gripper.settings(), {})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        settings, _ = storage.read(folder, cls.name)
        sizes = {key: storage.setting(settings, key, int) for key in ("horizon", "action_dim", "bins")}
        return cls(**sizes, gripper=GripperConvention.from_settings(settings))
