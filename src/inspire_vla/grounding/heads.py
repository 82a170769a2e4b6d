"""Heads and losses of the pre-training. The heads are discarded afterwards; only the backbone is kept.

Tensor axes: batch; prefix = patches of the image; grid = points along each side of the image; time = text tokens;
n = questions. Positions are (u, v): from the left and from the top, as fractions of the image's sides.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, smooth_l1_loss

from inspire_vla.backbones.hf_decoder import supervised_states
from inspire_vla.backbones.nano import Nano
from inspire_vla.grounding.batches import COLOURS, KINDS, GroundingBatch

POINTS_PER_PATCH = 4
"""Grid points along each side of a patch."""
_BACKGROUND_WEIGHT = 0.2
"""Weight of the class "nothing", because most of an image is table and wall."""
_OFFSET_UNIT = 0.1
"""Offsets are learned in tenths of the image's side."""

BINS = 64
"""Bins of the pointing head along each side of the image."""
_TARGET_STD = 1.0
"""Standard deviation of the target distribution, in bins."""
_WINDOW = 3
"""Bins on either side of the most likely one that are averaged."""
POINTING_TOLERANCE = 0.03
"""Largest distance that counts as correct, as a fraction of the image's side: about 2 cm on the benchmark's table."""


class DenseHead(nn.Module):
    """Dense classification: kind and colour at grid points of each patch, and the offset to the object's centre.

    It trains the stem alone: identity and position are in the tokens before any language is learned, as in the vision
    encoder of a published model.
    """

    def __init__(self, hidden_size: int, kinds: int = len(KINDS), colours: int = len(COLOURS)) -> None:
        super().__init__()
        self.kinds, self.colours = kinds, colours
        self.out = nn.Linear(hidden_size, POINTS_PER_PATCH**2 * (kinds + colours + 2))

    def forward(
        self,
        prefix: Float[Tensor, "batch prefix hidden"],
        classes: Int[Tensor, "batch grid grid 2"],
        offsets: Float[Tensor, "batch grid grid 2"],
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss (a scalar), and what to log: accuracy of kind and colour on objects, mean error of the offsets."""
        batch, grid = classes.shape[:2]
        side = grid // POINTS_PER_PATCH
        scores = (
            self.out(prefix[:, : side * side]).float().unflatten(-1, (POINTS_PER_PATCH, POINTS_PER_PATCH, -1))
        )
        # point (a, b) of patch (i, j) → grid point (4·i + a, 4·j + b)
        scores = scores.unflatten(1, (side, side)).permute(0, 1, 3, 2, 4, 5).reshape(batch, grid, grid, -1)
        kinds, colours, places = scores.split((self.kinds, self.colours, 2), dim=-1)
        weight = torch.ones(self.kinds, device=prefix.device)
        weight[0] = _BACKGROUND_WEIGHT
        loss = cross_entropy(kinds.flatten(0, 2), classes[..., 0].flatten(), weight=weight)
        log = {"dense_accuracy": 0.0, "offset_error": 0.0}
        objects = classes[..., 1] > 0
        if objects.any():  # an empty table has no colours
            loss = loss + cross_entropy(colours[objects], classes[..., 1][objects])
            correct = (kinds.argmax(-1) == classes[..., 0]) & (colours.argmax(-1) == classes[..., 1])
            log["dense_accuracy"] = correct[objects].float().mean().item()
        log["dense_loss"] = loss.item()
        known = ~offsets[..., 0].isnan()
        if known.any():
            estimate, target = places[known], offsets[known] / _OFFSET_UNIT
            loss = loss + smooth_l1_loss(estimate, target, beta=0.1)
            log["offset_error"] = (estimate - target).norm(dim=-1).mean().item() * _OFFSET_UNIT
        return loss, log


class PointingHead(nn.Module):
    """The hidden state at the end of a question → a point in the image.

    Points written as digits are hard to learn: the second digits of 0.39 and 0.41 have nothing in common. A
    distribution over bins changes smoothly with the point.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.out = nn.Linear(hidden_size, 2 * BINS)

    def loss(self, hidden: Float[Tensor, "n hidden"], points: Float[Tensor, "n 2"]) -> Tensor:
        """Cross-entropy against a Gaussian around the true point, a scalar: the mean over the n questions.

        points: (u, v), see batches.py.
        """
        centres = (torch.arange(BINS, device=points.device) + 0.5) / BINS
        target = (-0.5 * ((centres - points[..., None]) * BINS / _TARGET_STD) ** 2).softmax(-1)
        scores = self.out(hidden).float().unflatten(-1, (2, BINS)).log_softmax(-1)
        return -(target * scores).sum((-1, -2)).mean()

    def point(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n 2"]:
        """The mean of the most likely bin and its neighbours: (u, v), see batches.py."""
        probabilities = self.out(hidden).unflatten(-1, (2, BINS)).softmax(-1)
        bins = torch.arange(BINS, device=hidden.device)
        near = (bins - probabilities.argmax(-1, keepdim=True)).abs() <= _WINDOW
        weight = probabilities * near
        return (weight * (bins + 0.5)).sum(-1) / weight.sum(-1) / BINS


class Heads(nn.Module):
    """All heads of the pre-training.

    Args:
        kinds, colours: number of classes of the dense head.
    """

    def __init__(self, hidden_size: int, kinds: int = len(KINDS), colours: int = len(COLOURS)) -> None:
        super().__init__()
        self.dense = DenseHead(hidden_size, kinds, colours)
        self.pointing = PointingHead(hidden_size)


def losses(
    model: Nano, heads: Heads, batch: GroundingBatch, *, questions: bool
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch (a scalar), and what to log: dense classification; with `questions` pointing and answers."""
    prefix = model.encode_observation(batch.images, None)
    loss, log = heads.dense(prefix, batch.classes, batch.offsets)
    if not questions:
        return loss, log
    ends = ~batch.points[..., 0].isnan()
    before_answers = pad(batch.loss_mask[:, 1:], (0, 1))
    needed = ends | before_answers
    hidden = supervised_states(
        model.decoder,
        torch.cat([prefix, model.embed(batch.ids)], dim=1),
        pad(needed, (prefix.shape[1], 0)),
    )
    logits, targets = model.logits(hidden[before_answers[needed]]), batch.ids[batch.loss_mask]
    states, points = hidden[ends[needed]], batch.points[ends]
    # without questions of a kind its loss is zero; the mean of nothing would be NaN
    answer = cross_entropy(logits.float(), targets) if len(targets) else logits.sum()
    pointing = heads.pointing.loss(states, points) if len(points) else states.sum()
    with torch.no_grad():
        error = (heads.pointing.point(states) - points).norm(dim=-1)
    log |= {
        "answer_loss": answer.item(),
        "answer_accuracy": _mean(logits.argmax(-1) == targets),
        "pointing_loss": pointing.item(),
        "pointing_accuracy": _mean(error < POINTING_TOLERANCE),
    }
    return loss + answer + pointing, log


def _mean(correct: Bool[Tensor, " n"]) -> float:
    """The fraction that is true; 0 for an empty tensor."""
    return correct.float().mean().item() if len(correct) else 0.0
