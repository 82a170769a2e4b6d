"""Finds the objects that an instruction asks about, in order of mention, and their roles."""

from inspire_vla.instruction.mentions import (
    NoObjectFound,
    Reading,
    UnclearInstruction,
    acts_of,
    find_mentions,
    read_instruction,
)
from inspire_vla.instruction.roles import ROLES, Act, MentionRole

__all__ = [
    "ROLES",
    "Act",
    "MentionRole",
    "NoObjectFound",
    "Reading",
    "UnclearInstruction",
    "acts_of",
    "find_mentions",
    "read_instruction",
]
