"""Holds the image of docs/architecture.md: who may import whom, and what loads when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import inspire_vla

ROOT = Path(inspire_vla.__file__).parent

# A room may import rooms of the levels before its own, and itself. Rooms of one level don't import each other.
LEVELS = (
    ("errors",),
    ("files", "observation_history", "perturbations"),
    ("jobs",),
    ("spatial", "instruction"),
    ("dialogue", "action_tokenizers"),
    ("labels", "backbones", "recipes"),
    ("decoding", "grounding"),
    ("lerobot_plugin",),
    ("tabletop", "libero", "evaluation", "serving"),
    ("benchmarks", "policies"),
    ("experiment", "harnesses"),
    ("cli",),
)
ONLY = {"reports": {"errors", "files", "spatial", "labels"}}
"""reports reads the records that evaluation writes and the labels of datasets; it does not import evaluation."""
HEAVY_BEFORE = {"torch": "backbones", "mujoco": "tabletop"}
"""Rooms of earlier levels than this one never import the package."""
LAZY = {("mujoco", "labels/forward_kinematics.py")}
"""(package, file) that may import it earlier, inside a function: MuJoCo reads a user's URDF."""


def rooms() -> dict[str, list[Path]]:
    """{room: its files}; a module at the top is a room of its own."""
    found: dict[str, list[Path]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            found.setdefault(room, []).append(path)
    return found


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; relative imports made absolute."""
    names: set[str] = set()
    package = (ROOT.name, *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def allowed(room: str) -> set[str]:
    """The rooms that `room` may import."""
    if room in ONLY:
        return ONLY[room] | {room}
    level = next(i for i, members in enumerate(LEVELS) if room in members)
    before = {name for members in LEVELS[:level] for name in members}
    return before | {room} | (set(ONLY) if room in ("experiment", "cli") else set())


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_only_what_stands_left_of_it(room):
    known = {name for members in LEVELS for name in members} | set(ONLY)
    assert room in known, f"room {room!r} has no place yet: give it one in LEVELS and in docs/architecture.md"
    for path in rooms()[room]:
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "inspire_vla" and len(parts) > 1 and parts[1] in rooms():
                assert parts[1] in allowed(room), f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(("package", "first"), HEAVY_BEFORE.items())
def test_heavy_packages_begin_where_the_image_says(package, first):
    start = next(i for i, members in enumerate(LEVELS) if first in members)
    for level in LEVELS[:start]:
        for room in level:
            for path in rooms().get(room, []):
                if (package, path.relative_to(ROOT).as_posix()) in LAZY:
                    continue
                heavy = {n for n in imported(path) if n.split(".")[0] == package}
                assert not heavy or room == first, f"{path.relative_to(ROOT)} imports {heavy}"


LIGHT = (
    "", ".spatial", ".instruction", ".dialogue", ".action_tokenizers", ".labels", ".labels.forward_kinematics",
    ".evaluation", ".cli",
)  # fmt: skip


@pytest.mark.parametrize("modules", [LIGHT])
def test_light_rooms_load_without_torch_and_simulator(modules):
    imports = "; ".join(f"import inspire_vla{name}" for name in modules)
    code = (
        f"{imports}; import sys; "
        "print([m for m in ('torch', 'mujoco', 'lerobot', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_room_is_in_the_architecture_document():
    document = ROOT.parents[1] / "docs" / "architecture.md"
    if not document.is_file():
        pytest.skip("not in a checkout")
    text = document.read_text(encoding="utf-8")
    missing = [room for room in rooms() if f"`{room}" not in text]
    assert not missing
