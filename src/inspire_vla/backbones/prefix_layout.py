"""How a model of transformers lays out the turn with the images: its positions and its mask.

Tensor axes: batch; prefix = the turn up to the last image; time = elements of a pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class PrefixLayout:
    """Positions and mask of the turn with the images. They are the same for every row of a batch.

    Attributes:
        positions: three-dimensional positions of the elements (Qwen-VL); None: counted one by one.
        mask: which elements attend to which (Gemma 3); None: causal.
    """

    positions: Int[Tensor, "3 prefix"] | None = None
    mask: Bool[Tensor, "prefix prefix"] | None = None

    @classmethod
    def of_call(cls, call: Mapping[str, Any], *, bidirectional_prefix: bool) -> Self:
        """Read the layout from the model's call of its decoder.

        Args:
            call: the keyword arguments of the call.
            bidirectional_prefix: `make_attention_mask` already makes the mask of the prefix.
        """
        positions = call.get("position_ids")
        if positions is not None:  # a fourth row before the three would be the plain position
            positions = positions[-3:, 0] if positions.ndim == 3 else None
        return cls(positions, None if bidirectional_prefix else cls._mask_of(call.get("attention_mask")))

    @staticmethod
    def _mask_of(mask: Any) -> Bool[Tensor, "prefix prefix"] | None:
        mask = mask.get("full_attention") if isinstance(mask, Mapping) else mask
        if not isinstance(mask, Tensor) or mask.ndim != 4:
            return None
        mask = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
        return None if torch.equal(mask, torch.ones_like(mask).tril()) else mask

    def model_positions(self, positions: Int[Tensor, "batch time"]) -> Tensor:
        """Positions in the sequence → positions of the model. An image advances them by less than its elements.

        Returns:
            (batch, time), or (3, batch, time) where the model has three-dimensional positions.
        """
        if self.positions is None:
            return positions
        table = self.positions.to(positions.device)
        prefix = table.shape[1]
        text = positions + (table.max() + 1 - prefix)
        return torch.where(positions < prefix, table[:, positions.clamp(max=prefix - 1)], text)

    def add_to_mask(
        self, attention_mask: Bool[Tensor, "batch time time"] | None, positions: Int[Tensor, "batch time"]
    ) -> Bool[Tensor, "batch time time"] | None:
        """Add the mask of the prefix to the mask of a first pass. None: causal."""
        if self.mask is None:
            return attention_mask
        if attention_mask is None:
            time = positions.shape[1]
            causal = torch.ones(time, time, dtype=torch.bool, device=positions.device).tril()
            attention_mask = causal.expand(len(positions), -1, -1)
        mask = self.mask.to(positions.device)
        prefix = len(mask)
        index = positions.clamp(max=prefix - 1)
        within = mask[index[:, :, None], index[:, None, :]]
        self_attention = torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)
        inside = (positions < prefix) & (attention_mask & ~self_attention).any(1)  # no row attends to padding
        return attention_mask | (within & inside[:, :, None] & inside[:, None, :])
