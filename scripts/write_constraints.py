"""Print the installed versions of everything this package depends on.

python scripts/write_constraints.py > constraints.txt
"""

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "lerobot_policy_inspire_vla"

EXTRAS = frozenset({"dev", "ray", "libero"})
"""The extras to include. A package that is not installed is left out."""

HEADER = """\
# The versions this package is developed and tested with (Linux x86-64, Python 3.12).
# `make install` uses them; `make constraints` writes this file from the environment."""


def dependency_versions(name: str, extras: frozenset[str]) -> dict[str, str]:
    """Return {distribution: version} for `name` and its dependencies, with the markers of their requirements."""
    versions: dict[str, str] = {}
    visited: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, extras)]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        versions[canonicalize_name(installed.metadata["Name"])] = installed.version
        for line in installed.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras | {""}):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return versions


if __name__ == "__main__":
    versions = dependency_versions(ROOT, EXTRAS)
    versions.pop(canonicalize_name(ROOT))
    print(HEADER)
    print("\n".join(sorted(f"{package}=={version}" for package, version in versions.items())))
