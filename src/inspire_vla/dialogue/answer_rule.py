"""The answer rule of a policy: what it is asked about, how true answers are made, and which answers there are."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from inspire_vla.dialogue.dialogue import objects_not_asked
from inspire_vla.instruction import NoObjectFound, find_mentions, mentions_of, override_for
from inspire_vla.spatial import true_answers, words_by_rule


@dataclass(frozen=True)
class AnswerRule:
    """How an offset becomes an answer, as the policy was trained.

    Attributes:
        mode, frame, close_threshold_m, grasped_word: the arguments of `spatial.relate`; the threshold in metres.
        max_objects: the policy is asked about at most this many mentions, the first ones; None: about all.
        overrides: instruction → mentions that a person has given in place of those that it names.
    """

    mode: str = "direction"
    frame: str = "robot"
    close_threshold_m: float | None = None
    grasped_word: bool = True
    max_objects: int | None = None
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_reasoning(cls, reasoning: Any) -> "AnswerRule":
        """Return the rule of a policy's `reasoning`: its configuration, or the mapping that a checkpoint holds.

        What it does not hold has the default. It holds no mention overrides.
        """
        values = reasoning if isinstance(reasoning, Mapping) else vars(reasoning)
        names = [each.name for each in fields(cls) if each.name != "overrides"]
        return cls(**{name: values[name] for name in names if name in values})

    @classmethod
    def of(cls, agent: Any) -> "AnswerRule":
        """Return the agent's `answer_rule`, else the rule of its `config.reasoning`, else the default.

        Mentions that a person has given are taken from its `mention_overrides`.
        """
        reasoning = getattr(getattr(agent, "config", None), "reasoning", None)
        rule = getattr(agent, "answer_rule", None) or reasoning or cls()
        rule = rule if isinstance(rule, cls) else cls.of_reasoning(rule)
        given = getattr(agent, "mention_overrides", None) or {}
        overrides = {text: mentions_of(override_for(roles)) for text, roles in given.items()}
        return replace(rule, overrides=overrides) if overrides else rule

    def mentions(self, instruction: str) -> tuple[str, ...]:
        """Return the objects to ask about, `max_objects` aside: those given by a person, else those it names."""
        if instruction in self.overrides:
            return self.overrides[instruction]
        with suppress(NoObjectFound):
            return find_mentions(instruction)
        return ()

    def truth(self, info: Mapping[str, Any]) -> dict[str, str]:
        """Return {mention: true answer} from an environment's `info`; empty if it has no offsets."""
        return true_answers(
            info,
            mode=self.mode,
            frame=self.frame,
            close_threshold_m=self.close_threshold_m,
            grasped_word=self.grasped_word,
        )

    def words(self) -> tuple[str, ...]:
        """Return all answers that this rule can give."""
        return words_by_rule(self.mode, self.close_threshold_m, self.grasped_word)

    def not_asked(self, instructions: Iterable[str]) -> list[str]:
        """Return what to say of the instructions that name more objects than the policy is asked about."""
        if self.max_objects is None:
            return []
        lines = (
            objects_not_asked(instruction, self.mentions(instruction), self.max_objects)
            for instruction in dict.fromkeys(instructions)
        )
        return [line for line in lines if line is not None]
