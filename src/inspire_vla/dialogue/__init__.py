"""Dialogues of questions, answers, instruction and action, and the loss mask of their tokens. Takes any tokenizer.

answer_rule.py says what a policy is asked about and which answer is true.
"""

from inspire_vla.dialogue.answer_rule import AnswerRule
from inspire_vla.dialogue.dialogue import (
    ASKED_OBJECTS,
    NOT_ASKED,
    QUESTIONS,
    Dialogue,
    Segment,
    TokenType,
    build_dialogue,
    objects_not_asked,
    question,
)
from inspire_vla.dialogue.rendering import (
    CachedTokenizer,
    Rendered,
    Span,
    TextTokenizer,
    answer_token_sequences,
    render,
)
from inspire_vla.dialogue.templates import (
    NANO_TEMPLATE,
    OPENVLA_TEMPLATE,
    PI0_FAST_TEMPLATE,
    QWEN_TEMPLATE,
    TEMPLATES,
    Template,
    get_template,
)

__all__ = [
    "ASKED_OBJECTS",
    "NANO_TEMPLATE",
    "NOT_ASKED",
    "OPENVLA_TEMPLATE",
    "PI0_FAST_TEMPLATE",
    "QUESTIONS",
    "QWEN_TEMPLATE",
    "TEMPLATES",
    "AnswerRule",
    "CachedTokenizer",
    "Dialogue",
    "Rendered",
    "Segment",
    "Span",
    "Template",
    "TextTokenizer",
    "TokenType",
    "answer_token_sequences",
    "build_dialogue",
    "get_template",
    "objects_not_asked",
    "question",
    "render",
]
