"""LIBERO-Plus: LIBERO's tasks with cameras, layouts, starts, instructions, lights and backgrounds changed.

It is a fork that is installed in LIBERO's place and keeps the names of its suites: `libero_plus_spatial` here is
`libero_spatial` there. A task's name is the plain task's, followed by what was changed. Written after LeRobot's
description of it and tested with a stand-in; it has not been run with the real one.
"""

from pathlib import Path

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.libero.bddl import LiberoMissing, bddl_folder
from inspire_vla.libero.simulation import require_libero

PLUS_SUITES = {f"libero_plus_{name}": f"libero_{name}" for name in ("spatial", "object", "goal", "10")}
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
            f"{PLUS_SUITES[suite]}: it is the plain one. Clone github.com/sylvestf/LIBERO-plus and put it first on "
            "PYTHONPATH, as LeRobot's page on LIBERO-Plus says."
        )
    return tasks


def plain_task_file(suite: str, task: str) -> Path:
    """The task file that a changed task was made of, which its objects and goal are read from.

    Raises InspireError if no file of the suite begins the task's name.
    """
    files = sorted((bddl_folder() / suite).glob("*.bddl"), key=lambda path: len(path.stem))
    for path in files:
        if task == path.stem or task.startswith(path.stem + "_"):
            return path
    raise InspireError(f"{task!r} begins with the name of no task of {suite}.")
