"""An instruction → its dialogue: the prompt of a robot, or the sequence that a demonstration teaches."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int

from inspire_vla.dialogue import (
    NOT_ASKED,
    CachedTokenizer,
    Dialogue,
    Template,
    TextTokenizer,
    TokenType,
    build_dialogue,
    objects_not_asked,
)
from inspire_vla.errors import InspireError, counted
from inspire_vla.instruction import (
    MentionRole,
    NoObjectFound,
    Overrides,
    find_mentions,
    mentions_of,
    override_for,
)
from inspire_vla.lerobot_plugin.option_groups import ReasoningConfig
from inspire_vla.spatial import decode_answers

_STATE = "{state}"


class PromptBuilder:
    """Writes an instruction as a dialogue: the prompt of a robot, or the sequence that a demonstration teaches.

    Dialogues are cached by instruction, mentions and answers. A template that writes the robot's state gets it
    afterwards. `overrides`: mentions that a person has given for an instruction. Prompts warn, once per instruction,
    of objects that are not asked about (`dialogue.NOT_ASKED`). A training has its own warning.
    """

    def __init__(
        self,
        config: ReasoningConfig,
        template: Template,
        tokenizer: TextTokenizer,
        overrides: Overrides | None = None,
    ) -> None:
        self.config, self.template = config, template
        self.overrides = _by_bare_text(overrides or {})
        self.tokenizer = CachedTokenizer(tokenizer)
        self._cached = lru_cache(maxsize=1 << 16)(self._build)
        self._warn_once = lru_cache(maxsize=1 << 16)(self._warn_of_objects_not_asked)

    def prompt(
        self, instruction: str, state_text: str | None = None, mentions: Sequence[Any] | None = None
    ) -> Dialogue:
        """The dialogue with its answers open.

        Args:
            state_text: for templates that write the robot's state.
            mentions: the objects to ask about, in place of those of the instruction. An empty list: none.

        Raises:
            InspireError: the instruction names no object; `mentions` are no objects, or too many, or nothing is asked.
        """
        given = self._given(mentions)
        asked = self.config.enabled and not self.config.asks_apart
        dialogue = self._dialogue(instruction, None, asked, given)
        if asked and given is None:
            self._warn_once(instruction)
        return self._with_state(dialogue, state_text)

    def demonstration(
        self,
        instruction: str,
        labels: Int[np.ndarray, " max_objects"] | None,
        state_text: str | None = None,
        *,
        asked: bool = True,
    ) -> Dialogue:
        """The dialogue with the labelled answers, or without any where it is not asked, or asked apart.

        Raises InspireError where a question has no label.
        """
        if not self.config.enabled:
            return self.prompt(instruction, state_text)
        if labels is None:
            raise InspireError(
                "Reasoning is trained on labels, and the batch has none. Label the dataset, or train the base model "
                "with --policy.reasoning.enabled=false."
            )
        if not asked or self.config.asks_apart:
            return self.without_questions(instruction, state_text)
        return self._with_state(self._dialogue(instruction, tuple(labels.tolist()), True), state_text)

    def questions(
        self,
        instruction: str,
        labels: Int[np.ndarray, " max_objects"] | None = None,
        mentions: Sequence[Any] | None = None,
    ) -> Dialogue:
        """The questions alone, as `reasoning.separate_questions` trains them; answers are open without `labels`.

        Raises InspireError as `prompt` and `demonstration` do.
        """
        codes, given = None if labels is None else tuple(labels.tolist()), self._given(mentions)
        dialogue = self._dialogue(instruction, codes, True, given)
        if codes is None and given is None:
            self._warn_once(instruction)
        return dialogue.questions_alone()

    def without_questions(self, instruction: str, state_text: str | None = None) -> Dialogue:
        """The instruction and its action alone, as the base model has them."""
        return self._with_state(self._dialogue(instruction, None, False), state_text)

    def is_labelled(self, instruction: str, labels: Int[np.ndarray, " max_objects"] | None) -> bool:
        """Whether a demonstration can be trained on: it has an instruction, and every question it asks has a label.

        The action is trained as what follows the answers, so without them there is nothing to train on.
        """
        if not instruction.strip():
            return False
        if not self.config.enabled or labels is None:
            return True
        if self.overrides.get(instruction.strip()) == ():
            return False  # a person has left it out
        try:
            questions = len(self._dialogue(instruction, None, True).mentions)
        except NoObjectFound:
            if (labels >= 0).any():
                raise
            return False
        return bool((labels[:questions] >= 0).all())

    def override_mentions(self, overrides: Overrides) -> None:
        """Ask about these mentions from now on."""
        self.overrides |= _by_bare_text(overrides)
        self._cached.cache_clear()
        self._warn_once.cache_clear()

    def _warn_of_objects_not_asked(self, instruction: str) -> None:
        mentions = find_mentions(instruction.strip(), self.overrides)
        if line := objects_not_asked(instruction, mentions, self.config.max_objects):
            NOT_ASKED.warning(line)

    def _given(self, mentions: Sequence[Any] | None) -> tuple[str, ...] | None:
        """The mentions of a call, checked; None where it gives none."""
        if mentions is None:
            return None
        given = mentions_of(override_for(mentions))
        if not self.config.enabled:
            raise InspireError("The base model asks about nothing, so that `mentions` would have no effect.")
        if len(given) > self.config.max_objects:
            raise InspireError(
                f"The policy is asked about at most {counted(self.config.max_objects, 'object')}, found {list(given)}."
            )
        return given

    def _with_state(self, dialogue: Dialogue, state_text: str | None) -> Dialogue:
        """The dialogue with the robot's state in its instruction, where the template writes it."""
        if not self.template.needs_state:
            return dialogue
        if state_text is None:
            raise InspireError(
                f"Template {self.template.name!r} writes the robot's state, and there is none."
            )
        segments = tuple(
            replace(segment, text=(segment.text or "").replace(_STATE, state_text))
            if segment.token_type is TokenType.INSTRUCTION
            else segment
            for segment in dialogue.segments
        )
        return replace(dialogue, segments=segments)

    def _dialogue(self, instruction: str, *others: Any) -> Dialogue:
        """A dialogue of the cache. Blanks and line ends around an instruction do not count: servers remove them."""
        return self._cached(instruction.strip() if isinstance(instruction, str) else instruction, *others)

    def _build(
        self,
        instruction: str,
        labels: tuple[int, ...] | None,
        reasoning: bool,
        mentions: tuple[str, ...] | None = None,
    ) -> Dialogue:
        if reasoning and mentions is None:
            mentions = find_mentions(instruction, self.overrides)
        dialogue = build_dialogue(
            instruction,
            mentions=mentions,
            mode=self.config.mode,
            question_position=self.config.question_position,  # type: ignore[arg-type]  # checked by the config
            max_objects=self.config.max_objects,
            template=self.template,
            reasoning=reasoning,
            state_text=_STATE if self.template.needs_state else None,
        )
        if labels is None:
            return dialogue
        used = labels[: len(dialogue.mentions)]
        if len(used) < len(dialogue.mentions) or min(used, default=0) < 0:
            raise InspireError(
                f"{instruction!r} asks about {list(dialogue.mentions)}, but the labels are {list(labels)} (-1: none)."
            )
        return dialogue.with_answers([str(word) for word in decode_answers(np.array(used), self.config.mode)])


def _by_bare_text(overrides: Overrides) -> dict[str, tuple[MentionRole, ...]]:
    return {text.strip(): roles for text, roles in overrides.items()}
