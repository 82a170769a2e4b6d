"""Passes in tensors whose shapes and addresses never change: what CUDA graphs need to replay a token's pass.

The first pass of a decision is long and new each time; it runs as it comes. The passes behind it say one token each, a
few dozen of them for an action of FAST's, and on a GPU each costs more in launching kernels than in running them.

    columns   0 … length      length … capacity
              held            stale, hidden by the mask

A pass over one token then differs from the last one in values alone: embedding, position, mask, length.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, StaticCache

from inspire_vla.errors import InspireError

Pass = Callable[..., Tensor]


class FixedCache(StaticCache):
    """transformers' static cache, which can be cropped as well. `length` is known without asking the device."""

    def __init__(self, config: Any, columns: int) -> None:
        super().__init__(config=config, max_cache_len=columns)
        if any(self.is_sliding):
            raise InspireError(
                "A decoder with sliding windows has no static steps; set static_cache to 'off'."
            )
        self.columns, self.length = columns, 0

    def crop(self, length: int) -> None:
        """Forget all but the first `length` columns; what stands behind them is overwritten."""
        self.length = min(length, self.length)
        for layer in self.layers:
            layer.cumulative_length.fill_(self.length)


class StaticSteps:
    """Runs a decoder over fixed caches, one per batch size, which every decision uses again.

    So only one decision per batch size may be under way at a time.
    """

    def __init__(
        self, decoder: PreTrainedModel, *, columns: int, compiler: Callable[[Pass], Pass] | None = None
    ) -> None:
        """
        Args:
            columns: room for the longest sequence, observation and action included.
            compiler: what makes the pass over one token fast; None leaves it as it is. See `cuda_graphs`.
        """
        self.decoder, self.columns = decoder, columns
        self._caches: dict[int, FixedCache] = {}
        self._one_token = compiler(self._pass) if compiler is not None else self._pass
        self._marks = compiler is not None

    def new_cache(self, rows: int) -> FixedCache:
        """The cache for that many rows, empty."""
        if rows not in self._caches:
            self._caches[rows] = FixedCache(self.decoder.config, self.columns)
        cache = self._caches[rows]
        cache.crop(0)
        return cache

    def extend(
        self,
        embeddings: Float[Tensor, "batch new hidden"],
        cache: FixedCache,
        *,
        positions: Int[Tensor, "batch new"] | None = None,
        attention_mask: Bool[Tensor, "batch new total"] | None = None,
    ) -> Float[Tensor, "batch new hidden"]:
        """See `Backbone.extend`. Raises InspireError where the columns do not suffice."""
        batch, new, _ = embeddings.shape
        past, total = cache.length, cache.length + new
        if total > self.columns:
            raise InspireError(f"A sequence of {total} columns in a static cache of {self.columns}.")
        device = embeddings.device
        if positions is None:
            positions = torch.arange(past, total, device=device).expand(batch, -1)
        if attention_mask is None:
            attention_mask = torch.ones(1, new, total, dtype=torch.bool, device=device).tril(past)
        mask = pad(attention_mask, (0, self.columns - total)).expand(batch, -1, -1)[:, None]
        run = self._one_token if new == 1 and past else self._pass
        if self._marks:
            torch.compiler.cudagraph_mark_step_begin()
        hidden = run(embeddings, positions, mask.contiguous(), cache)
        cache.length = total
        return hidden.clone() if self._marks else hidden  # a graph's output is overwritten by its next replay

    def _pass(self, embeddings: Tensor, positions: Tensor, mask: Tensor, cache: FixedCache) -> Tensor:
        return self.decoder(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state


def cuda_graphs(one_token: Pass) -> Pass:
    """Compile for replay: kernels fused, and launched as one graph per token."""
    return torch.compile(one_token, mode="reduce-overhead", fullgraph=True, dynamic=False)
