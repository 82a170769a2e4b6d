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
        places: (3, prefix) where each element stands, for models that count in three dimensions (Qwen-VL); else None.
        sees: (prefix, prefix) who sees whom, where that is more than what came before (Gemma 3); else None.
    """

    places: Int[Tensor, "3 prefix"] | None = None
    sees: Bool[Tensor, "prefix prefix"] | None = None

    @classmethod
    def of_call(cls, options: Mapping[str, Any], *, bidirectional_prefix: bool) -> Self:
        """As the model's own call of its decoder has it.

        Args:
            options: that call's keyword arguments.
            bidirectional_prefix: the backbone makes a mask for what is read itself.
        """
        return cls(_places(options.get("position_ids")), None if bidirectional_prefix else _sees(options))

    def counted(self, places: Int[Tensor, "batch time"]) -> Tensor:
        """Places in the sequence → what the model counts by: an image takes fewer numbers than elements."""
        if self.places is None:
            return places
        table = self.places.to(places.device)
        prefix = table.shape[1]
        behind = places + (table.max() + 1 - prefix)
        return torch.where(places < prefix, table[:, places.clamp(max=prefix - 1)], behind)

    def widened(
        self, attention_mask: Bool[Tensor, "batch time time"] | None, places: Int[Tensor, "batch time"]
    ) -> Bool[Tensor, "batch time time"] | None:
        """The mask of a first pass, with what images see of each other. None, where nothing is added: causal."""
        if self.sees is None:
            return attention_mask
        if attention_mask is None:
            time = places.shape[1]
            attention_mask = torch.ones(time, time, dtype=torch.bool, device=places.device).tril()
            attention_mask = attention_mask.expand(len(places), -1, -1)
        sees = self.sees.to(places.device)
        prefix = len(sees)
        index = places.clamp(max=prefix - 1)
        among = sees[index[:, :, None], index[:, None, :]]
        own = torch.eye(places.shape[1], dtype=torch.bool, device=places.device)
        inside = (places < prefix) & (attention_mask & ~own).any(1)  # nobody looks at a withdrawn column
        return attention_mask | (among & inside[:, :, None] & inside[:, None, :])


def _places(positions: Tensor | None) -> Int[Tensor, "3 prefix"] | None:
    """Of the turn with the images, where the model counts in three dimensions (a fourth is the plain place)."""
    return positions[-3:, 0] if positions is not None and positions.ndim == 3 else None


def _sees(options: Mapping[str, Any]) -> Bool[Tensor, "prefix prefix"] | None:
    """Who sees whom in the turn with the images, where the model says more than "all before"."""
    mask = options.get("attention_mask")
    mask = mask.get("full_attention") if isinstance(mask, Mapping) else mask
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return None
    sees = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
    return None if torch.equal(sees, torch.ones_like(sees).tril()) else sees
