"""Two-step instructions, given one step at a time: is *long* hard to read, or hard to do? (docs/results.md)

python scripts/one_step_at_a_time.py POLICY OUT --switch truth|gripper|answers [--suite tabletop_long]
                                     [--episodes 12] [--against evidence/laptop/runs/base_r0.25_s0_unseen]

The policy is given the first step as an instruction of its own, then the second. The next step begins
    truth    when the goal of the step has held for three control steps, as the simulator knows
    gripper  when the gripper has held something for five control steps and is then opened for three. A robot knows this
             too: "held" is closed by command, with both fingers more than 2 mm apart.
    answers  when the policy's own answers say so, see `InstructionSequence`. A base model has none.
All goals must hold in the end, as before, within the same number of control steps. Initial states are those of
`inspire evaluate`. --against, another run such as one with the whole instruction, is compared episode by episode.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inspire_vla import policies
from inspire_vla.evaluation import EvaluationPlan, evaluate, read_run
from inspire_vla.evaluation.statistics import PairCounts, mcnemar, paired_difference, wilson
from inspire_vla.serving.instruction_sequence import InstructionSequence, says_grasped
from inspire_vla.tabletop.benchmark import TabletopBenchmark, find_task
from inspire_vla.tabletop.env import SUCCESS_STEPS, TabletopEnv
from inspire_vla.tabletop.tasks import (
    All,
    Closed,
    On,
    Open,
    Task,
    close_drawer,
    open_drawer,
    put,
    put_in_drawer,
)

ENV = "environment"
"""Key of an observation: the environment it is of."""
HELD_STEPS, OPEN_STEPS = 5, 3
FINGER_M = 0.001
"""A finger that is further from closed than this has something between itself and the other one."""


def steps_of(task: Task) -> list[Task]:
    """The steps of a task with several goals, each as a task with an instruction of its own."""
    assert isinstance(task.goal, All)
    steps = []
    for goal in task.goal.goals:
        if isinstance(goal, Open):
            step = open_drawer(task.scene, goal.cabinet)
        elif isinstance(goal, Closed):
            step = close_drawer(task.scene, goal.cabinet)
        elif isinstance(goal, On) and goal.receptacle.endswith("_drawer"):
            step = put_in_drawer(task.scene, goal.obj, goal.receptacle.removesuffix("_drawer"))
        elif isinstance(goal, On):
            step = put(task.scene, goal.obj, goal.receptacle)
        else:
            raise TypeError(f"No step for {goal!r}.")
        steps.append(replace(step, suite=task.suite))
    return steps


class OneStepAtATime(TabletopEnv):
    """The environment of a task with several goals. Its `info` has instruction and mentions of the current step."""

    def __init__(self, task: Task, *, switch: str, **options: Any) -> None:
        super().__init__(task, **options)
        self.whole, self.parts, self.switch = task, steps_of(task), switch
        self._begin(0)

    def _begin(self, part: int) -> None:
        self.part, self.held_steps, self.open_steps, self.success_steps = part, 0, 0, 0

    def reset(self, **options: Any) -> tuple[dict, dict]:
        self._begin(0)
        self.sequence = InstructionSequence(*(part.instruction for part in self.parts))
        return super().reset(**options)

    def _observation(self) -> dict:
        return {**super()._observation(), ENV: self}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = super().step(action)
        closed, fingers = self._opening == 0, observation["agent_pos"][-2:]
        if closed:
            self.held_steps, self.open_steps = self.held_steps + int((fingers > FINGER_M).all()), 0
        else:
            self.open_steps += 1
            if self.held_steps < HELD_STEPS:
                self.held_steps = 0  # it closed in passing, or on nothing
        self.success_steps = self.success_steps + 1 if self.parts[self.part].goal.holds(self.world) else 0
        if self.switch == "answers":
            done = self.sequence.instruction != self.parts[self.part].instruction
        elif self.switch == "truth":
            done = self.success_steps >= SUCCESS_STEPS
        else:
            done = self.held_steps >= HELD_STEPS and self.open_steps >= OPEN_STEPS
        if done and self.part + 1 < len(self.parts):
            self._begin(self.part + 1)
            info = self._info()
        return observation, reward, terminated, truncated, info

    def _info(self) -> dict[str, Any]:
        info, self.task = super()._info(), self.parts[self.part]
        try:
            now = super()._info()
        finally:
            self.task = self.whole
        return now | {key: info[key] for key in ("is_success", "goals", "suite")}


class Benchmark(TabletopBenchmark):
    """The tabletop, whose two-step tasks are given one step at a time."""

    def __init__(self, switch: str, **options: Any) -> None:
        super().__init__(**options)
        self.switch = switch
        self.conditions = {**self.conditions, "one_step_at_a_time": switch}

    def make(self, suite: str, task: str, **options: Any) -> TabletopEnv:
        return OneStepAtATime(find_task(suite, task), switch=self.switch, **self._options | options)


class ReportingAgent:
    """An agent that reports its answers to the environments."""

    def __init__(self, policy: str) -> None:
        self.agent = policies.agent_factory(policy)()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    def act(self, observations: Sequence[Any], instructions: Sequence[str], **options: Any) -> Any:
        rows = [{key: value for key, value in row.items() if key != ENV} for row in observations]
        decisions = self.agent.act(rows, instructions, **options)
        for row, decision in zip(observations, decisions, strict=True):
            if row[ENV].switch == "answers":
                row[ENV].sequence.update(decision.answers_by_mention)
        return decisions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy")
    parser.add_argument("out", type=Path)
    parser.add_argument("--switch", choices=["truth", "gripper", "answers"], required=True)
    parser.add_argument("--suite", default="tabletop_long")
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--layout-randomness", type=float, default=0.25)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    about = policies.describe(options.policy)
    if options.switch == "answers" and not says_grasped(about["reasoning"]):
        parser.error(
            f'{options.policy} never answers "grasped" while it acts. Possible are truth and gripper.'
        )
    benchmark = partial(
        Benchmark,
        options.switch,
        cameras=tuple(about["cameras"]),
        image_size=about["image_size"],
        layout_randomness=options.layout_randomness,
    )
    plan = EvaluationPlan(suites=(options.suite,), episodes_per_task=options.episodes, policy=about)
    run = evaluate(options.out, plan, benchmark=benchmark, agent=partial(ReportingAgent, options.policy))
    solved = {record.key: bool(record.success) for record in run.records}
    print(f"{about['name']}, {options.switch}: {wilson(sum(solved.values()), len(solved))} of {len(solved)}")
    if options.against is not None:
        other = {r.key: bool(r.success) for r in read_run(options.against).records if r.key in solved}
        pairs = [(before, solved[key]) for key, before in other.items()]
        counts = PairCounts.count(pairs)
        print(f"{options.against}: {wilson(sum(other.values()), len(other))} of {len(other)}")
        print(
            f"difference {paired_difference(counts)}, {len(pairs)} pairs, McNemar p = {mcnemar(counts):.3g}"
        )


if __name__ == "__main__":
    main()
