"""What the page may ask for."""

from collections.abc import Mapping
from typing import Any

from inspire_vla.errors import InspireError, did_you_mean

COMMANDS: dict[str, dict[str, Any]] = {
    "play": {"on": bool},
    "step": {},
    "reset": {},
    "shuffle": {},
    "task": {"suite": str, "task": str},
    "instruct": {"text": str},
    "answer": {"mention": str, "word": str | None},
}
"""{command: {argument: type}}"""


def checked(command: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"do": name, …} with the command's own arguments only.

    Raises InspireError for an unknown or misshapen one.
    """
    name = command.get("do")
    if name not in COMMANDS:
        raise InspireError(f"Unknown command {str(name)[:40]!r}.{did_you_mean(str(name)[:40], COMMANDS)}")
    wanted = COMMANDS[name]
    for key, kinds in wanted.items():
        if not isinstance(command.get(key), kinds):
            raise InspireError(f"Command {name!r} needs {key!r} as {kinds}.")
    return {"do": name, **{key: command[key] for key in wanted}}
