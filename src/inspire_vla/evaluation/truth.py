"""The true answers at one moment, by the rule the policy was trained with, and how answers compare to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from inspire_vla.errors import InspireError
from inspire_vla.spatial import answer_words, relate, says_close

Confusion = dict[str, dict[str, int]]
"""{truth: {said: times}}"""

CONTROLS = ("none", "truth", "shuffled", "random")
"""What the actions are conditioned on: the model's own answers (none), the true ones (an oracle), the true answer of
the next object asked about (shuffled), or random words (chance). A policy with `reasoning.enabled=false` only allows
"none". Except under "random", an object without a known truth keeps the policy's own answer; such answers are counted
(`EpisodeRecord.answers_overridden`)."""


@dataclass(frozen=True)
class AnswerRule:
    """How offsets become the answers that a policy was trained with; the arguments of `spatial.relate`."""

    mode: str = "direction"
    frame: str = "robot"
    close_threshold_m: float | None = None
    grasped_word: bool = True
    max_objects: int | None = None
    """The policy is asked about the first so many mentions."""

    @classmethod
    def of(cls, agent: Any) -> "AnswerRule":
        """Return the agent's rule: its `answer_rule`, else that of its `config.reasoning`, else the default."""
        rule = getattr(agent, "answer_rule", None) or getattr(
            getattr(agent, "config", None), "reasoning", None
        )
        if rule is None or isinstance(rule, cls):
            return rule or cls()
        values = dict(rule) if isinstance(rule, Mapping) else vars(rule)
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def truth(self, info: Mapping[str, Any]) -> dict[str, str]:
        """Return {mention: true answer} from an environment's `info`; empty when it holds no offsets."""
        if "gripper_to_object_m" not in info or "mentions" not in info:
            return {}
        offsets = np.asarray(info["gripper_to_object_m"], dtype=np.float64).reshape(-1, 3)
        rule = asdict(self)
        rule.pop("max_objects")
        words = relate(offsets, np.asarray(info["grasped"], dtype=bool), **rule)
        return dict(zip(info["mentions"], (str(word) for word in words), strict=True))

    def words(self) -> tuple[str, ...]:
        """The answers that this rule can give."""
        return answer_words(
            self.mode,
            grasped_word=self.grasped_word,
            close_word=says_close(self.mode, self.close_threshold_m),
        )


def control_overrides(
    control: str,
    mentions: Sequence[str],
    truth: Mapping[str, str],
    words: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, str] | None:
    """Return the answers to force on the agent under a control of `CONTROLS`, None for none.

    `mentions` is what is asked about, in order; one without `truth` is left to the agent, unless any word will do.
    "shuffled" changes nothing where there is one object alone.
    """
    known = [mention for mention in mentions if mention in truth]
    answers = [truth[mention] for mention in known]
    if control == "none":
        return None
    if control == "truth":
        return dict(zip(known, answers, strict=True))
    if control == "shuffled":
        return dict(zip(known, answers[-1:] + answers[:-1], strict=True))
    if control == "random":
        return {mention: str(rng.choice(list(words))) for mention in mentions}
    raise InspireError(f"unknown control of answers {control!r}. Possible: {list(CONTROLS)}.")


def add(confusion: Confusion, truth: str, said: str, times: int = 1) -> None:
    """Count one answer, in place."""
    row = confusion.setdefault(truth, {})
    row[said] = row.get(said, 0) + times


def merge(confusions: Iterable[Confusion]) -> Confusion:
    """Return the sum of confusions."""
    total: Confusion = {}
    for confusion in confusions:
        for truth, row in confusion.items():
            for said, times in row.items():
                add(total, truth, said, times)
    return total


def asked(confusion: Confusion) -> int:
    """How many answers were given."""
    return sum(times for row in confusion.values() for times in row.values())


def correct(confusion: Confusion) -> int:
    """How many answers were true."""
    return sum(row.get(truth, 0) for truth, row in confusion.items())


def majority(confusion: Confusion) -> tuple[str | None, int]:
    """Return the most frequent truth and how often it was true: what guessing it always would have scored.

    It is chosen after the fact, on the very episodes it is scored on, hence is the best of constant guesses.
    """
    totals = {truth: sum(row.values()) for truth, row in confusion.items()}
    if not totals:
        return None, 0
    word = max(sorted(totals), key=lambda truth: totals[truth])
    return word, totals[word]
