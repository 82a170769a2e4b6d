"""A dialogue: the text segments of one control step, in order, and which of them the model learns."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from typing import Literal

from inspire_vla.dialogue.templates import NANO_TEMPLATE, Template, get_template
from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.instruction import check_text, find_mentions
from inspire_vla.spatial import MODES, canonical_answers, encode_answers

QuestionPosition = Literal["before", "after"]
"""Whether questions stand before or after the instruction."""

QUESTIONS: dict[str, str] = {
    "direction": "In which direction is {mention} relative to the robot?",
    "direction_3d": "In which direction is {mention} relative to the robot? x, y, z:",
    "position": "What is the accurate position of {mention} relative to the robot? x, y, z:",
    "distance": "What is the distance between the robot and {mention}?",
    "distance_fine": "What is the accurate distance between the robot and {mention}?",
}
"""The question of each reasoning mode (arXiv 2505.13888)."""


ASKED_OBJECTS = 8
"""A policy is asked about the first so many objects of an instruction, unless its configuration says otherwise.
Two steps in one sentence name four."""
NOT_ASKED = logging.getLogger("inspire_vla.not_asked")
"""Warns of instructions that name more objects than the policy that acts is asked about."""


class TokenType(IntEnum):
    """What a token belongs to. Values are stored, so their order never changes."""

    TEXT = 0
    QUESTION = 1
    ANSWER = 2
    INSTRUCTION = 3
    ACTION = 4
    STATE = 5
    """Not text: the place of an embedding of the robot's state. Its id is the number of the embedding."""


@dataclass(frozen=True)
class Segment:
    """Text or token ids of one type. Both are None for an answer or an action that is not known yet."""

    text: str | None
    token_type: TokenType
    supervised: bool = False
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Dialogue:
    """Questions, answers and the instruction, written by a template.

    Attributes:
        instruction: the instruction, in plain words.
        mentions: the objects asked about, in order of mention; () for the base model.
        answers: the answer about each, None if not known.
        mode: the reasoning mode.
        question_position: whether questions stand before or after the instruction.
        segments: the whole sequence. The i-th segment of type ANSWER answers mentions[i]. One segment has type ACTION;
            it gets its ids in `render`.
    """

    instruction: str
    mentions: tuple[str, ...]
    answers: tuple[str | None, ...]
    mode: str
    question_position: QuestionPosition
    template: Template
    segments: tuple[Segment, ...]

    def with_answers(self, answers: Mapping[str, str] | Sequence[str | None]) -> "Dialogue":
        """Return the dialogue with other answers: one per mention, or {mention: answer} for some of them.

        Raises InspireError for an object that is not asked about or a word that is no answer of the mode.
        """
        if isinstance(answers, Mapping):
            for mention in answers:
                if mention not in self.mentions:
                    hint = did_you_mean(mention, self.mentions)
                    raise InspireError(f"{mention!r} is not asked about in {self.instruction!r}.{hint}")
            answers = [answers.get(m, old) for m, old in zip(self.mentions, self.answers, strict=True)]
        checked = _check_answers(answers, self.mentions, self.mode)
        texts = iter(None if word is None else self.template.answer_text(word) for word in checked)
        segments = tuple(
            replace(segment, text=next(texts)) if segment.token_type is TokenType.ANSWER else segment
            for segment in self.segments
        )
        return replace(self, answers=checked, segments=segments)

    def questions_alone(self) -> "Dialogue":
        """Return the questions and answers without instruction and action: a sample of visual question answering.

        The questions must stand before the instruction.
        """
        types = [segment.token_type for segment in self.segments]
        return replace(self, segments=self.segments[: types.index(TokenType.INSTRUCTION)])

    @property
    def acts(self) -> bool:
        """Whether an action follows, as everywhere except in `questions_alone`."""
        return any(segment.token_type is TokenType.ACTION for segment in self.segments)


def question(mention: str, mode: str = "direction") -> str:
    """Return the question about a mention, which is copied unchanged, with its article.

    >>> question("the black bowl")
    'In which direction is the black bowl relative to the robot?'

    Raises InspireError for an unknown mode or an empty mention.
    """
    if mode not in QUESTIONS:
        raise InspireError(f"Unknown reasoning mode {mode!r}.{did_you_mean(str(mode), QUESTIONS)}")
    if not mention.strip():
        raise InspireError("The mention to ask about is empty.")
    return QUESTIONS[mode].replace("{mention}", mention)


def objects_not_asked(instruction: str, mentions: Sequence[str], max_objects: int) -> str | None:
    """What to say of an instruction that names more objects than a policy is asked about; None for any other.

    >>> objects_not_asked("put the cup and the pen in the box", ("the cup", "the pen", "the box"), 2)
    "'put the cup and the pen in the box' names 3 objects; this policy is asked about the first 2: the cup, the pen"
    """
    if len(mentions) <= max_objects:
        return None
    first = ", ".join(mentions[:max_objects])
    return f"{instruction!r} names {len(mentions)} objects; this policy is asked about the first {max_objects}: {first}"


