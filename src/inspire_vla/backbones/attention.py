"""Who attention_mask to whom: the one function that training and decoding both make their masks with."""

from collections.abc import Collection

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from inspire_vla.dialogue import TokenType

PREFIX = -1
"""The token_type of images and robot state, which stand before all text."""
PAD = -2
"""The token_type of a padded or withdrawn column: nothing attention_mask to it."""


def make_attention_mask(
    token_types: Int[Tensor, "batch total"],
    *,
    past: int = 0,
    bidirectional_prefix: bool = False,
    hide: Collection[TokenType] = (),
) -> Bool[Tensor, "batch new total"] | None:
    """Which columns each element from column `past` on sees. None where that is plain causal attention.

    Causal (nano, MiniVLA, OpenVLA): an element sees itself and all before it. Both ways (PaliGemma): what the
    model is *given* in one go is a block whose elements all see each other; what it says stays causal. Only the
    past can be kept in a cache, so a block sees those before it and none after it. Without reasoning this is
    π0-FAST's own attention: images and prompt one block, then "Action:" and the codes.

                   prefix      question 1    answer  question 2   answer  instruction   action
        causal     0  1  2   3  4  5       6       7  8  9      10      11 12 13      14 15     ← block numbers:
        both ways  0  0  0   0  0  0       1       2  2  2      3       4  4  4       5  6      sees all ≤ its own

    Args:
        token_types: a `TokenType`, PREFIX or PAD per column.
        past: so many columns are in the cache already; they ask for no row of the mask.
        hide: ablations that tell what comes of the reasoning from what comes of having learned it. TokenType.ANSWER: an
            answer is seen by its own tokens alone, so the model answers but cannot act on the word. The question stays
            visible, and with it the state from which the answer was read. TokenType.QUESTION: questions are seen by
            questions and answers alone, so that nothing which was worked out for an answer reaches the action.
    """
    total = token_types.shape[1]
    empty = token_types == PAD
    if not bidirectional_prefix and not hide and not bool(empty.any()) and (past == 0 or total == past + 1):
        return None
    block = (
        _blocks(token_types)
        if bidirectional_prefix
        else torch.arange(total, device=token_types.device).expand_as(token_types)
    )
    sees = (block[:, None, :] <= block[:, past:, None]) & ~empty[:, None, :]
    if TokenType.QUESTION in hide:
        asking = token_types == TokenType.QUESTION
        talks = asking | (token_types == TokenType.ANSWER)
        sees &= ~asking[:, None, :] | talks[:, past:, None]
    if TokenType.ANSWER in hide:
        # Each answer follows a question of its own, so the questions so far number it.
        number = (token_types == TokenType.QUESTION).cumsum(1) + 1
        private = torch.where(token_types == TokenType.ANSWER, number, 0)
        sees &= (private[:, None, :] == 0) | (private[:, None, :] == private[:, past:, None])
    own = torch.arange(past, total, device=token_types.device)
    sees[:, own - past, own] = True  # a padded element sees itself: a softmax over nothing would be NaN
    return sees


def _blocks(token_types: Int[Tensor, "batch total"]) -> Int[Tensor, "batch total"]:
    """The block number of each column. Given are the observation, questions, instruction, and text before them."""
    spoken = (token_types != PREFIX) & (token_types != PAD) & (token_types != TokenType.TEXT)
    opening = (token_types == TokenType.TEXT) & (spoken.cumsum(1) == 0)
    given = (
        (token_types == PREFIX)
        | (token_types == TokenType.QUESTION)
        | (token_types == TokenType.INSTRUCTION)
        | opening
    )
    joins = torch.zeros_like(given)
    joins[:, 1:] = given[:, 1:] & given[:, :-1]
    return (~joins).cumsum(1)
