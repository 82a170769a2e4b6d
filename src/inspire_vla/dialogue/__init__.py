"""What is said, and which of its tokens are supervised. Pure; a tokenizer is passed in."""

from inspire_vla.dialogue.dialogue import Dialogue, Segment, TokenType, build_dialogue
from inspire_vla.dialogue.questions import QUESTIONS, question
from inspire_vla.dialogue.rendering import (
    CachedTokenizer,
    Rendered,
    Span,
    TextTokenizer,
    answer_token_sequences,
    render,
    render_prompt,
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
    "NANO_TEMPLATE",
    "OPENVLA_TEMPLATE",
    "PI0_FAST_TEMPLATE",
    "QUESTIONS",
    "QWEN_TEMPLATE",
    "TEMPLATES",
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
    "question",
    "render",
    "render_prompt",
]
