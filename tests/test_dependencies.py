"""What the package imports it also asks for: not by the grace of what another package happens to need."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inspire_vla.cli.doctor import BOUNDS, EXTRAS

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
BROUGHT = {
    "libero",
    "robosuite",
    "fast_simplification",
    "h5py",
    "ray",
    "rerun",
    "peft",
    "vla_eval",
    "inspect_robots",
    "wandb",
}
"""By extras, or, like LIBERO and wandb, by whoever has it."""


def imported() -> set[str]:
    """Top-level names that some file of the package imports, anywhere in it."""
    names: set[str] = set()
    for file in (REPOSITORY / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    packages = {path.name for path in (REPOSITORY / "src").iterdir()}
    return names - packages - sys.stdlib_module_names - BROUGHT


def test_what_is_imported_is_declared() -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    of = packages_distributions()
    undeclared = {n for n in imported() if not {canonicalize_name(d) for d in of.get(n, [n])} & declared}
    assert undeclared == set()


def test_the_installed_versions_are_within_the_bounds() -> None:
    for line in PROJECT["dependencies"]:
        needed = Requirement(line)
        assert needed.specifier.contains(version(needed.name)), line


def test_the_doctor_knows_the_bounds_and_the_extras() -> None:
    bounds = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}
    for name, (low, high) in BOUNDS.items():
        assert {str(part) for part in bounds[name]} == {f">={low}", f"<{high}"}, name
    page = (REPOSITORY / "docs" / "index.md").read_text("utf-8")
    for name, (_, _, requirement) in EXTRAS.items():
        assert f"`pip install -c constraints.txt {requirement}`" in page, name
        if extra := requirement.partition("[")[2].removesuffix("]'") if requirement.startswith("-e") else "":
            assert extra in PROJECT["optional-dependencies"]
