"""Attention masks, and attention maps by rollout.

Tensor axes: batch; prefix = image and state tokens; total = all columns of a sequence; past = columns in the cache;
new = total − past.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inspire_vla.dialogue import TokenType
from inspire_vla.errors import InspireError, reason_of

PREFIX = -1
"""Token type of image and state tokens. They come before all text."""
PAD = -2
"""Token type of padding and of rejected drafts. No other column attends to it."""

METHODS = ("rollout", "gradient")
"""`attention_rollout` and `gradient_rollout`."""


def make_attention_mask(
    token_types: Int[Tensor, "batch total"],
    *,
    past: int = 0,
    bidirectional_prefix: bool = False,
    hide: Collection[TokenType] = (),
) -> Bool[Tensor, "batch new total"] | None:
    """Make the mask of training and of decoding. True: the row attends to the column. None: plain causal attention.

    Causal (nano, MiniVLA, OpenVLA): an element attends to itself and to all elements before it.

    Bidirectional (PaliGemma): consecutive input elements form a block and attend to each other. Generated tokens are
    causal. A key-value cache cannot change what it already holds, so every input segment after an answer opens a new
    block, and no block attends to a later one. Without reasoning this equals the attention of π0-FAST: images and
    prompt are one block; "Action:" and the codes are causal.

                        prefix    question 1    answer   question 2   answer   instruction   action
        causal          0  1  2   3  4  5       6        7  8  9      10       11 12 13      14 15     ← block numbers
        bidirectional   0  0  0   0  0  0       1        2  2  2      3        4  4  4       5  6

    Args:
        token_types: a `TokenType`, PREFIX or PAD for each column.
        past: number of columns in the cache. They get no row in the mask.
        hide: ablations. TokenType.ANSWER: only the tokens of an answer attend to it, so the action cannot depend on
            it; the question and the state computed there stay visible. TokenType.QUESTION: only questions and answers
            attend to questions.
    """
    total = token_types.shape[1]
    padding = token_types == PAD
    plain = not bidirectional_prefix and not hide and not bool(padding.any())
    if plain and (past == 0 or total == past + 1):
        return None
    columns = torch.arange(total, device=token_types.device)
    block = _blocks(token_types) if bidirectional_prefix else columns.expand_as(token_types)
    mask = (block[:, None, :] <= block[:, past:, None]) & ~padding[:, None, :]
    question, answer = token_types == TokenType.QUESTION, token_types == TokenType.ANSWER
    if TokenType.QUESTION in hide:
        mask &= ~question[:, None, :] | (question | answer)[:, past:, None]
    if TokenType.ANSWER in hide:
        number = torch.where(
            answer, question.cumsum(1) + 1, 0
        )  # each answer follows a question; 0: no answer
        mask &= (number[:, None, :] == 0) | (number[:, None, :] == number[:, past:, None])
    rows = columns[past:]
    mask[:, rows - past, rows] = True  # a padded element attends to itself: a softmax over nothing is NaN
    return mask


def _blocks(token_types: Int[Tensor, "batch total"]) -> Int[Tensor, "batch total"]:
    """Number the blocks. Input: the prefix, questions, the instruction, and text before the first of these."""
    dialogue = (token_types != PREFIX) & (token_types != PAD) & (token_types != TokenType.TEXT)
    opening = (token_types == TokenType.TEXT) & (dialogue.cumsum(1) == 0)
    question, instruction = token_types == TokenType.QUESTION, token_types == TokenType.INSTRUCTION
    given = (token_types == PREFIX) | question | instruction | opening
    same_block = torch.zeros_like(given)
    same_block[:, 1:] = given[:, 1:] & given[:, :-1]
    return (~same_block).cumsum(1)


def attention_rollout(
    layers: Sequence[Float[Tensor, "batch head total total"]],
) -> Float[Tensor, "batch total total"]:
    """Multiply the layers' attention from first to last (Abnar & Zuidema 2020, arXiv 2005.00928).

    Per layer: the mean over heads, averaged with the identity for the residual connection. Rows sum to 1. Row t belongs
    to the hidden state at t, which predicts the next token.
    """
    rollout = identity = _identity(layers)
    for weights in layers:
        rollout = (0.5 * weights.detach().float().mean(1) + 0.5 * identity) @ rollout
    return rollout


def gradient_rollout(
    layers: Sequence[Float[Tensor, "batch head total total"]], score: Float[Tensor, ""]
) -> Float[Tensor, "batch total total"]:
    """Attention weighted by its gradient (Chefer et al. 2021, arXiv 2103.15679).

    Per layer: the mean over heads of max(0, weight · d score / d weight), added to the result of the layers before.
    `score` is, for example, the log-probability of a token.

    Raises:
        InspireError: the score does not depend on the layers.
    """
    try:
        gradients = torch.autograd.grad(score, list(layers), retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InspireError(
            f"the score has no gradient with respect to the attention: {reason_of(error)}."
        ) from error
    rollout = _identity(layers)
    for weights, gradient in zip(layers, gradients, strict=True):
        if gradient is not None:
            rollout = rollout + (weights.detach() * gradient).clamp(min=0).float().mean(1) @ rollout
    return rollout


def _identity(layers: Sequence[Tensor]) -> Tensor:
    if not layers:
        raise InspireError("this backbone shows no attention weights.")
    batch, _, _, total = layers[0].shape
    return torch.eye(total, device=layers[0].device).expand(batch, -1, -1)
