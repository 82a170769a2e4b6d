"""LIBERO's tasks and task files (BDDL), and those of LIBERO-Plus and LIBERO-PRO. LIBERO's own code is not needed to
read them.

LIBERO-Plus is a fork that is installed in place of LIBERO. It perturbs cameras, layouts, initial states, instructions,
lights and backgrounds of LIBERO's tasks, and keeps the names of the suites: `libero_plus_spatial` here is
`libero_spatial` there, with about 2,500 tasks, none of them an original one. The name of a task is the original name,
followed by the perturbation:

    …_table_3 …_tb_3 …_light_3 …_add_3           a task file of that name
    …_level2_sample1 …_moved_level2_sample1      a task file of that name
    …_language_3_view_0_0_100_0_0_initstate_0    the file …_language_3, which holds the rephrased instruction
    …_view_15_0_100_0_0_initstate_0[_noise_7]    the original task file; LIBERO-Plus parses the rest of the name

Names, files and suites are those of its repository at commit 4976dc3.

LIBERO-PRO is a set of task files and initial states, in folders beside LIBERO's: `libero_pro_goal_task` here is the
folder `libero_goal_task`. Its files keep the names of the tasks that they change.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inspire_vla.errors import InspireError, did_you_mean, reason_of
from inspire_vla.files import read_json
from inspire_vla.lerobot_internals import libero_suite
from inspire_vla.libero.installation import LiberoMissing, bddl_folder, explained_import, require_libero

SPLIT_FILE = Path(__file__).with_name("libero_90_split.json")
"""{suite: names of tasks}: parts of LIBERO-90 to train on, and those held out of training; see split.py."""
SPLIT_SUITES = ("libero_90_train", "libero_90_heldout", "libero_90_small_train", "libero_90_small_heldout")
SUITES = ("libero_90", "libero_spatial", "libero_object", "libero_goal", "libero_10")
_TOKEN = re.compile(r"[()]|[^\s()]+")
PLUS_SUITES = {f"libero_plus_{name}": f"libero_{name}" for name in ("spatial", "object", "goal", "10")}
PLUS_INSTALL = (
    "LIBERO-Plus takes the place of LIBERO: `pip uninstall hf-libero`, clone github.com/sylvestf/LIBERO-plus, put the "
    "clone on PYTHONPATH (an installed LIBERO would be imported first), install gym, wand and scikit-image, and "
    "download its assets as its README says."
)
PRO_CHANGES = ("swap", "task", "object", "lan")
"""What LIBERO-PRO changes: positions, the task itself, the looks and kinds of objects, the wording."""
PRO_SUITES = {
    f"libero_pro_{name}_{change}": f"libero_{name}_{change}"
    for name in ("spatial", "object", "goal", "10")
    for change in PRO_CHANGES
}
PRO_INSTALL = (
    "LIBERO-PRO adds folders to LIBERO: download the data set zhouxueyang/LIBERO-Pro from the Hugging Face hub, and "
    "copy its bddl_files/* and init_files/* into the folders of that name of the installed LIBERO. The suites …_object "
    "also need the objects of github.com/Zxy-MLlab/LIBERO-PRO."
)
_ORIGINAL_TASKS = 10
"""Tasks of an original suite that LIBERO-Plus perturbs."""
_PERTURBATION = re.compile(
    r"(_(table|tb|light|add|language)_\d+|_(moved_)?level\d+_sample\d+)?(_view_[\d_]+_initstate_\d+(_noise_\d+)?)?$"
)
"""Suffix of a perturbed task's name in LIBERO-Plus."""


@dataclass(frozen=True)
class Problem:
    """One task file.

    Attributes:
        objects, fixtures: name → kind.
        regions: full name → the object or fixture that it belongs to.
        goal: predicates, each (predicate, *names).
    """

    language: str
    objects: dict[str, str]
    fixtures: dict[str, str]
    regions: dict[str, str]
    objects_of_interest: tuple[str, ...]
    goal: tuple[tuple[str, ...], ...]

    def names(self) -> tuple[str, ...]:
        """Return all names that a mention can be grounded to."""
        return (*self.objects, *self.fixtures, *self.regions)


