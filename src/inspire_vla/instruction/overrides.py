"""Mention overrides: objects and roles that a person gives for an instruction, in place of what the parser reads.

    {"räum den Tisch ab": [{"mention": "the cup", "role": "carried"}, {"mention": "the tray", "role": "goal"}],
     "wave": []}

A mention need not stand in the instruction. An empty list: nothing is asked. A mention without a role, or as a plain
string, has the role that the instruction gives it. `inspire mentions --write FILE` writes such a file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from inspire_vla.errors import InspireError
from inspire_vla.files import describe, read_json, write_text
from inspire_vla.instruction.mentions import NoObjectFound, read_instruction
from inspire_vla.instruction.roles import MentionRole

Overrides = Mapping[str, tuple[MentionRole, ...]]
"""Instruction → mentions with their roles, in the order of the questions."""
FILL_IN = "?"
"""Mention in a written file where a person must name the object."""


@dataclass
class MentionRecord:
    """The schema of one mention in a file."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    mention: str
    role: str | None = None


OverrideRecords = dict[str, list[MentionRecord | str]]
"""The schema of a file of overrides."""


def read_overrides(path: str | Path) -> dict[str, tuple[MentionRole, ...]]:
    """Read a file of overrides.

    Raises:
        InspireError: the file is no JSON of this form, has an unknown role, or a mention that is not filled in.
    """
    try:
        return overrides_of_records(read_json(path, OverrideRecords))
    except InspireError as error:
        raise InspireError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def overrides_of_records(
    records: Mapping[str, Iterable[MentionRecord | str]],
) -> dict[str, tuple[MentionRole, ...]]:
    """Check overrides that were read from JSON. Raises InspireError as `read_overrides`."""
    overrides = {}
    for instruction, rows in records.items():
        entries = [MentionRecord(row) if isinstance(row, str) else row for row in rows]
        if any(entry.mention == FILL_IN for entry in entries):
            raise InspireError(
                f"{instruction!r}: write the words of its objects in place of {FILL_IN!r}, or [] to ask about nothing."
            )
        try:
            overrides[instruction] = tuple(MentionRole(entry.mention, entry.role) for entry in entries)
        except InspireError as error:
            raise InspireError(f"{instruction!r}: {error}") from None
    return overrides


def overrides_from_json(records: Any) -> dict[str, tuple[MentionRole, ...]]:
    """The inverse of `overrides_to_json`. Raises InspireError as `read_overrides`."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return overrides_of_records(TypeAdapter(OverrideRecords).validate_python(records))
    except ValidationError as error:
        raise InspireError(f"These mention overrides have another form: {describe(error)}") from None


def overrides_to_json(overrides: Overrides) -> dict[str, list[dict[str, Any]]]:
    """Instruction → list of {mention, role}; a missing role is left out."""
    return {
        instruction: [
            {"mention": item.mention} | ({"role": item.role} if item.role else {}) for item in roles
        ]
        for instruction, roles in overrides.items()
    }


def write_overrides(
    path: str | Path, instructions: Iterable[str], overrides: Overrides | None = None
) -> Path:
    """Write a file to edit: for each instruction the overrides, else what the parser reads, else `FILL_IN`.

    Raises:
        InspireError: the file exists, or cannot be written.
    """
    if Path(path).exists():
        raise InspireError(f"{path} exists; choose another file, or delete it.")
    roles_by_text: dict[str, tuple[MentionRole, ...]] = {}
    for instruction in instructions:
        if instruction in (overrides or {}):
            roles_by_text[instruction] = overrides[instruction]  # type: ignore[index]
            continue
        try:
            roles_by_text[instruction] = read_instruction(instruction).roles
        except NoObjectFound:
            roles_by_text[instruction] = (MentionRole(FILL_IN, "carried"),)
    blocks = []
    for instruction, rows in overrides_to_json(roles_by_text).items():
        lines = ",".join("\n  " + json.dumps(row, ensure_ascii=False) for row in rows)
        blocks.append(f" {json.dumps(instruction, ensure_ascii=False)}: [{lines}\n ]")
    write_text(Path(path), "{\n" + ",\n".join(blocks) + "\n}\n")
    return Path(path)


def override_for(
    mentions: Iterable[str | Mapping[str, str | None] | MentionRole],
) -> tuple[MentionRole, ...]:
    """Check the mentions of one call: strings, or maps with `mention` and `role`.

    Raises:
        InspireError: something else, or an unknown role.
    """
    if isinstance(mentions, (str, bytes, Mapping)) or not isinstance(mentions, Iterable):
        raise InspireError(f"mentions must be a list of objects to ask about, found {mentions!r}.")
    roles = []
    for item in mentions:
        if isinstance(item, MentionRole):
            roles.append(item)
        elif isinstance(item, str):
            roles.append(MentionRole(item))
        elif isinstance(item, Mapping) and set(item) <= {"mention", "role"} and "mention" in item:
            roles.append(MentionRole(item["mention"] or "", item.get("role")))
        else:
            raise InspireError(f"A mention is a string, or a map of mention and role; found {item!r}.")
    return tuple(roles)


def mentions_of(roles: Iterable[MentionRole]) -> tuple[str, ...]:
    """The mentions in order, each once."""
    return tuple(dict.fromkeys(item.mention for item in roles))
