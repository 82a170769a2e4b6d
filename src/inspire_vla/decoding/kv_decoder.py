"""Rows of different length over one growing key-value cache.

Axes: B rows of the batch; P prefix, the elements that encode images and state; T new tokens of a pass, padded;
C columns of the cache, prefix and all tokens so far; H hidden size.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.flow import FlowContext
from inspire_vla.decoding.grammar import Token
from inspire_vla.dialogue import TokenType


class BatchedKVDecoder:
    """Rows of different length over one key-value cache. Each token passes through the backbone once.

    New tokens are padded on the right. No row attends to a padded column, so each row equals the row computed alone:

        column    0   1   2 | 3  4  5 | 6
        row 0     img img img Q  Q  Q   a
        row 1     img img img Q  ·  ·   a      ·  padding: in the cache, but masked

    Attributes:
        token_types: (B, C) the `TokenType` of each column of the cache, or PREFIX or PAD.
        forward_passes: how often the backbone ran.
    """

    def __init__(
        self,
        backbone: Backbone,
        prefix: Float[Tensor, "B P H"],
        *,
        hide: Collection[TokenType] = (),
        states: Float[Tensor, "B state_tokens H"] | None = None,
    ) -> None:
        self.backbone, self.hide, self.states = backbone, hide, states
        self.cache = backbone.new_cache(len(prefix))
        self.token_types: np.ndarray = np.full((len(prefix), 0), PAD, dtype=np.int64)
        self.forward_passes = 0
        self._prefix = prefix  # goes through the backbone together with the first tokens
        self._start = 0  # the column where the newest tokens begin

    def extend(self, new_tokens: Sequence[Sequence[Token]]) -> Float[Tensor, "B T H"]:
        """Append tokens to each row (none is possible) and return their hidden states; those of padding are junk."""
        padded = np.zeros((len(new_tokens), max(map(len, new_tokens)), 2), dtype=np.int64)
        padded[..., 1] = PAD
        for row, tokens in enumerate(new_tokens):
            padded[row, : len(tokens)] = np.array(tokens, dtype=np.int64).reshape(-1, 2)
        token_ids, token_types = padded[..., 0], padded[..., 1]
        device = self._prefix.device
        ids, types = (torch.from_numpy(array).to(device) for array in (token_ids, token_types))
        embeddings = self.backbone.embed_sequence(ids, types, self.states)
        past = self._start = self.token_types.shape[1]
        if self.forward_passes == 0:
            self._start = self._prefix.shape[1]
            embeddings = torch.cat([self._prefix.to(embeddings.dtype), embeddings], dim=1)
            prefix_types = np.full(self._prefix.shape[:2], PREFIX)
            token_types = np.concatenate([prefix_types, token_types], axis=1)
        self.token_types = np.concatenate([self.token_types, token_types], axis=1)
        positions = np.maximum(np.cumsum(self.token_types != PAD, axis=1) - 1, 0)[:, past:]
        mask = make_attention_mask(
            torch.from_numpy(self.token_types),
            past=past,
            bidirectional_prefix=self.backbone.bidirectional_prefix,
            hide=self.hide,
        )
        hidden = self.backbone.extend(
            embeddings,
            positions=torch.from_numpy(positions).to(device),
            attention_mask=None if mask is None else mask.to(device),
            cache=self.cache,
        )
        self.forward_passes += 1
        return hidden[:, self._start - past :]

    def context(self, horizon: int) -> FlowContext:
        """What a flow expert reads: the keys and values of all columns."""
        token_types = torch.from_numpy(self.token_types).to(self._prefix.device)
        return FlowContext.of(self.backbone.key_values(self.cache), token_types, horizon, self.hide)

    def truncate(self, counts: Sequence[int]) -> None:
        """Keep the first `counts[row]` of each row's newest tokens and remove the others."""
        columns = np.arange(self.token_types.shape[1]) - self._start
        self.token_types[columns >= np.array(counts)[:, None]] = PAD
        used = self._start + max(counts)
        if used < self.token_types.shape[1]:  # no row uses the last columns
            self.cache.crop(used)
            self.token_types = self.token_types[:, :used]
