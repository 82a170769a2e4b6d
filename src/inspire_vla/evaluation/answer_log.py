"""What a policy answered over an episode, beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inspire_vla.evaluation.confusion import Confusion, add
from inspire_vla.evaluation.records import NOT_ASKED_ABOUT, TimelineEntry

if TYPE_CHECKING:
    from inspire_vla.decoding import Decision


@dataclass
class AnswerLog:
    """The answers of an episode's decisions.

    Attributes:
        last_mentions: what the last decision was asked about; none after a change of the instruction.
        drafts: {mention: answer} of the last decision, the draft of the next; None likewise.
        mentions: all objects that were asked about, in order.
        timeline: an entry for each decision; early ones end before the objects of a later instruction.
        confusions: of the scored answers, one for each of `mentions`.
        to_override, overridden: answers given under a control, and how many of them it replaced.
    """

    last_mentions: tuple[str, ...] = ()
    drafts: dict[str, str] | None = None
    mentions: tuple[str, ...] = ()
    timeline: list[TimelineEntry] = field(default_factory=list)
    confusions: list[Confusion] = field(default_factory=list)
    to_override: int = 0
    overridden: int = 0

    def change_instruction(self) -> None:
        """Forget what was asked: a new instruction names other objects."""
        self.last_mentions, self.drafts = (), None

    def add(self, step: int, decision: "Decision", truth: Mapping[str, str], *, controlled: bool) -> None:
        """Note the answers of a decision, and score those with a known truth that the model gave itself.

        Args:
            step: control steps before the decision.
            truth: {mention: true answer}, as far as it is known.
            controlled: whether a control replaces answers.
        """
        self.last_mentions, answers = tuple(decision.mentions), tuple(decision.answers)
        self.mentions += tuple(mention for mention in self.last_mentions if mention not in self.mentions)
        self.confusions.extend({} for _ in range(len(self.mentions) - len(self.confusions)))
        self.drafts = dict(zip(self.last_mentions, answers, strict=True))
        truths = tuple(truth.get(mention) for mention in self.last_mentions)
        confidences = tuple(round(float(confidence), 3) for confidence in decision.confidences)
        self.timeline.append(
            (
                step,
                self._by_mention(answers, NOT_ASKED_ABOUT),
                self._by_mention(truths, None),
                self._by_mention(confidences, 0.0),
            )
        )
        if controlled:
            self.to_override += len(answers)
            self.overridden += sum(map(bool, decision.overridden))
        scores = zip(self.last_mentions, answers, truths, decision.overridden, strict=False)
        for mention, answer, true_answer, overridden in scores:
            if true_answer is not None and not overridden:
                add(self.confusions[self.mentions.index(mention)], true_answer, answer)

    def _by_mention[T](self, values: Sequence[T], missing: T) -> tuple[T, ...]:
        """Order a decision's values by all mentions of the episode: an instruction that changed had others."""
        if self.last_mentions == self.mentions:
            return tuple(values)
        given = dict(zip(self.last_mentions, values, strict=False))
        return tuple(given.get(mention, missing) for mention in self.mentions)
