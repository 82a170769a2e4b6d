"""The tabletop as a benchmark: its suites, their role in the protocol, tasks by name, environments."""

from collections.abc import Sequence
from typing import Any

from inspire_vla.errors import InspireError, did_you_mean
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.scene import check_layout_randomness
from inspire_vla.tabletop.suites import GROUPS, SUITES
from inspire_vla.tabletop.tasks import Task

VIDEO_SIZE = 256
"""Side of the frames of evaluation videos, in pixels. The policy's own images are smaller."""


class TabletopBenchmark:
    """The benchmark protocol of `evaluation`, on the embedded simulator.

    Args:
        cameras, image_size: the images that the policy takes; see TabletopEnv.
        layout_randomness: probability that an object stands anywhere on the table; see scene.py.
        render_size: side of the images that `render` of an environment returns.
    """

    groups = GROUPS

    def __init__(
        self,
        cameras: Sequence[str] = ("image",),
        image_size: int = 96,
        layout_randomness: float = 0.0,
        render_size: int = VIDEO_SIZE,
    ) -> None:
        check_layout_randomness(layout_randomness)
        self.conditions = {"layout_randomness": layout_randomness}
        self._options: dict[str, Any] = {
            "cameras": tuple(cameras),
            "image_size": image_size,
            "layout_randomness": layout_randomness,
            "render_size": render_size,
            "lazy_images": True,
        }

    def suites(self) -> tuple[str, ...]:
        """Return the names of all suites."""
        return tuple(SUITES)

    def tasks(self, suite: str) -> tuple[str, ...]:
        """Return the names of a suite's tasks. Raises InspireError for an unknown suite."""
        return tuple(task.name for task in tasks_of(suite))

    def instructions(self, suite: str) -> dict[str, str]:
        """Return {task: instruction} of a suite. Raises InspireError for an unknown one."""
        return {task.name: task.instruction for task in tasks_of(suite)}

    def make(self, suite: str, task: str, **options: Any) -> TabletopEnv:
        """Make the environment of a task, given by name or instruction. `options` are those of TabletopEnv."""
        return TabletopEnv(find_task(suite, task), **self._options | options)


def tasks_of(suite: str) -> tuple[Task, ...]:
    """Return the tasks of a suite, in their fixed order. Raises InspireError for an unknown suite."""
    if suite not in SUITES:
        raise InspireError(f"Unknown suite {suite!r}.{did_you_mean(suite, SUITES)}")
    return SUITES[suite]


def find_task(suite: str, name: str) -> Task:
    """Return the task of that name, or of that instruction if only one task of the suite has it.

    Raises InspireError for an unknown suite or task.
    """
    tasks = tasks_of(suite)
    matching = [task for task in tasks if name == task.name] or [t for t in tasks if name == t.instruction]
    if len(matching) != 1:
        count = "No task" if not matching else f"{len(matching)} tasks"
        raise InspireError(f"{count} {name!r} in {suite}.{did_you_mean(name, [t.name for t in tasks])}")
    return matching[0]
