"""Speculative decoding of answers and action codes: `engine.py` is the method, `grammar.py` the allowed tokens."""

from inspire_vla.decoding.engine import (
    BatchedKVDecoder,
    Decision,
    FlowHead,
    RowState,
    Sample,
    ScoredSlot,
    decode,
    sample,
)
from inspire_vla.decoding.grammar import AllowedTokens, AnswerSet, DecodeState, Grammar, PromptPlan, Token

__all__ = [
    "AllowedTokens",
    "AnswerSet",
    "BatchedKVDecoder",
    "Decision",
    "DecodeState",
    "FlowHead",
    "Grammar",
    "PromptPlan",
    "RowState",
    "Sample",
    "ScoredSlot",
    "Token",
    "decode",
    "sample",
]
