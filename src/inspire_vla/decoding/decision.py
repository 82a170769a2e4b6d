"""The outcome of one control step: what was answered, and what is done."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Decision:
    """The outcome of one control step. The tuples about answers run parallel to `mentions`.

    Attributes:
        actions: (horizon, action_dim). `decode` returns normalised actions, an agent those of the robot. None if the
            codes decode to no action; the caller counts and reports that. A flow expert always returns actions.
        mentions: the objects asked about, in order; () for the base model.
        answers: the answer about each object: the model's, or the caller's override.
        confidences: the model's probability of the answer among the allowed answers.
        overridden: whether the caller set the answer.
        accepted: whether the answer was drafted and the model accepted the draft.
        token_ids: all decoded tokens in order: answers, then action codes; a flow expert has none.
        forward_passes: forward passes of the backbone; all rows of a batch share them. The steps of a flow expert,
            which is small, are not counted.
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
        """Whether the codes decode to actions."""
        return self.actions is not None

    @property
    def answers_by_mention(self) -> dict[str, str]:
        """{mention: answer}: the draft of the next control step."""
        return dict(zip(self.mentions, self.answers, strict=True))

    def followed_by(self, action: "Decision") -> "Decision":
        """The answers of this decision and the action of another one, which was decoded without them."""
        return replace(
            self,
            actions=action.actions,
            token_ids=self.token_ids + action.token_ids,
            forward_passes=self.forward_passes + action.forward_passes,
        )
