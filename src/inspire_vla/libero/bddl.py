"""LIBERO's task files: what is in a scene, where, and what is wanted."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError, did_you_mean

SUITES = ("libero_90", "libero_spatial", "libero_object", "libero_goal", "libero_10")
_TOKEN = re.compile(r"[()]|[^\s()]+")
_CHANGE = re.compile(
    r"(_(table|tb|light|add|language)_\d+|_(moved_)?level\d+_sample\d+)?(_view_[\d_]+_initstate_\d+(_noise_\d+)?)?$"
)
"""What LIBERO-Plus puts behind the name of a task that it changed."""


class LiberoMissing(InspireError):
    """LIBERO, or a part of it, is not installed."""


@dataclass(frozen=True)
class Problem:
    """One task. objects, fixtures: name → kind; regions: full name → thing it belongs to; goal: (predicate, *names)."""

    language: str
    objects: dict[str, str]
    fixtures: dict[str, str]
    regions: dict[str, str]
    objects_of_interest: tuple[str, ...]
    goal: tuple[tuple[str, ...], ...]

    def names(self) -> tuple[str, ...]:
        """Everything a mention may be tied to."""
        return (*self.objects, *self.fixtures, *self.regions)


def bddl_folder() -> Path:
    """The folder with a folder of task files per suite. Raises LiberoMissing; LIBERO's code is not imported."""
    found = find_spec("libero")
    for place in found.submodule_search_locations or () if found else ():
        folder = Path(place) / "libero" / "bddl_files"
        if folder.is_dir():
            return folder
    raise LiberoMissing("LIBERO is not installed: `make libero`.")


def task_files(suite: str) -> tuple[Path, ...]:
    """The task files of a suite, by name, without LIBERO-Plus's. Raises InspireError for an unknown suite."""
    if suite not in SUITES:
        raise InspireError(f"unknown LIBERO suite {suite!r}.{did_you_mean(suite, SUITES)}")
    found = sorted((bddl_folder() / suite).glob("*.bddl"))
    files = tuple(path for path in found if plain_name(path.stem) == path.stem and " copy" not in path.stem)
    if not files:
        raise LiberoMissing(f"LIBERO's installation holds no task files of {suite}.")
    return files


def plain_name(task: str) -> str:
    """The name of the task of LIBERO's that a task of LIBERO-Plus's is made of; a task of LIBERO's keeps its name."""
    return _CHANGE.sub("", task)


def instruction_of(path: str | Path) -> str:
    """The instruction as benchmarks say it: the file's name without its scene."""
    return re.sub(r"^[A-Z0-9_]*SCENE\d+_", "", Path(path).stem).replace("_", " ").lower()


@lru_cache(maxsize=256)
def read_problem(path: str | Path) -> Problem:
    """Read one task file. Raises InspireError if it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        tree = _parse(iter(_TOKEN.findall(re.sub(r";.*", "", text))))[0]
        parts = {part[0]: part[1:] for part in tree[1:] if isinstance(part, list) and part}
        return Problem(
            language=" ".join(parts[":language"]),
            objects=_typed(parts[":objects"]),
            fixtures=_typed(parts.get(":fixtures", [])),
            regions=_regions(parts.get(":regions", [])),
            objects_of_interest=tuple(parts.get(":obj_of_interest", ())),
            goal=tuple(_predicates(parts[":goal"][0])),
        )
    except (OSError, UnicodeDecodeError, LookupError, TypeError, RecursionError) as error:
        raise InspireError(f"{path} is no LIBERO task file: {type(error).__name__} {error}.") from None


def _parse(tokens: Iterator[str]) -> list[Any]:
    found: list[Any] = []
    for token in tokens:
        if token == "(":
            found.append(_parse(tokens))
        elif token == ")":
            return found
        else:
            found.append(token)
    return found


def _typed(words: list[str]) -> dict[str, str]:
    """ "a b - cup c - plate" → {a: cup, b: cup, c: plate}."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "-":
            found.update(dict.fromkeys(waiting, words.pop(0)))
            waiting = []
        else:
            waiting.append(word)
    return found


def _regions(parts: list[list[Any]]) -> dict[str, str]:
    found = {}
    for name, *properties in parts:
        target = next(p[1] for p in properties if p[0] == ":target")
        found[f"{target}_{name}"] = target
    return found


def _predicates(expression: list[Any]) -> Iterator[tuple[str, ...]]:
    if any(isinstance(part, list) for part in expression[1:]):
        for part in expression[1:]:
            yield from _predicates(part)
    else:
        yield tuple(str(word).lower() if i == 0 else str(word) for i, word in enumerate(expression))
