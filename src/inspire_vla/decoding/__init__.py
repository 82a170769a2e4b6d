"""Speculative decoding of answers and action codes.

engine.py      the method: draft, verify, accept     grammar.py    the tokens that are allowed at each slot
row_state.py   the draft and the tokens of one row   kv_decoder.py all rows over one key-value cache
sampling.py    one token from its scores             decision.py   the outcome
"""

from inspire_vla.decoding.decision import Decision
from inspire_vla.decoding.engine import FlowHead, decode
from inspire_vla.decoding.grammar import AllowedTokens, AnswerSet, DecodeState, Grammar, PromptPlan, Token
from inspire_vla.decoding.kv_decoder import BatchedKVDecoder
from inspire_vla.decoding.row_state import RowState, ScoredSlot
from inspire_vla.decoding.sampling import Sample, sample

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
