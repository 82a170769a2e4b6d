"""Files of text are UTF-8, whatever the locale: an instruction may be in any language."""

import ast
from pathlib import Path

import pytest

import inspire_vla

SOURCE = Path(inspire_vla.__file__).parent
ROOMS = (
    "action_tokenizers", "backbones", "grounding", "labels", "lerobot_plugin", "libero", "spatial",
    "tabletop",
)  # fmt: skip


def unsaid(file: Path) -> list[str]:
    """Calls that read or write text in whatever encoding the machine has."""
    found = []
    for call in (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        opens = name == "open" and isinstance(call.func, ast.Name)
        mode = (
            call.args[1].value
            if opens and len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
            else "r"
        )
        text = name in ("read_text", "write_text") or (opens and "b" not in mode)
        if text and not any(keyword.arg == "encoding" for keyword in call.keywords):
            found.append(f"{file.relative_to(SOURCE)}:{call.lineno}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_text_is_read_and_written_as_utf_8(room: str) -> None:
    assert [place for file in sorted((SOURCE / room).rglob("*.py")) for place in unsaid(file)] == []
