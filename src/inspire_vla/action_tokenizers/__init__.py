"""Action chunk ↔ codes. A tokenizer turns (H, D) floats in [-1, 1] into a few integers and back.

Codes always count from 0 to `vocabulary_size - 1`; what token ids they get in a language model is the
business of `ActionVocabulary` alone.

    tokenizer = ResidualVQ.fit(actions, codes_per_level=256, levels=2, seed=0)   # actions (N, H, D)
    codes = tokenizer.encode(actions[0])                                         # (2,)
    chunk = tokenizer.decode(codes)                                              # (H, D)
    tokenizer.save("run/action_tokenizer"); load_action_tokenizer("run/action_tokenizer")

A new kind is one file with one subclass of `ActionTokenizer`, listed in `KINDS` below, and a test class that
inherits tests/action_tokenizers/laws.py.
"""

from inspire_vla.action_tokenizers.base import ActionTokenizer, UndecodableAction
from inspire_vla.action_tokenizers.fast import Fast
from inspire_vla.action_tokenizers.gripper import GRIPPERS, Gripper
from inspire_vla.action_tokenizers.learned_vq import LearnedVQ
from inspire_vla.action_tokenizers.storage import read_kind
from inspire_vla.action_tokenizers.uniform_bins import UniformBins
from inspire_vla.action_tokenizers.vector_quantized import ResidualVQ
from inspire_vla.action_tokenizers.vocabulary import ActionVocabulary
from inspire_vla.errors import InspireError, did_you_mean

KINDS: dict[str, type[ActionTokenizer]] = {
    kind.name: kind for kind in (UniformBins, Fast, ResidualVQ, LearnedVQ)
}

__all__ = [
    "GRIPPERS",
    "KINDS",
    "ActionTokenizer",
    "ActionVocabulary",
    "Fast",
    "Gripper",
    "LearnedVQ",
    "ResidualVQ",
    "UndecodableAction",
    "UniformBins",
    "load_action_tokenizer",
]


def load_action_tokenizer(folder) -> ActionTokenizer:
    """The tokenizer that `save(folder)` wrote, whatever its kind.

    Raises:
        InspireError: no tokenizer there, an unknown kind, or files that do not belong together.
    """
    kind = read_kind(folder)
    if kind not in KINDS:
        raise InspireError(f"Unknown action tokenizer {kind!r} in {folder}.{did_you_mean(kind, KINDS)}")
    return KINDS[kind].load(folder)
