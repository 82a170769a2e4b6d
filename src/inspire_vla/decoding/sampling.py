"""One token from the scores of those that are allowed. V: allowed token ids of all answers and action codes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from inspire_vla.decoding.grammar import AllowedTokens
from inspire_vla.errors import InspireError


class Sample(NamedTuple):
    """A token and its probability among the allowed tokens."""

    token_id: int
    probability: float


def sample(
    scores: Float[np.ndarray, " V"],
    allowed: AllowedTokens,
    override: int | None = None,
    temperature: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Sample:
    """Return one of the `allowed` tokens: `override`, else the best one, or a random one at a temperature above 0.

    The probability is the softmax over `allowed` at temperature 1: tokens that are not allowed are left out of the
    softmax. The first of equal scores wins. Raises InspireError for scores that are not finite.
    """
    logits = scores[allowed.columns].astype(np.float64)
    if not np.isfinite(logits).all():
        raise InspireError("The model's scores are NaN or infinite: weights or inputs are broken.")
    logits -= logits.max()
    weights = np.exp(logits)
    if override is not None:
        index = int(np.flatnonzero(allowed.token_ids == override)[0])
    elif temperature > 0:
        tempered = np.exp(logits / temperature)
        index = int((rng or np.random.default_rng()).choice(len(logits), p=tempered / tempered.sum()))
    else:
        index = int(logits.argmax())
    return Sample(int(allowed.token_ids[index]), float(weights[index] / weights.sum()))
