"""How an image-text model arranges the turn with its images, which stands before all text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class ImageTurn:
    """The same for every row of a batch. Without either a sequence is counted one by one, and sees what came before.

    Attributes:
        places: (3, seen) where each element stands, for models that count in three dimensions (Qwen-VL); else None.
        sees: (seen, seen) who sees whom, where that is more than what came before (Gemma 3); else None.
    """

    places: Int[Tensor, "3 seen"] | None = None
    sees: Bool[Tensor, "seen seen"] | None = None

    @classmethod
    def of_call(cls, options: Mapping[str, Any], *, both_ways: bool) -> Self:
        """As the model's own call of its decoder has it.

        Args:
            options: that call's keyword arguments.
            both_ways: the backbone makes a mask for what is read itself.
        """
        return cls(_places(options.get("position_ids")), None if both_ways else _sees(options))

    def counted(self, places: Int[Tensor, "batch time"]) -> Tensor:
        """Places in the sequence → what the model counts by: an image takes fewer numbers than elements."""
        if self.places is None:
            return places
        table = self.places.to(places.device)
        seen = table.shape[1]
        behind = places + (table.max() + 1 - seen)
        return torch.where(places < seen, table[:, places.clamp(max=seen - 1)], behind)

    def widened(
        self, attends: Bool[Tensor, "batch time time"] | None, places: Int[Tensor, "batch time"]
    ) -> Bool[Tensor, "batch time time"] | None:
        """The mask of a first pass, with what images see of each other. None, where nothing is added: causal."""
        if self.sees is None:
            return attends
        if attends is None:
            time = places.shape[1]
            attends = torch.ones(time, time, dtype=torch.bool, device=places.device).tril()
            attends = attends.expand(len(places), -1, -1)
        sees = self.sees.to(places.device)
        seen = len(sees)
        index = places.clamp(max=seen - 1)
        among = sees[index[:, :, None], index[:, None, :]]
        own = torch.eye(places.shape[1], dtype=torch.bool, device=places.device)
        inside = (places < seen) & (attends & ~own).any(1)  # nobody looks at a withdrawn column
        return attends | (among & inside[:, :, None] & inside[:, None, :])


def _places(positions: Tensor | None) -> Int[Tensor, "3 seen"] | None:
    """Of the turn with the images, where the model counts in three dimensions (a fourth is the plain place)."""
    return positions[-3:, 0] if positions is not None and positions.ndim == 3 else None


def _sees(options: Mapping[str, Any]) -> Bool[Tensor, "seen seen"] | None:
    """Who sees whom in the turn with the images, where the model says more than "all before"."""
    mask = options.get("attention_mask")
    mask = mask.get("full_attention") if isinstance(mask, Mapping) else mask
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return None
    sees = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
    return None if torch.equal(sees, torch.ones_like(sees).tril()) else sees
