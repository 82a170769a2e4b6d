"""How often the expert succeeds, how long it takes, and which directions it passes through.

python -m inspire_vla.tabletop.check_expert [--suite NAME] [--episodes N] [--noise SCALE] [--perturbations CHANCE]
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from inspire_vla.tabletop.disturbance import Disturbance
from inspire_vla.tabletop.env import TabletopEnv
from inspire_vla.tabletop.expert import Expert
from inspire_vla.tabletop.suites import SUITES
from inspire_vla.tabletop.tasks import Task

_WORDS = (("front", "back"), ("left", "right"), ("up", "down"))


@dataclass
class Outcome:
    """What happened in the episodes of one task."""

    task: Task
    successes: int = 0
    episodes: int = 0
    steps: list[int] = field(default_factory=list)
    failed_seeds: list[int] = field(default_factory=list)
    words: Counter = field(default_factory=Counter)


def check_task(
    task: Task,
    seeds: range,
    *,
    noise: float = 0.0,
    perturbations: float = 0.0,
    layout_randomness: float = 0.0,
) -> Outcome:
    """Let the expert solve `task` once for every seed."""
    env = TabletopEnv(task, cameras=(), layout_randomness=layout_randomness)
    outcome = Outcome(task)
    for seed in seeds:
        _, info = env.reset(seed=seed)
        expert = Expert(env)
        disturbed = Disturbance(np.random.default_rng(seed), noise=noise, perturbations=perturbations)
        done = False
        steps = 0
        while not done:
            outcome.words.update(_words(info))
            _, _, success, truncated, info = env.step(disturbed(expert.action()))
            done = success or truncated
            steps += 1
        outcome.episodes += 1
        outcome.successes += success
        outcome.steps.append(steps)
        outcome.failed_seeds += [] if success else [seed]
    return outcome


def _words(info: dict) -> list[str]:
    words = []
    for offset, grasped in zip(info["gripper_to_object_m"], info["grasped"], strict=True):
        axis = int(np.argmax(np.abs(offset)))
        words.append("grasped" if grasped else _WORDS[axis][0 if offset[axis] >= 0 else 1])
    return words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=sorted(SUITES), action="append")
    parser.add_argument("--episodes", type=int, default=3, help="episodes of each task")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--perturbations", type=float, default=0.0)
    parser.add_argument("--layout-randomness", type=float, default=0.0)
    parser.add_argument("--first-seed", type=int, default=0)
    given = parser.parse_args()
    for suite in given.suite or SUITES:
        words: Counter = Counter()
        outcomes = []
        for task in SUITES[suite]:
            seeds = range(given.first_seed, given.first_seed + given.episodes)
            result = check_task(
                task,
                seeds,
                noise=given.noise,
                perturbations=given.perturbations,
                layout_randomness=given.layout_randomness,
            )
            outcomes.append(result)
            words += result.words
            failed = f"  failed: {result.failed_seeds}" if result.failed_seeds else ""
            steps = f"{np.mean(result.steps):5.0f} of {task.max_steps}"
            print(f"  {result.successes:3d}/{result.episodes:<3d} {steps}  {task.name}{failed}", flush=True)
        done, tried = sum(o.successes for o in outcomes), sum(o.episodes for o in outcomes)
        print(f"{suite}: {done}/{tried} = {100 * done / tried:.1f} %")
        total = sum(words.values())
        print(
            "   " + "  ".join(f"{word} {100 * n / total:.1f} %" for word, n in words.most_common()),
            flush=True,
        )


if __name__ == "__main__":
    main()