def task_files(suite: str) -> tuple[Path, ...]:
    """Return the task files of a suite, without those of LIBERO-Plus. Raises InspireError for an unknown suite."""
    if suite in SPLIT_SUITES:
        names = set(read_json(SPLIT_FILE, dict[str, list[str]])[suite])
        return tuple(path for path in task_files(base_suite(suite)) if path.stem in names)
    if suite not in SUITES:
        raise InspireError(f"unknown LIBERO suite {suite!r}.{did_you_mean(suite, (*SUITES, *SPLIT_SUITES))}")
    paths = sorted((bddl_folder() / suite).glob("*.bddl"))
    files = tuple(
        path for path in paths if original_name(path.stem) == path.stem and " copy" not in path.stem
    )
    if not files:
        raise LiberoMissing(f"The installed LIBERO has no task files of {suite}.")
    return files


def original_name(task: str) -> str:
    """Return the name of the LIBERO task that a LIBERO-Plus task perturbs. A LIBERO task keeps its name."""
    return _PERTURBATION.sub("", task)


def instruction_of(path: str | Path) -> str:
    """Return the instruction that benchmarks use: the file's name without the scene."""
    return re.sub(r"^[A-Z0-9_]*SCENE\d+_", "", Path(path).stem).replace("_", " ").lower()


def base_suite(suite: str) -> str:
    """Return the suite of LIBERO that a suite is part of, or that LIBERO-Plus or LIBERO-PRO changes."""
    if suite in SPLIT_SUITES:
        return "libero_90"
    if suite in PRO_SUITES:
        return PRO_SUITES[suite].rpartition("_")[0]
    return PLUS_SUITES.get(suite, suite)


@lru_cache(maxsize=256)
def read_problem(path: str | Path) -> Problem:
    """Read one task file. Raises InspireError for any other content."""
    try:
        parts = parse_task_file(path)
        return Problem(
            language=" ".join(parts[":language"]),
            objects=_typed(parts[":objects"]),
            fixtures=_typed(parts.get(":fixtures", [])),
            regions=_regions(parts.get(":regions", [])),
            objects_of_interest=tuple(parts.get(":obj_of_interest", ())),
            goal=tuple(_predicates(parts[":goal"][0])),
        )
    except (OSError, UnicodeDecodeError, LookupError, TypeError, StopIteration, RecursionError) as error:
        raise InspireError(
            f"{path} is not a LIBERO task file: {type(error).__name__} {reason_of(error)}."
        ) from None


def parse_task_file(path: str | Path) -> dict[str, list[Any]]:
    """Parse a task file: its parts (":regions", ":init", …) with their expressions as nested lists of words."""
    text = Path(path).read_text(encoding="utf-8")
    tree = _parse(iter(_TOKEN.findall(re.sub(r";.*", "", text))))[0]
    return {part[0]: part[1:] for part in tree[1:] if isinstance(part, list) and part}


def _parse(tokens: Iterator[str]) -> list[Any]:
    """S-expressions as nested lists."""
    expressions: list[Any] = []
    for token in tokens:
        if token == ")":
            break
        expressions.append(_parse(tokens) if token == "(" else token)
    return expressions


def _typed(words: list[str]) -> dict[str, str]:
    """Typed list: "a b - cup c - plate" → {a: cup, b: cup, c: plate}."""
    kinds: dict[str, str] = {}
    names: list[str] = []
    tokens = iter(words)
    for word in tokens:
        if word == "-":
            kinds |= dict.fromkeys(names, next(tokens))
            names = []
        else:
            names.append(word)
    return kinds


def _regions(parts: list[list[Any]]) -> dict[str, str]:
    regions = {}
    for name, *properties in parts:
        target = next(p[1] for p in properties if p[0] == ":target")
        regions[f"{target}_{name}"] = target
    return regions


