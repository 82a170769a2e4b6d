"""Sequences that grow side by side over one key-value cache; rows may differ in length."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.base import Backbone
from inspire_vla.decoding.grammar import Token
from inspire_vla.dialogue import TokenType


class GrowingSequences:
    """A batch of sequences over one cache. Every element passes through the backbone once.

    Rows of different length are padded on the right of each piece; a padded column is attended to by nobody,
    so each row equals the row computed alone:

        column    0   1   2 | 3  4  5 | 6
        row 0     img img img Q  Q  Q   a
        row 1     img img img Q  ·  ·   a      ·  PAD: in the cache, seen by none

    Attributes:
        token_types: (batch, columns) what each column of the cache belongs to.
        passes: how often the backbone ran.
    """

    def __init__(
        self,
        backbone: Backbone,
        observation: Float[Tensor, "batch prefix hidden"],
        *,
        hide: Collection[TokenType] = (),
    ) -> None:
        self.backbone, self.hide = backbone, hide
        self.cache = backbone.new_cache(len(observation))
        self.token_types: np.ndarray = np.full((len(observation), 0), PAD, dtype=np.int64)
        self.passes = 0
        self._observation = observation  # waits for the first piece: both go through in one pass
        self._start = 0  # column where the last piece begins

    def append(self, pieces: Sequence[Sequence[Token]]) -> Float[Tensor, "batch piece hidden"]:
        """Append a piece to each row; a piece may be empty. Returns the hidden states, junk where padded."""
        new = np.zeros((len(pieces), max(map(len, pieces)), 2), dtype=np.int64)
        new[..., 1] = PAD
        for row, piece in enumerate(pieces):
            new[row, : len(piece)] = np.array(piece, dtype=np.int64).reshape(-1, 2)
        ids, token_types = new[..., 0], new[..., 1]
        device = self._observation.device
        embeddings = self.backbone.embed(torch.from_numpy(ids).to(device))
        past = self.token_types.shape[1]
        self._start = past
        if self.passes == 0:
            self._start = prefix = self._observation.shape[1]
            embeddings = torch.cat([self._observation.to(embeddings.dtype), embeddings], dim=1)
            token_types = np.concatenate([np.full((len(pieces), prefix), PREFIX), token_types], axis=1)
        self.token_types = np.concatenate([self.token_types, token_types], axis=1)
        places = np.maximum(np.cumsum(self.token_types != PAD, axis=1) - 1, 0)[:, past:]
        mask = make_attention_mask(
            torch.from_numpy(self.token_types),
            past=past,
            bidirectional_prefix=self.backbone.bidirectional_prefix,
            hide=self.hide,
        )
        hidden = self.backbone.extend(
            embeddings,
            positions=torch.from_numpy(places).to(device),
            attention_mask=None if mask is None else mask.to(device),
            cache=self.cache,
        )
        self.passes += 1
        return hidden[:, self._start - past :]

    def keep(self, counts: Sequence[int]) -> None:
        """Take back all but the first `counts[row]` tokens of each row's last piece."""
        columns = np.arange(self.token_types.shape[1]) - self._start
        self.token_types[columns >= np.array(counts)[:, None]] = PAD
        used = self._start + max(counts)
        if used < self.token_types.shape[1]:  # the columns at the end that no row uses
            self.cache.crop(used)
            self.token_types = self.token_types[:, :used]
