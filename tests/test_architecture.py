"""Holds the image of docs/architecture.md: who may import whom, and what loads when."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import inspire_vla

ROOT = Path(inspire_vla.__file__).parent

# A room may import rooms of the levels before its own, and itself. Rooms of one level don't import each other.
LEVELS = (
    ("errors",),
    (
        "changed_settings",
        "files",
        "comparison_format",
        "episode_conventions",
        "observation_history",
        "lerobot_internals",
        "perturbations",
        "worker_processes",
    ),
    ("resumable_job",),
    ("spatial", "instruction"),
    ("dialogue", "action_tokenizers"),
    ("labels", "backbones", "recipes"),
    ("decoding", "grounding"),
    ("lerobot_plugin",),
    ("tabletop", "libero", "evaluation", "serving"),
    ("benchmarks", "policies"),
    ("experiment", "harnesses"),
    ("cli",),
    ("__main__",),
)
ONLY = {"reports": {"errors", "files", "comparison_format", "spatial", "labels"}}
"""reports reads the records that evaluation writes and the labels of datasets; it does not import evaluation."""
HEAVY_BEFORE = {"torch": "backbones", "mujoco": "tabletop"}
"""Rooms of earlier levels than this one never import the package."""
LAZY = {("mujoco", "labels/forward_kinematics.py")}
"""(package, file) that may import it earlier, inside a function: MuJoCo reads a user's URDF."""


def rooms() -> dict[str, list[Path]]:
    """{room: its files}; a module at the top is a room of its own."""
    files: dict[str, list[Path]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            files.setdefault(room, []).append(path)
    return files


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; relative imports made absolute."""
    names: set[str] = set()
    package = (ROOT.name, *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(tree_of(path)):
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


def loads(path: Path) -> set[Path]:
    """The files of this package that a file imports when it runs, anywhere in it."""
    tree = tree_of(path)
    types_only = {id(n) for top in ast.walk(tree) if is_types_only(top) for n in ast.walk(top)}
    imports = set[Path]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in types_only:
            package, *parts = str(node.module).split(".")
            base = ROOT.joinpath(*parts)
            files = [base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in node.names)]
            imports |= {file for file in files if package == ROOT.name and file.exists()}
    return imports - {path}


def is_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_no_files_import_each_other_in_a_loop():
    """Also not inside functions: what a file needs is read before the file, never after it."""
    left = {path: loads(path) for files in rooms().values() for path in files}
    while True:
        imported_by_some = set().union(*left.values())
        inner = {
            p: needed & left.keys()
            for p, needed in left.items()
            if needed & left.keys() and p in imported_by_some
        }
        if inner == left:
            break
        left = inner
    loop = sorted(path.relative_to(ROOT).as_posix() for path in left)
    assert not loop, f"these files import each other: {loop}"


INSIDE = {
    "transformers": {"backbones/hf_decoder.py"},
    "lerobot": {"lerobot_internals.py", "lerobot_plugin/lerobot_host.py"},
    "peft": {"lerobot_plugin/lerobot_host.py"},
    "accelerate": {"lerobot_plugin/lerobot_host.py"},
}
"""Host → the files that may use its inside: private names, modules that implement models, functions replaced."""


def reaches_inside(tree: ast.Module, host: str) -> list[str]:
    """What a file uses of the inside of `host`.

    Names that begin with an underscore, the modules in which transformers implements models and masks, and names that
    are set in a module of the host.
    """
    uses, modules = list[str](), dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == host:
                    modules[alias.asname or alias.name.split(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == host:
            names = [alias.name for alias in node.names]
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            private = [part for part in (*str(node.module).split("."), *names) if part.startswith("_")]
            inner = [
                p
                for p in str(node.module).split(".")
                if p.startswith(("modeling_", "integrations", "masking_"))
            ]
            uses += [f"{node.module}: {name}" for name in (*private, *inner)]
    for node in ast.walk(tree) if modules else ():
        targets = node.targets if isinstance(node, ast.Assign) else []
        uses += [ast.unparse(t) for t in targets if isinstance(t, ast.Attribute) and _of(t, modules)]
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            uses += [ast.unparse(node)] if _of(node, modules) else []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and _of(node.args[0], modules):
            uses.append(ast.unparse(node))
    return uses


def _of(node: ast.AST, modules: dict[str, str]) -> bool:
    """Whether an expression is an attribute of one of these names."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in modules


@pytest.mark.parametrize("host", INSIDE)
def test_the_inside_of_a_host_is_used_in_its_own_modules_alone(host):
    using = {
        path.relative_to(ROOT).as_posix(): inside
        for path in ROOT.rglob("*.py")
        if (inside := reaches_inside(tree_of(path), host))
    }
    assert {name: inside for name, inside in using.items() if name not in INSIDE[host]} == {}


@pytest.mark.parametrize("line", [
    "from lerobot.envs.libero import _get_suite", "from lerobot.envs import libero; libero._get_suite('x')",
    "import lerobot.envs as e; e.make = print", "from lerobot import envs; setattr(envs, 'make', print)",
])  # fmt: skip
def test_reaching_inside_is_seen(line):
    assert reaches_inside(ast.parse(line), "lerobot")
    harmless = ast.parse("from lerobot.envs import libero; libero.make(x); y._z = 1")
    assert not reaches_inside(harmless, "lerobot")


def unquoted(tree: ast.AST) -> list[str]:
    """What stands in a command of a message (`inspire … {this}`) without shlex.quote."""
    expressions = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                if re.search(r"`(inspire|lerobot-\w+) [^`]*$", text) and text.count("`") % 2:
                    expressions.append(ast.unparse(part.value))
                text += "x"
    return [word for word in expressions if not word.startswith("shlex.quote(")]


NAMES = {"2 * steps", "config.backbone", "kind", "backbone", "out", "train"}
"""Numbers and words of ours, which need no quotes."""


def test_a_path_in_a_command_that_is_shown_can_be_copied():
    shown = {path.name: set(unquoted(tree_of(path))) - NAMES for path in ROOT.rglob("*.py")}
    assert {name: words for name, words in shown.items() if words} == {}
    assert unquoted(ast.parse("f'{a} `inspire view {b} --x {shlex.quote(c)}` {d}'")) == ["b"]


LIGHT = (
    "", ".spatial", ".instruction", ".dialogue", ".action_tokenizers", ".labels", ".labels.forward_kinematics",
    ".evaluation", ".cli",
)  # fmt: skip


@pytest.mark.parametrize("modules", [LIGHT])
def test_light_rooms_load_without_torch_and_simulator(modules):
    imports = "; ".join(f"import inspire_vla{name}" for name in modules)
    code = (
        f"{imports}; import sys; "
        "print([m for m in ('torch', 'mujoco', 'lerobot', 'transformers', 'scipy') if m in sys.modules])"
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
