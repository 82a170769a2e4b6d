"""The tabletop as evaluation wants a benchmark: tasks by name, environments as a policy sees them."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inspire_vla.errors import InspireError
from inspire_vla.evaluation import Factory


def tabletop_for(policy: dict[str, Any], layout_randomness: float = 0.0) -> Factory:
    """Return the factory of the benchmark with the images that a policy's description asks for."""
    arguments = {"cameras": tuple(policy["cameras"]), "image_size": policy["image_size"]}
    return Factory(
        "inspire_vla.tabletop.benchmark:TabletopBenchmark", {**arguments, "layout_randomness": layout_randomness}
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
    return Choice(factory, expand(names, factory().groups), options.slots, {})


def simulator_of(suite: str) -> str:
    """Which simulator a suite is of, by its name."""
    return "LIBERO" if suite.startswith("libero_") else "the tabletop"


def expand(names: Sequence[str], groups: Mapping[str, str]) -> tuple[str, ...]:
    """Cut at commas, and replace the words seen, unseen and validation by the suites they stand for."""
    suites: list[str] = []
    for name in split(names):
        members = [suite for suite, group in groups.items() if group == name]
        suites += members if name in ("seen", "unseen", "validation") else [name]
    return tuple(dict.fromkeys(suites))


def split(names: Sequence[str]) -> tuple[str, ...]:
    """("a,b", "c") → ("a", "b", "c")."""
    return tuple(part for name in names for part in name.split(",") if part)
