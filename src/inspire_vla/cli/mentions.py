"""`inspire mentions`."""

import os
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from inspire_vla.cli.options import PositiveOrNone
from inspire_vla.errors import InspireError, counted

if TYPE_CHECKING:
    from inspire_vla.instruction import Overrides


@dataclass(kw_only=True)
class Arguments:
    """Show which objects instructions are asked about, and their roles, before anything is labelled."""

    sources: Positional[Annotated[tuple[str, ...], arg(metavar="DATASET|SENTENCE …")]]
    """LeRobot datasets (v3), each a folder or user/name, and instructions in quotes."""
    mentions: Annotated[Path | None, arg(metavar="JSON")] = None
    """File of overrides to show instead of what is read."""
    write: Annotated[Path | None, arg(metavar="JSON")] = None
    """Write a file of overrides to edit, for --mentions of label, evaluate and serve."""
    policy: str | None = None
    """Show what this checkpoint is asked about: its number of objects, and the overrides that it holds."""
    max_objects: PositiveOrNone = None
    """How many objects the policy will be asked about; by default that of --policy, else 8."""


def run(options: Arguments) -> None:
    from inspire_vla.dialogue import ASKED_OBJECTS
    from inspire_vla.instruction import read_overrides, write_overrides

    by_default: tuple[int, Overrides] = (ASKED_OBJECTS, {})
    limit, overrides = by_default if options.policy is None else _of_policy(options.policy)
    asked = options.max_objects or limit
    if options.mentions is not None:
        overrides = {**overrides, **read_overrides(options.mentions)}
    instructions = _instructions(options.sources)
    kinds = [_show(instruction, overrides, asked) for instruction in instructions]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    print(f"\nInstructions: {counts}")
    if options.write is not None:
        path = write_overrides(options.write, instructions, overrides)
        print(
            f"To edit: {path}. Then pass --mentions {shlex.quote(str(path))} to inspire label, evaluate or serve."
        )


def _of_policy(checkpoint: str) -> tuple[int, "Overrides"]:
    """How many objects a checkpoint is asked about, and its mention overrides."""
    from inspire_vla import policies

    reasoning = policies.configured(checkpoint)["reasoning"]
    if not reasoning.get("enabled"):
        raise InspireError(f"{checkpoint} is a base model, which is asked about nothing.")
    return reasoning["max_objects"], policies.stored_overrides(checkpoint)


def _instructions(sources: tuple[str, ...]) -> list[str]:
    """The distinct instructions of datasets and sentences, in order."""
    from inspire_vla.labels.find_dataset import find_dataset
    from inspire_vla.labels.lerobot_files import LeRobotFiles

    if not sources:
        raise InspireError("Give a LeRobot dataset, or an instruction in quotes.")
    instructions: dict[str, None] = {}
    for source in sources:
        is_folder = os.path.isdir(source)  # a long sentence is no error here
        one_word = " " not in source.strip() and source.isascii()  # Chinese has no spaces
        if not is_folder and one_word and "/" not in source:
            print(f"There is no folder {source!r} here, so it is read as an instruction.", file=sys.stderr)
        is_sentence = not is_folder and (" " in source.strip() or "/" not in source)
        texts = [source] if is_sentence else LeRobotFiles.open(find_dataset(source)).tasks.values()
        instructions.update(dict.fromkeys(texts))
    return list(instructions)


def _show(instruction: str, overrides: "Overrides", max_objects: int) -> str:
    """Print the objects of one instruction; return how it was read."""
    from inspire_vla.instruction import NoObjectFound, mentions_of, read_instruction, split_steps

    print(f"\n{instruction or '(no instruction)'}")
    doubts: tuple[str, ...] = ()
    try:
        if instruction in overrides:
            roles, kind = overrides[instruction], "overridden"
        else:
            reading = read_instruction(instruction)
            roles, doubts, kind = reading.roles, reading.doubts, "clear"
    except NoObjectFound as error:
        print(f"  refused: {error}")
        return "refused"
    names = mentions_of(roles)
    for item in roles:
        print(f"  {item.role or 'as in the sentence':<9} {item.mention}")
    if not names:
        print("  nothing is asked")
    if len(names) > max_objects:
        first = counted(max_objects, "object is", "objects are")
        doubts += (f"only the first {first} asked about: {', '.join(names[:max_objects])}",)
    with suppress(InspireError):  # its steps cannot be said alone
        steps = split_steps(instruction)
        if len(steps) > 1:
            print(f"  in steps: {'; '.join(steps)}")
    for doubt in doubts:
        print(f"  doubt: {doubt}")
    return "with doubts" if doubts and kind == "clear" else kind
