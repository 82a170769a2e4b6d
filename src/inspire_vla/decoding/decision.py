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
        answers: the answer about each object: the model's, or the caller's override.
        confidences: the answer's probability among the allowed ones, as the model sees it.
        overridden: whether the caller set the answer, to steer or as an ablation.
        accepted: whether the answer was drafted and the model accepted the draft.
        token_ids: all tokens that were said, answers and action codes, in order.
        forward_passes: forward passes of the backbone; all rows of a batch share them.
    """

    actions: Float[np.ndarray, "horizon action_dim"] | None
    mentions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    overridden: tuple[bool, ...] = ()
    accepted: tuple[bool, ...] = ()
    token_ids: tuple[int, ...] = ()
    forward_passes: int = 0

    @property
    def decodable(self) -> bool:
        return self.actions is not None

    @property
    def answers_by_mention(self) -> dict[str, str]:
        """{mention: answer}: the draft of the next control step."""
        return dict(zip(self.mentions, self.answers, strict=True))
