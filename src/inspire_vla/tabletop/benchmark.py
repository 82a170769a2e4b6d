"""The benchmark as evaluation sees it: suites, tasks by name, environments."""

from typing import Any

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.suites import SUITES
from inspire_vla.tabletop.tasks import Task


class TabletopBenchmark:
    """Suites of the tabletop. Raises InspireError, naming what exists, for an unknown suite or task."""

    def suites(self) -> tuple[str, ...]:
        """Names of all suites."""
        return tuple(SUITES)

    def tasks(self, suite: str) -> tuple[Task, ...]:
        """The tasks of a suite, in their fixed order."""
        if suite not in SUITES:
            raise InspireError(f"No suite {suite!r}.{did_you_mean(suite, SUITES)}")
        return SUITES[suite]

    def task(self, suite: str, name: str) -> Task:
        """The task of that name, or of that instruction where only one task of the suite has it."""
        tasks = self.tasks(suite)
        found = [task for task in tasks if name == task.name] or [t for t in tasks if name == t.instruction]
        if len(found) != 1:
            count = "No task" if not found else f"{len(found)} tasks"
            raise InspireError(f"{count} {name!r} in {suite}.{did_you_mean(name, [t.name for t in tasks])}")
        return found[0]

    def make(self, suite: str, task: Task | str, **options: Any) -> TabletopEnv:
        """An environment for a task (or its name); options as for TabletopEnv."""
        return TabletopEnv(self.task(suite, task) if isinstance(task, str) else task, **options)
