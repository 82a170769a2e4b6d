"""Sequences that grow side by side over one key-value cache; rows may differ in length."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inspire_vla.backbones.base import Backbone


class GrowingSequences:
    """A batch of sequences over one cache. Every element passes through the backbone once.

    Rows of different length are padded on the right of each piece; a padded column is never attended to,
    so each row equals the row computed alone:

        column    0   1   2 | 3  4  5 | 6
        row 0     img img img Q  Q  Q   a
        row 1     img img img Q  ·  ·   a      ·  padded: in the cache, seen by nobody
    """

    def __init__(self, backbone: Backbone, observation: Float[Tensor, "batch seen hidden"]) -> None:
        self.backbone = backbone
        self.cache = backbone.new_cache()
        self.observation = observation  # waits for the first piece: both go through in one pass
        rows = len(observation)
        self.valid = np.zeros((rows, 0), dtype=bool)
        self.lengths = np.zeros(rows, dtype=np.int64)
        self.passes = 0

    def append(self, pieces: Sequence[Sequence[int]]) -> list[Float[Tensor, "piece hidden"]]:
        """Append token ids to each row; a row's piece may be empty.

        Returns:
            Per row the hidden states of its piece.
        """
        first = self.passes == 0
        longest = max(map(len, pieces))
        ids = np.zeros((len(pieces), longest), dtype=np.int64)
        new_valid = np.zeros((len(pieces), longest), dtype=bool)
        for row, piece in enumerate(pieces):
            ids[row, : len(piece)] = piece
            new_valid[row, : len(piece)] = True
        device = self.observation.device
        embeddings = self.backbone.embed(torch.from_numpy(ids).to(device))
        if first:
            embeddings = torch.cat([self.observation, embeddings], dim=1)
            seen = self.observation.shape[1]
            new_valid = np.concatenate([np.ones((len(pieces), seen), dtype=bool), new_valid], axis=1)
        positions = self.lengths[:, None] + np.cumsum(new_valid, axis=1) - 1
        past = self.valid.shape[1]
        self.valid = np.concatenate([self.valid, new_valid], axis=1)
        self.lengths += new_valid.sum(1)
        hidden = self.backbone.extend(
            embeddings,
            positions=torch.from_numpy(np.maximum(positions, 0)).to(device),
            attends=self._attends(past, device),
            cache=self.cache,
        )
        self.passes += 1
        self._starts = [past + (self.observation.shape[1] if first else 0)] * len(pieces)
        skip = self.observation.shape[1] if first else 0
        return [hidden[row, skip : skip + len(piece)] for row, piece in enumerate(pieces)]

    def retract(self, row: int, kept: int) -> None:
        """Take back all but the first `kept` tokens of the row's last piece: nothing will attend to them."""
        start = self._starts[row] + kept
        self.lengths[row] -= self.valid[row, start:].sum()
        self.valid[row, start:] = False

    def crop(self) -> None:
        """Drop the columns at the end that no row uses."""
        used = int(np.flatnonzero(self.valid.any(0))[-1]) + 1
        if used < self.valid.shape[1]:
            self.cache.crop(used)
            self.valid = self.valid[:, :used]

    def _attends(self, past: int, device: torch.device) -> Tensor | None:
        """(batch, new, total): valid columns up to one's own. None where that is plain causal attention."""
        total = self.valid.shape[1]
        if self.valid.all() and (past == 0 or total == past + 1):
            return None
        causal = np.arange(total)[None, :] <= np.arange(past, total)[:, None]
        attends = causal[None] & self.valid[:, None, :]
        attends[:, np.arange(total - past), np.arange(past, total)] = (
            True  # a padded query sees itself: no NaN
        )
        return torch.from_numpy(attends).to(device)
