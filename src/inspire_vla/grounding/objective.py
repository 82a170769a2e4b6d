"""What the pre-training learns: names everywhere, then pointing and answering too."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from inspire_vla.backbones.nano import Nano
from inspire_vla.grounding.batches import GroundingBatch
from inspire_vla.grounding.naming import NamingHead
from inspire_vla.grounding.pointing import NEAR, PointingHead


class Heads(nn.Module):
    """What reads the backbone during the pre-training, and is thrown away afterwards."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.naming = NamingHead(hidden_size)
        self.pointing = PointingHead(hidden_size)


def losses(
    model: Nano, heads: Heads, batch: GroundingBatch, *, talk: bool
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts: of naming alone, or of naming, pointing and answering."""
    prefix = model.encode_observation(batch.images, None)
    loss, numbers = heads.naming(prefix, batch.points, batch.middles)
    if talk:
        ids = batch.ids
        hidden = model.extend(torch.cat([prefix, model.embed(ids)], dim=1))[:, prefix.shape[1] :]
        logits = model.logits(hidden[:, :-1][batch.supervised[:, 1:]])
        wanted = ids[batch.supervised]
        pointed = ~batch.places[..., 0].isnan()
        ends, places = hidden[pointed], batch.places[pointed]
        # a batch without a question of a kind has a loss of zero there, not the mean of nothing, which is NaN
        answer = cross_entropy(logits, wanted) if len(wanted) else logits.sum()
        pointing = heads.pointing.loss(ends, places) if len(places) else ends.sum()
        with torch.no_grad():
            off = (heads.pointing.point(ends) - places).norm(dim=-1)
        numbers |= {
            "answer_loss": answer.item(),
            "answer_accuracy": _share(logits.argmax(-1) == wanted),
            "pointing_loss": pointing.item(),
            "found": _share(off < NEAR),
        }
        loss = loss + answer + pointing
    return loss, numbers


def _share(right: Bool[Tensor, " n"]) -> float:
    """How much of it is true; 0 of nothing."""
    return right.float().mean().item() if len(right) else 0.0
