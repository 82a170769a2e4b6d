"""Rows of a rollout sum to one and stay causal; gradients find what caused the score."""

import pytest
import torch

from inspire_vla.backbones.attention import attention_rollout, gradient_rollout
from inspire_vla.backbones.hf_decoder import additive_mask
from inspire_vla.errors import InspireError


def layers(count: int = 4, *, slope: bool = False) -> list[torch.Tensor]:
    torch.manual_seed(0)
    hidden = additive_mask(torch.ones(5, 5).bool().tril()[None], torch.float32)
    return [(torch.randn(2, 3, 5, 5) + hidden).softmax(-1).requires_grad_(slope) for _ in range(count)]


def test_rollout_keeps_rows_that_sum_to_one_and_causality() -> None:
    mixed = attention_rollout(layers())
    torch.testing.assert_close(mixed.sum(-1), torch.ones(2, 5))
    assert (mixed.triu(1) == 0).all()


def test_rollout_of_identities_is_the_identity() -> None:
    torch.testing.assert_close(
        attention_rollout([torch.eye(5).expand(2, 3, 5, 5)] * 3), torch.eye(5).expand(2, 5, 5)
    )


def test_the_gradient_finds_what_caused_the_score() -> None:
    """One score reads a single weight of a layer; another falls with it."""
    weights = layers(slope=True)
    mixed = gradient_rollout(weights, weights[-1][0, :, 4, 2].sum())
    others = mixed[0] - torch.eye(5)
    assert others[4].argmax() == 2
    others[4, 2] = 0
    assert (others == 0).all()
    assert torch.equal(mixed[1], torch.eye(5))
    against = gradient_rollout(weights, -weights[-1][0, :, 4, 2].sum())
    assert torch.equal(against[0], torch.eye(5))


def test_the_gradient_passes_through_the_layers() -> None:
    """A score that depends on the last layer and, through it, on the first."""
    first, last = layers(2, slope=True)
    mixed = gradient_rollout([first, last], (last @ first)[0, :, 4, 0].sum())
    assert mixed[0, 4, 0] > 0
    assert (mixed.triu(1) == 0).all()


def test_a_score_of_something_else_is_refused() -> None:
    with pytest.raises(InspireError, match="no gradient"):
        gradient_rollout(layers(slope=True), torch.tensor(1.0))
    with pytest.raises(InspireError, match="shows no attention"):
        attention_rollout([])