def build_dialogue(
    instruction: str,
    answers: Mapping[str, str] | Sequence[str | None] | None = None,
    *,
    mentions: Sequence[str] | None = None,
    mode: str = "direction",
    question_position: QuestionPosition = "before",
    max_objects: int | None = None,
    template: str | Template = NANO_TEMPLATE,
    reasoning: bool = True,
    state_text: str | None = None,
) -> Dialogue:
    """Build the dialogue of an instruction, for training and for prompting.

    Args:
        instruction: the instruction, in plain words.
        answers: one per mention (those beyond `max_objects` are dropped with their mentions), or {mention: answer};
            None if not known.
        mentions: the objects to ask about; found in the instruction if None.
        mode: reasoning mode, see `inspire_vla.spatial.MODES`.
        question_position: "before" or "after" the instruction.
        max_objects: ask about the first so many mentions.
        template: the strings around them.
        reasoning: False leaves out all questions: the base model.
        state_text: the robot state as text, for templates that write it.

    Raises:
        NoObjectFound: the instruction names no object (and `mentions` is None).
        InspireError: an empty instruction, half a character in it or in a mention, an unknown mode or template, a wrong
            number of answers, a word that is no answer, an object that is not asked about, a template without its
            state.

    >>> dialogue = build_dialogue("put the red cube on the plate", ["left", "down"])
    >>> "".join(segment.text or "<action>" for segment in dialogue.segments)[:66]
    'In which direction is the red cube relative to the robot? leftIn w'
    """
    template = get_template(template)
    if mode not in MODES:
        raise InspireError(f"Unknown reasoning mode {mode!r}.{did_you_mean(str(mode), MODES)}")
    if question_position not in ("before", "after"):
        raise InspireError(f"question_position must be 'before' or 'after'; found {question_position!r}.")
    if not isinstance(instruction, str) or not instruction.strip():
        raise InspireError(f"An instruction must be a sentence; found {instruction!r}.")
    check_text(instruction)
    if max_objects is not None and max_objects < 1:
        raise InspireError(
            f"max_objects must be at least 1 or None; found {max_objects}. Base model: reasoning=False."
        )
    if template.needs_state and state_text is None:
        raise InspireError(f"Template {template.name!r} writes the robot's state: pass state_text.")

    asked_about: tuple[str, ...] = ()
    if reasoning:
        asked_about = tuple(find_mentions(instruction) if mentions is None else mentions)
        for mention in asked_about:
            check_text(mention)
        if isinstance(answers, Sequence) and len(answers) == len(asked_about):
            answers = answers[:max_objects]
        asked_about = asked_about[:max_objects]

    dialogue = Dialogue(
        instruction=instruction,
        mentions=asked_about,
        answers=(None,) * len(asked_about),
        mode=mode,
        question_position=question_position,
        template=template,
        segments=_segments(instruction, asked_about, mode, question_position, template, state_text),
    )
    return dialogue if answers is None or not reasoning else dialogue.with_answers(answers)


def _segments(
    instruction: str,
    mentions: tuple[str, ...],
    mode: str,
    question_position: QuestionPosition,
    template: Template,
    state_text: str | None,
) -> tuple[Segment, ...]:
    ends = template.supervise_ends
    instruction = instruction.lower() if template.lowercase else instruction
    reasoning = []
    for mention in mentions:
        text = template.question.replace("{question}", question(mention, mode))
        reasoning += [
            Segment(text, TokenType.QUESTION),
            Segment(None, TokenType.ANSWER, supervised=True),
            Segment(template.answer_end, TokenType.TEXT, supervised=ends),
        ]

    def instructed(pattern: str) -> Segment:
        text = pattern.replace("{state}", state_text or "").replace("{instruction}", instruction)
        return Segment(text, TokenType.INSTRUCTION)

    segments = [Segment(template.start, TokenType.TEXT)]
    if mentions and question_position == "after":
        segments += [instructed(template.instruction_first or template.instruction), *reasoning]
        segments += [Segment(template.action_prompt_after or template.action_prompt, TokenType.TEXT)]
    else:
        segments += [*reasoning, instructed(template.instruction)]
        segments += [Segment(template.action_prompt, TokenType.TEXT)]
    if template.state_tokens:
        segments += [Segment(None, TokenType.STATE, ids=tuple(range(template.state_tokens)))]
    segments += [
        Segment(None, TokenType.ACTION, supervised=True),
        Segment(template.action_end, TokenType.TEXT, supervised=ends),
    ]
    return tuple(segment for segment in segments if segment.text != "")


@cache
def _answers(mode: str) -> frozenset[str]:
    return frozenset(canonical_answers(mode))


def _check_answers(
    answers: Sequence[str | None], mentions: tuple[str, ...], mode: str
) -> tuple[str | None, ...]:
    if isinstance(answers, str) or len(answers) != len(mentions):
        raise InspireError(f"Found answers {answers!r} for {len(mentions)} mention(s): {list(mentions)}.")
    for answer in answers:
        if answer is not None and answer not in _answers(mode):
            encode_answers(answer or "''", mode)  # raises, with the possible words
    return tuple(answers)
