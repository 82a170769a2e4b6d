"""MiniVLA's residual VQ: what the original's modules say, and the laws."""

import numpy as np
import pytest
import torch
from tests.action_tokenizers.laws import TokenizerLaws, demonstrations
from torch import nn

from inspire_vla.action_tokenizers import GRIPPER_CONVENTIONS, LearnedVQ
from inspire_vla.errors import InspireError

HORIZON, DIM, LATENT, ROUNDS, K = 4, 7, 24, 7, 32


class OriginalMLP(nn.Module):
    """vq_bet_official's EncoderMLP: a hidden layer, one more, and the output layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.fc = nn.Linear(16, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.encoder(x))


def original(seed: int = 0) -> tuple[OriginalMLP, OriginalMLP, torch.Tensor]:
    torch.manual_seed(seed)
    return (
        OriginalMLP(HORIZON * DIM, LATENT), OriginalMLP(LATENT, HORIZON * DIM), torch.randn(ROUNDS, K, LATENT) * 0.3
    )  # fmt: skip


def checkpoint(encoder: nn.Module, decoder: nn.Module, books: torch.Tensor) -> dict:
    return {
        "encoder": {k: v.numpy() for k, v in encoder.state_dict().items()},
        "decoder": {k: v.numpy() for k, v in decoder.state_dict().items()},
        "vq_embedding": {f"layers.{i}._codebook.embed": b[None].numpy() for i, b in enumerate(books)},
    }


class TestLearnedVQ(TokenizerLaws):
    any_chunk = False
    idempotent = False

    def make(self) -> LearnedVQ:
        return LearnedVQ.from_published(checkpoint(*original()), horizon=HORIZON)

    def error_bound(self, tokenizer: LearnedVQ) -> float:
        return 4.0  # random weights promise nothing


class TestTurnedGripper(TestLearnedVQ):
    def make(self) -> LearnedVQ:
        return LearnedVQ.from_published(
            checkpoint(*original()), horizon=HORIZON, gripper=GRIPPER_CONVENTIONS["libero"]
        )


def test_actions_beyond_the_range_are_clipped() -> None:
    tokenizer = LearnedVQ.from_published(checkpoint(*original()), horizon=HORIZON)
    chunks = 3 * demonstrations(50, HORIZON, DIM)
    np.testing.assert_array_equal(tokenizer.encode(chunks), tokenizer.encode(np.clip(chunks, -1, 1)))


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_codes_and_actions_are_the_originals(scale: float) -> None:
    encoder, decoder, books = original(1)
    tokenizer = LearnedVQ.from_published(
        checkpoint(encoder, decoder, books), horizon=HORIZON, action_scale=scale
    )
    chunks = demonstrations(200, HORIZON, DIM)
    residual = encoder(torch.from_numpy(chunks).float().flatten(1) / scale)
    total, codes = torch.zeros_like(residual), []
    for book in books:  # as vector-quantize-pytorch's ResidualVQ in eval mode
        picked = torch.cdist(residual, book).argmin(1)
        codes.append(picked)
        total, residual = total + book[picked], residual - book[picked]
    actions = (decoder(total) * scale).unflatten(1, (HORIZON, DIM))
    np.testing.assert_array_equal(tokenizer.encode(chunks), torch.stack(codes, 1).numpy())
    np.testing.assert_allclose(tokenizer.decode(tokenizer.encode(chunks)), actions.numpy(), atol=1e-5)


def test_what_is_wrong_is_said() -> None:
    good = checkpoint(*original())
    with pytest.raises(InspireError, match="holds encoder, decoder and vq_embedding"):
        LearnedVQ.from_published({"model": {}}, horizon=HORIZON)
    with pytest.raises(InspireError, match="does not hold 5 actions"):
        LearnedVQ.from_published(good, horizon=5)
    with pytest.raises(InspireError, match="No plain codebooks"):
        LearnedVQ.from_published(good | {"vq_embedding": {}}, horizon=HORIZON)
    with pytest.raises(InspireError, match="lack"):
        LearnedVQ.from_published(good | {"encoder": {}}, horizon=HORIZON)
