"""Action chunk ↔ codes. A tokenizer encodes (H, D) floats in [-1, 1] as a few integers.

Codes count from 0 to `vocabulary_size - 1`. `ActionVocabulary` alone maps them to token ids of a language model.

    tokenizer = ResidualVQ.fit(actions, codes_per_level=256, levels=2, seed=0)   # actions (N, H, D)
    codes = tokenizer.encode(actions[0])                                         # (2,)
    chunk = tokenizer.decode(codes)                                              # (H, D)
    tokenizer.save("run/action_tokenizer"); load_action_tokenizer("run/action_tokenizer")

A new kind is one file with a subclass of `ActionTokenizer`, listed in `KINDS` below, and a test class that inherits
tests/action_tokenizers/laws.py.
"""

from inspire_vla.action_tokenizers.base import (
    GRIPPER_CONVENTIONS,
    ActionTokenizer,
    GripperConvention,
    UndecodableAction,
)
from inspire_vla.action_tokenizers.fast import Fast
from inspire_vla.action_tokenizers.learned_vq import LearnedVQ
from inspire_vla.action_tokenizers.storage import read_record
from inspire_vla.action_tokenizers.uniform_bins import UniformBins
from inspire_vla.action_tokenizers.vector_quantized import ResidualVQ
from inspire_vla.action_tokenizers.vocabulary import ActionVocabulary
from inspire_vla.errors import InspireError, did_you_mean

KINDS: dict[str, type[ActionTokenizer]] = {
    kind.name: kind for kind in (UniformBins, Fast, ResidualVQ, LearnedVQ)
}

__all__ = [
    "GRIPPER_CONVENTIONS",
    "KINDS",
    "ActionTokenizer",
    "ActionVocabulary",
    "Fast",
    "GripperConvention",
    "LearnedVQ",
    "ResidualVQ",
    "UndecodableAction",
    "UniformBins",
    "load_action_tokenizer",
]


def load_action_tokenizer(folder) -> ActionTokenizer:
    """Load the tokenizer that `save(folder)` wrote, of any kind.

    Raises:
        InspireError: no tokenizer there, an unknown kind, or broken files.
    """
    kind = read_record(folder).kind
    if kind not in KINDS:
        raise InspireError(f"Unknown action tokenizer {kind!r} in {folder}.{did_you_mean(kind, KINDS)}")
    return KINDS[kind].load(folder)
