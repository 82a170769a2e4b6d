"""To point at a place: how "Where is the red cube?" is answered.

Said in digits a place is hard to learn: the second digit of 0.39 and 0.41 has nothing in common. A finger moves
smoothly, and so do the probabilities of neighbouring bins.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

NEAR = 0.03
"""Share of the image's side that counts as found: about two centimetres on the benchmark's table."""
BINS = 64
"""Along each side of the image."""
_SPREAD = 1.0
"""Standard deviation of what counts as right, in bins."""
_WINDOW = 3
"""Bins on either side of the likeliest that a pointed place is the mean of."""


class PointingHead(nn.Module):
    """What the model thinks at the end of a question → where in the image. Thrown away in the end."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.out = nn.Linear(hidden_size, 2 * BINS)

    def loss(self, hidden: Float[Tensor, "n hidden"], places: Float[Tensor, "n 2"]) -> Tensor:
        """Cross-entropy against a little bell around the true place (shares of the sides, from left and top)."""
        middles = (torch.arange(BINS, device=places.device) + 0.5) / BINS
        wanted = (-0.5 * ((middles - places[..., None]) * BINS / _SPREAD) ** 2).softmax(-1)
        scores = self.out(hidden).unflatten(-1, (2, BINS)).log_softmax(-1)
        return -(wanted * scores).sum((-1, -2)).mean()

    def point(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n 2"]:
        """Where it points: the likeliest bin and its neighbours, averaged."""
        likely = self.out(hidden).unflatten(-1, (2, BINS)).softmax(-1)
        bins = torch.arange(BINS, device=hidden.device)
        near = (bins - likely.argmax(-1, keepdim=True)).abs() <= _WINDOW
        weight = likely * near
        return (weight * (bins + 0.5)).sum(-1) / weight.sum(-1) / BINS
