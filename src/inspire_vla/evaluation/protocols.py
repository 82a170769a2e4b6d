"""What evaluation asks of a benchmark and of an agent. It knows neither a simulator nor a policy."""

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from inspire_vla.errors import InspireError, did_you_mean, possible, reason_of

if TYPE_CHECKING:  # decoding loads torch, which records and statistics do without
    from inspire_vla.decoding import Decision

Observation = Mapping[str, Any]
"""From an environment, for an agent: {"pixels": {camera: (H, W, 3) uint8}, "agent_pos": (state_dim,)}.

An agent with `n_obs_steps` > 1 gets (time, H, W, 3): the images of the last control steps."""


class Benchmark(Protocol):
    """Suites of tasks. `make` returns a gymnasium environment whose `reset(seed=…)` fixes the initial state.

    The environment's `info` holds `is_success` and the instruction (see `instruction_in`), which may change during an
    episode. For the truth of answers it holds `mentions` (k words), `gripper_to_object_m` (k, 3) in the robot's base
    frame, and `grasped` (k,).
    A task with several goals may have `goals`: whether each holds now.
    An environment that plays recorded frames has `add_chunk(step, actions)` and `scores()`, see playback.py.

    Optional attributes:
        groups: {suite: "seen", "unseen" or "validation"}, each suite's role in the benchmark's protocol.
        initial_states: {suite or (suite, task): number of fixed initial states}.
        conditions: {name: JSON value}, what episodes depend on besides suite, task and seed.
        instructions(suite): {task: instruction}.
        part_of: {suite: a larger suite that holds its tasks too}.
        changes: {suite: the suite whose tasks it changes}, other positions, looks or words for the same goals.
    """

    def suites(self) -> Sequence[str]:
        """Return the names of the suites."""
        ...

    def tasks(self, suite: str) -> Sequence[str]:
        """Return the names of a suite's tasks."""
        ...

    def make(self, suite: str, task: str) -> Any:
        """Return the environment of a task. Raises InspireError for a task that the suite does not have."""
        ...


class Agent(Protocol):
    """Decides for a batch of environments at once and keeps no state between calls.

    Optional attributes:
        n_action_steps: how many actions of a chunk are executed, unless the plan sets it; default: all.
        n_obs_steps: how many images of each camera it takes; default: 1.
        answer_rule: see `dialogue.AnswerRule.of`.
        mention_overrides: instruction → objects that it asks about in place of those that the instruction names.
        reasoning_enabled: False for a base model, which is asked nothing.
        answers_precede_action: False where the questions are asked apart from the action (`separate_questions`).

    Under the control "unasked", `act` gets `mentions`, an empty list for each row: the objects to ask about.
    """

    def act(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        overrides: Sequence[Mapping[str, str] | None] | None = None,
        drafts: Sequence[Mapping[str, str] | None] | None = None,
    ) -> "Sequence[Decision]":
        """Return a decision for each observation.

        Args:
            overrides: {mention: answer} of each row, which replace the model's answers.
            drafts: {mention: answer} of each row's last decision, for speculative decoding.
        """
        ...


@dataclass(frozen=True)
class Factory:
    """How to make a benchmark or an agent in another process: "module:function" and its arguments."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        """Import and call. Raises InspireError for a target that does not exist."""
        module_name, _, name = self.target.partition(":")
        if not name:
            raise InspireError(f'A factory is written "module:function", found {self.target!r}.')
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise InspireError(
                f"Factory {self.target!r}: cannot import {module_name!r} ({reason_of(error)})."
            ) from error
        if not hasattr(module, name):
            public = [word for word in vars(module) if not word.startswith("_")]
            raise InspireError(f"{module_name!r} has no {name!r}.{did_you_mean(name, public)}")
        function: Callable[..., Any] = getattr(module, name)
        return function(**self.arguments)


def select_tasks(
    benchmark: Benchmark, suites: Sequence[str], tasks: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Return (suite, task) pairs: all tasks of `suites`, or only those in `tasks`.

    Raises InspireError for an unknown suite or task, with the possible names.
    """
    known = list(benchmark.suites())
    if not suites:
        raise InspireError(f"No suite is given.{possible(known)}")
    for suite in suites:
        if suite not in known:
            raise InspireError(f"Unknown suite {suite!r}.{did_you_mean(suite, known)}")
    pairs = [(suite, task) for suite in dict.fromkeys(suites) for task in benchmark.tasks(suite)]
    if tasks is None:
        return pairs
    names = {task for _, task in pairs}
    for task in tasks:
        if task not in names:
            raise InspireError(f"Unknown task {task!r} in {list(suites)}.{did_you_mean(task, names)}")
    return [(suite, task) for suite, task in pairs if task in set(tasks)]


def tasks_in_training(
    benchmark: Benchmark,
    suites: Sequence[str],
    tasks: Sequence[str] | None,
    trained_on: Mapping[str, Collection[str] | None] | None,
) -> dict[str, tuple[int, int]]:
    """Return how many of the tasks that are played a policy was trained on: suite → (trained on, played).

    Suites share tasks where `part_of` says so. Where it is not known what the policy was trained on, there is no suite.

    Args:
        suites, tasks: what is played, see `select_tasks`.
        trained_on: the suites that the policy was trained on, with their tasks; None for a whole suite. A suite counts
            as a whole, too, where it now lacks one of these tasks: another one may be that task under a new name.
    """
    pairs = select_tasks(benchmark, suites, tasks)
    if trained_on is None:
        return {}
    part_of: Mapping[str, str] = getattr(benchmark, "part_of", {})
    counts: dict[str, tuple[int, int]] = {}
    for suite in dict.fromkeys(played_suite for played_suite, _ in pairs):
        whole = part_of.get(suite, suite)
        known: set[str] = set()
        for name, some in trained_on.items():
            if part_of.get(name, name) == whole:
                of_suite = set(benchmark.tasks(name))
                known |= of_suite if some is None or not of_suite.issuperset(some) else {*some}
        played = {task for played_suite, task in pairs if played_suite == suite}
        counts[suite] = len(played & known), len(played)
    return counts
