"""Finds the objects that an instruction asks about, in order of mention, their roles, and the steps of a long one."""

from inspire_vla.instruction.mentions import (
    NoObjectFound,
    Reading,
    UnclearInstruction,
    acts_of,
    check_text,
    find_mentions,
    read_instruction,
)
from inspire_vla.instruction.overrides import (
    MentionRecord,
    OverrideRecords,
    Overrides,
    mentions_of,
    override_for,
    overrides_from_json,
    overrides_of_records,
    overrides_to_json,
    read_overrides,
    write_overrides,
)
from inspire_vla.instruction.roles import ROLES, Act, MentionRole
from inspire_vla.instruction.steps import split_steps

__all__ = [
    "ROLES",
    "Act",
    "MentionRecord",
    "MentionRole",
    "NoObjectFound",
    "OverrideRecords",
    "Overrides",
    "Reading",
    "UnclearInstruction",
    "acts_of",
    "check_text",
    "find_mentions",
    "mentions_of",
    "override_for",
    "overrides_from_json",
    "overrides_of_records",
    "overrides_to_json",
    "read_instruction",
    "read_overrides",
    "split_steps",
    "write_overrides",
]
