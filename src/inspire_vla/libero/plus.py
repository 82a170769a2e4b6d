"""LIBERO-Plus: LIBERO's tasks with cameras, layouts, starts, instructions, lights and backgrounds changed.

It is a fork that is installed in LIBERO's place and keeps the names of its suites: `libero_plus_spatial` here is
`libero_spatial` there, with some 2,500 tasks, none of them a plain one. A task's name is the plain task's, followed by
what was changed:

    …_table_3 …_tb_3 …_light_3 …_add_3           a task file of that name
    …_level2_sample1 …_moved_level2_sample1      a task file of that name
    …_language_3_view_0_0_100_0_0_initstate_0    the file …_language_3, which holds the instruction in other words
    …_view_15_0_100_0_0_initstate_0[_noise_7]    the plain task file; LIBERO-Plus reads the rest off the name

Names, files and suites are those of its repository at 4976dc3.
"""

import re
from pathlib import Path

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.libero.bddl import LiberoMissing, bddl_folder, instruction_of, plain_name, read_problem
from inspire_vla.libero.simulation import require_libero

PLUS_SUITES = {f"libero_plus_{name}": f"libero_{name}" for name in ("spatial", "object", "goal", "10")}
INSTALL = (
    "LIBERO-Plus takes its place: `pip uninstall hf-libero`, clone github.com/sylvestf/LIBERO-plus, put the clone on "
    "PYTHONPATH (behind an installed LIBERO it is not found, even if it comes first), install gym, wand and "
    "scikit-image, and give it its assets as its README says."
)
_PLAIN_TASKS = 10


def plus_tasks(suite: str) -> tuple[str, ...]:
    """Names of a suite's tasks. Raises LiberoMissing where LIBERO is not LIBERO-Plus."""
    if suite not in PLUS_SUITES:
        raise InspireError(f"unknown LIBERO-Plus suite {suite!r}.{did_you_mean(suite, PLUS_SUITES)}")
    require_libero()
    from lerobot.envs.libero import _get_suite

    tasks = tuple(Path(task.bddl_file).stem for task in _get_suite(PLUS_SUITES[suite]).tasks)
    if len(tasks) <= _PLAIN_TASKS:
        raise LiberoMissing(
            f"{suite} needs LIBERO-Plus, but the LIBERO that is installed has {len(tasks)} tasks in "
            f"{PLUS_SUITES[suite]}: it is the plain one. {INSTALL}"
        )
    return tasks


def changed_task_file(suite: str, task: str) -> Path:
    """The task file of a changed task of LIBERO's `suite`. Raises InspireError if it is not there."""
    path = bddl_folder() / suite / f"{task.split('_view_')[0]}.bddl"
    if not path.is_file():
        raise InspireError(f"{task!r} is no task of {suite}: LIBERO-Plus has no file {path.name}.")
    return path


def changed_instruction(suite: str, task: str) -> str:
    """What is asked for: the plain task's instruction, unless it is the instruction that was changed.

    LIBERO-Plus itself says a changed scene's name whole ("put the bowl on the plate light 17"), which nobody means.
    """
    if re.search(r"_language_\d+", task):
        return read_problem(changed_task_file(suite, task)).language.lower()
    return instruction_of(plain_name(task))
