"""Instruction to objects to ask about, in order of mention. Pure."""

from inspire_vla.instruction.mentions import NoObjectFound, find_mentions

__all__ = ["NoObjectFound", "find_mentions"]
