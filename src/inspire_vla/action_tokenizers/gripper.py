"""How a model's codes speak of the gripper, where the robot's actions have it the other way round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from inspire_vla.action_tokenizers import storage
from inspire_vla.errors import InspireError


@dataclass(frozen=True)
class Gripper:
    """The last number of an action is `scale` · what the codes say + `offset`; the others are what they say.

    It is the codes' own, so that a fine-tuning, which takes its data's statistics, goes on in the same words.

    Raises InspireError for a scale or an offset that cannot be undone.
    """

    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.scale) and isfinite(self.offset)) or self.scale == 0:
            raise InspireError(f"A gripper's scale and offset must be finite, the scale not 0; found {self}.")

    def said(self, actions: np.ndarray) -> np.ndarray:
        """(…, D) actions → what the codes say of them. The inverse of `meant` up to rounding."""
        return self._last(actions, lambda last: (last - self.offset) / self.scale)

    def meant(self, said: np.ndarray) -> np.ndarray:
        """(…, D) numbers that codes say → the actions they mean."""
        return self._last(said, lambda last: self.scale * last + self.offset)

    def _last(self, values: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        if self == Gripper():
            return values
        changed = values.copy()
        changed[..., -1] = change(values[..., -1])
        return changed

    def settings(self) -> dict[str, Any]:
        """For a tokenizer's JSON; nothing where codes and actions agree."""
        return {} if self == Gripper() else {"gripper": {"scale": self.scale, "offset": self.offset}}

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> "Gripper":
        """What `settings` wrote. Raises InspireError for anything else."""
        if "gripper" not in settings:
            return cls()
        own = storage.setting(settings, "gripper", dict)
        return cls(*(storage.setting(own, name, (int, float)) for name in ("scale", "offset")))


GRIPPERS: dict[str, Gripper] = {
    "as_trained": Gripper(),
    "libero": Gripper(-2.0, 1.0),
}
"""What models whose codes say 0 closed … 1 open mean by it: just that, or −1 open … +1 closed, which LIBERO takes."""