def _predicates(expression: list[Any]) -> Iterator[tuple[str, ...]]:
    if any(isinstance(part, list) for part in expression[1:]):
        for part in expression[1:]:
            yield from _predicates(part)
    else:
        yield tuple(str(word).lower() if i == 0 else str(word) for i, word in enumerate(expression))


# --- LIBERO-Plus


def plus_tasks(suite: str) -> tuple[str, ...]:
    """Return the names of a LIBERO-Plus suite's tasks. Raises LiberoMissing if the installed LIBERO is the original."""
    if suite not in PLUS_SUITES:
        raise InspireError(f"unknown LIBERO-Plus suite {suite!r}.{did_you_mean(suite, PLUS_SUITES)}")
    require_libero()
    with explained_import():
        tasks = tuple(Path(task.bddl_file).stem for task in libero_suite(PLUS_SUITES[suite]).tasks)
    if len(tasks) <= _ORIGINAL_TASKS:
        raise LiberoMissing(
            f"{suite} needs LIBERO-Plus, but the installed LIBERO is the original: it has {len(tasks)} tasks in "
            f"{PLUS_SUITES[suite]}. {PLUS_INSTALL}"
        )
    return tasks


def plus_task_file(suite: str, task: str) -> Path:
    """Return the task file of a perturbed task of LIBERO's `suite`. Raises InspireError if there is none."""
    path = bddl_folder() / suite / f"{task.split('_view_')[0]}.bddl"
    if not path.is_file():
        raise InspireError(f"{task!r} is not a task of {suite}: LIBERO-Plus has no file {path.name}.")
    return path


def plus_instruction(suite: str, task: str) -> str:
    """Return the original task's instruction, or the rephrased one if the instruction is what was perturbed.

    LIBERO-Plus itself takes a perturbed scene's whole name as instruction: "put the bowl on the plate light 17".
    """
    if re.search(r"_language_\d+", task):
        return read_problem(plus_task_file(suite, task)).language.lower()
    return instruction_of(original_name(task))


# --- LIBERO-PRO


@dataclass(frozen=True)
class ProTask:
    """One task, with the fields that LeRobot's environment reads of a task of LIBERO."""

    name: str
    language: str
    problem_folder: str
    bddl_file: str
    init_states_file: str


@dataclass(frozen=True)
class ProSuite:
    """One suite, in place of LIBERO's object: LIBERO's own list of suites does not contain it."""

    tasks: tuple[ProTask, ...]

    def get_task(self, index: int) -> ProTask:
        """Return the task of this index, as LIBERO's suites do."""
        return self.tasks[index]


def pro_suite(suite: str) -> ProSuite:
    """Return a LIBERO-PRO suite. Raises LiberoMissing where its task files or their initial states are not installed.

    The instruction is the original task's. Where the task or the wording is what was changed, it is the task file's.
    """
    if suite not in PRO_SUITES:
        raise InspireError(f"unknown LIBERO-PRO suite {suite!r}.{did_you_mean(suite, PRO_SUITES)}")
    folder = PRO_SUITES[suite]
    files = sorted((bddl_folder() / folder).glob("*.bddl"))
    if not files:
        raise LiberoMissing(f"The installed LIBERO has no task files of {folder}. {PRO_INSTALL}")
    reads_file = suite.endswith(("_task", "_lan"))
    tasks = []
    for path in files:
        states = bddl_folder().parent / "init_files" / folder / f"{path.stem}.pruned_init"
        if not states.is_file() or not states.stat().st_size:
            raise LiberoMissing(
                f"The initial states of {folder}/{path.stem} are missing: {states}. {PRO_INSTALL}"
            )
        language = read_problem(path).language.lower() if reads_file else instruction_of(path)
        tasks.append(ProTask(path.stem, language, folder, path.name, states.name))
    return ProSuite(tuple(tasks))
