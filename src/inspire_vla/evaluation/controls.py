"""Controls of answers: what the actions are conditioned on in place of the model's own answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.spatial import GRASPED

UNASKED = "unasked"
CONTROLS = ("none", "truth", "shuffled", "random", "random_directions", UNASKED)
"""What the actions are conditioned on: the model's own answers (none), the true ones (an oracle), the true answer of
the next object asked about (shuffled), random words (chance), random words but for a true "grasped" and never a false
one (random_directions: what the directions add), or no dialogue at all (unasked: no question is asked).
A policy with `reasoning.enabled=false` only allows "none", one with `reasoning.separate_questions` also "unasked".
Except under "random", an object without a known truth keeps the policy's own answer; such answers are counted
(`EpisodeRecord.answers_overridden`)."""


def check_control(
    control: str, *, reasoning_enabled: bool = True, answers_precede_action: bool = True
) -> None:
    """Check that a policy allows a control of `CONTROLS`.

    Args:
        reasoning_enabled: whether the policy is asked questions (`reasoning.enabled`).
        answers_precede_action: False where the questions are asked apart (`reasoning.separate_questions`).

    Raises:
        InspireError: an unknown control, or one that would change nothing; says what is possible.
    """
    if control not in CONTROLS:
        raise InspireError(f"Unknown control of answers {control!r}.{did_you_mean(control, CONTROLS)}")
    if control != "none" and not reasoning_enabled:
        raise InspireError(
            f"The control {control!r} needs a policy that is asked questions. This one is a base model "
            "(reasoning.enabled=false). Possible: none, so leave out --control."
        )
    if control not in ("none", UNASKED) and not answers_precede_action:
        raise InspireError(
            f"The control {control!r} would change nothing: this policy's questions are not in the action's sequence "
            f"(reasoning.separate_questions). Possible: none, {UNASKED}."
        )


def check_control_of(policy: Mapping[str, Any], control: str) -> None:
    """`check_control` for a described policy, whose "reasoning" may be missing: then only the name is checked."""
    reasoning = policy.get("reasoning") or {}
    check_control(
        control,
        reasoning_enabled=bool(reasoning.get("enabled", True)),
        answers_precede_action=not reasoning.get("separate_questions", False),
    )


def control_overrides(
    control: str,
    mentions: Sequence[str],
    truth: Mapping[str, str],
    words: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, str] | None:
    """Return the {mention: answer} that a control of `CONTROLS` sets, None for "none" and "unasked".

    Args:
        mentions: what the policy is asked about, in order. One without `truth` is only set under "random".
        words: the answers to draw from under "random" and "random_directions".

    With a single object, "shuffled" equals "truth".
    """
    check_control(control)
    known = [mention for mention in mentions if mention in truth]
    answers = [truth[mention] for mention in known]
    if control in ("none", UNASKED):
        return None
    if control == "truth":
        return dict(zip(known, answers, strict=True))
    if control == "shuffled":
        return dict(zip(known, answers[-1:] + answers[:-1], strict=True))
    if control == "random":
        return {mention: str(rng.choice(list(words))) for mention in mentions}
    others = [word for word in words if word != GRASPED]
    return {mention: GRASPED if truth[mention] == GRASPED else str(rng.choice(others)) for mention in known}
