"""The tabletop as evaluation wants a benchmark: tasks by name, environments as a policy sees them."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import Factory, group_of

FILM_PIXELS = 256
"""Side of filmed images; the policy's own are smaller."""


class NamedTabletop:
    """`tabletop.TabletopBenchmark` with the policy's cameras and image size."""

    def __init__(self, cameras: Sequence[str], image_size: int, layout_randomness: float):
        from inspire_vla.tabletop.benchmark import TabletopBenchmark

        self._inner = TabletopBenchmark()
        self.conditions = {"layout_randomness": layout_randomness}
        self._options = {
            "cameras": tuple(cameras),
            "image_size": image_size,
            "layout_randomness": layout_randomness,
        }

    def suites(self) -> tuple[str, ...]:
        return tuple(self._inner.suites())

    def tasks(self, suite: str) -> tuple[str, ...]:
        return tuple(task.name for task in self._inner.tasks(suite))

    def make(self, suite: str, task: str) -> Any:
        env = self._inner.make(suite, task, **self._options)
        env.render = lambda: env.image("image", FILM_PIXELS, FILM_PIXELS)  # type: ignore[method-assign]
        return env


def tabletop(
    cameras: Sequence[str] = ("image",), image_size: int = 96, layout_randomness: float = 0.0
) -> NamedTabletop:
    """Make the benchmark; called in every worker."""
    return NamedTabletop(cameras, image_size, layout_randomness)


def tabletop_for(policy: dict[str, Any], layout_randomness: float = 0.0) -> Factory:
    """Return the factory of the benchmark with the images that a policy's description asks for."""
    arguments = {"cameras": tuple(policy["cameras"]), "image_size": policy["image_size"]}
    return Factory(
        "inspire_vla.cli.benchmarks:tabletop", {**arguments, "layout_randomness": layout_randomness}
    )  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What to evaluate on: how to make it, its suites, environments a process, and what the run says of it."""

    factory: Factory
    suites: tuple[str, ...]
    slots: int
    says: Mapping[str, Any]


def choose(options: argparse.Namespace, policy: Mapping[str, Any]) -> Choice:
    """The benchmark that the suites belong to.

    Raises InspireError: suites of two simulators (a run is of one), a benchmark that is not installed.
    """
    names = split(options.suite)
    kinds = {simulator_of(name) for name in names}
    if len(kinds) > 1:
        raise InspireError(f"suites of {' and '.join(sorted(kinds))} do not mix in one run: {list(names)}.")
    if kinds == {"LIBERO"}:
        from inspire_vla.cli.libero import conditions, libero_for

        factory = libero_for(policy, options.mapping)
        return Choice(
            factory, names, 1, {"libero": conditions(names)}
        )  # one rendering environment per process
    factory = tabletop_for(dict(policy), options.layout_randomness)
    return Choice(factory, expand(names, factory().suites()), options.slots, {})


def simulator_of(suite: str) -> str:
    """Which simulator a suite is of, by its name."""
    return "LIBERO" if suite.startswith("libero_") else "the tabletop"


def expand(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Cut at commas, and replace the words seen, unseen and validation by the suites they stand for."""
    suites: list[str] = []
    for name in split(names):
        members = [suite for suite in known if group_of(suite) == name]
        suites += members if name in ("seen", "unseen", "validation") else [name]
    return tuple(dict.fromkeys(suites))


def split(names: Sequence[str]) -> tuple[str, ...]:
    """("a,b", "c") → ("a", "b", "c")."""
    return tuple(part for name in names for part in name.split(",") if part)
