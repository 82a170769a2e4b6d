"""What evaluation asks of a benchmark and of an agent. It knows neither a simulator nor a policy."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from inspire_vla.errors import InspireError, did_you_mean

Observation = Mapping[str, Any]
"""What an environment gives and an agent takes: {"pixels": {name: (H, W, 3) uint8}, "agent_pos": (8,)}.

An agent whose `n_obs_steps` is more than 1 is shown (time, H, W, 3): the images of the last control steps."""


class Benchmark(Protocol):
    """Suites of tasks. `make` gives a gymnasium environment whose `reset(seed=…)` fixes the initial state.

    One that starts from fixed states says how many there are, of each task of a suite (`initial_states[suite]`) or of
    a single one (`initial_states[suite, task]`). What else its episodes depend on, beside suite, task and seed, it says
    in `conditions`: {name: JSON value}.

    The environment's `info` holds `is_success`, and for the truth of answers `mentions` (k words),
    `gripper_to_object_m` (k, 3) and `grasped` (k,). Its instruction is `info["instruction"]`, or failing
    that `info["task"]`.
    """

    def suites(self) -> Sequence[str]: ...
    def tasks(self, suite: str) -> Sequence[str]: ...
    def make(self, suite: str, task: str) -> Any: ...


class Decision(Protocol):
    """What an agent decided at one moment, in environment units.

    `actions` is (horizon, action_dim), None when what the model said stands for no action (`decodable` is False).
    Where present, `accepted` (per answer) and `forward_passes` are recorded.
    """

    @property
    def actions(self) -> np.ndarray | None: ...
    @property
    def mentions(self) -> tuple[str, ...]: ...
    @property
    def answers(self) -> tuple[str, ...]: ...
    @property
    def confidences(self) -> tuple[float, ...]: ...
    @property
    def overridden(self) -> tuple[bool, ...]: ...
    @property
    def decodable(self) -> bool: ...


class Agent(Protocol):
    """Decides for a batch of environments at once; keeps nothing between calls.

    When `act` also takes `drafts`, it is given the last decision's {mention: answer} of each episode. An agent's
    `n_action_steps` is how many actions of a chunk are executed, unless the plan says otherwise; its `n_obs_steps`
    (1 where it has none) how many images of each camera it is shown.
    """

    def act(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        overrides: Sequence[Mapping[str, str] | None] | None = None,
    ) -> Sequence[Decision]: ...


@dataclass(frozen=True)
class Factory:
    """How to make a benchmark or an agent in another process: "module:function" and its arguments."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        """Import and call. Raises InspireError for a target that does not exist."""
        module_name, _, name = self.target.partition(":")
        if not name:
            raise InspireError(f'a factory is written "module:function", found {self.target!r}.')
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise InspireError(
                f"factory {self.target!r}: cannot import {module_name!r} ({error})."
            ) from error
        if not hasattr(module, name):
            public = [word for word in vars(module) if not word.startswith("_")]
            raise InspireError(f"{module_name!r} has no {name!r}.{did_you_mean(name, public)}")
        function: Callable[..., Any] = getattr(module, name)
        return function(**self.arguments)


def select_tasks(
    benchmark: Benchmark, suites: Sequence[str], tasks: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Return (suite, task) pairs: all tasks of `suites`, or those named. Unknown names list the choices."""
    known = list(benchmark.suites())
    if not suites:
        raise InspireError(f"no suite was named. Possible: {known}.")
    for suite in suites:
        if suite not in known:
            raise InspireError(f"unknown suite {suite!r}.{did_you_mean(suite, known)}")
    pairs = [(suite, task) for suite in dict.fromkeys(suites) for task in benchmark.tasks(suite)]
    if tasks is None:
        return pairs
    possible = {task for _, task in pairs}
    for task in tasks:
        if task not in possible:
            raise InspireError(f"unknown task {task!r} in {list(suites)}.{did_you_mean(task, possible)}")
    return [(suite, task) for suite, task in pairs if task in set(tasks)]
