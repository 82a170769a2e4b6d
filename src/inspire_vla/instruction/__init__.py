"""Finds the objects that an instruction asks about, in order of mention."""

from inspire_vla.instruction.mentions import NoObjectFound, find_mentions

__all__ = ["NoObjectFound", "find_mentions"]
