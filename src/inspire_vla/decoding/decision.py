"""What the caller sees: the action chunk, and the reasoning it was conditioned on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Decision:
    """One control step's outcome. The tuples about answers run parallel to `mentions`.

    Attributes:
        actions: (horizon, action_dim), in the units of whoever returns the decision (the decoder: normalised).
            None where the codes stand for no action; the caller counts that and says so.
        mentions: the objects asked about, in order; () for the base model.
        answers: what the model says of each, or what the caller forced.
        confidences: the answer's probability among the allowed ones, as the model sees it.
        forced: the caller gave the word, to steer or as an ablation.
        guessed: the word was guessed beforehand and turned out to be the model's own answer.
        token_ids: all tokens that were said, answers and action codes, in order.
        passes: how often the backbone ran; a batch shares its passes.
    """

    actions: Float[np.ndarray, "horizon action_dim"] | None
    mentions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    forced: tuple[bool, ...] = ()
    guessed: tuple[bool, ...] = ()
    token_ids: tuple[int, ...] = ()
    passes: int = 0

    @property
    def decodable(self) -> bool:
        return self.actions is not None

    @property
    def words(self) -> dict[str, str]:
        """{mention: answer}: what to guess at the next control step."""
        return dict(zip(self.mentions, self.answers, strict=True))
